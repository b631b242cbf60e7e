// A dense, contiguous, reference-counted array on one device. Copies share storage; elements are never copied
// implicitly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include <noisysgd/core/allocator.h>
#include <noisysgd/core/shape.h>
#include <noisysgd/core/stored_rounding.h>
#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/half.h>
#include <noisysgd/kernels/memory.h>
#include <noisysgd/kernels/queue.h>
#include <noisysgd/kernels/values.h>

namespace noisysgd {

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  if constexpr (std::is_same_v<T, int32_t>) return DType::i32;
  if constexpr (std::is_same_v<T, double>) return DType::f64;
  if constexpr (std::is_same_v<T, kernels::Half>) return DType::f16;
  if constexpr (std::is_same_v<T, kernels::BFloat16>) return DType::bf16;
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, int32_t> || std::is_same_v<T, double> ||
                std::is_same_v<T, kernels::Half> || std::is_same_v<T, kernels::BFloat16> || std::is_same_v<T, uint8_t>);
  return DType::u8;
}

// The memory of tensors and the queue of their ops: one per training run.
struct Context {
  explicit Context(Device device = {}, int threads = 0) : queue(device, threads), allocator(device) {
    queue.set_reserve([this] { allocator.release_cached(); });
  }
  kernels::Queue queue;
  Allocator allocator;
  StoredRounding rounding = StoredRounding::of_environment();
};

class Tensor {
 public:
  Tensor() = default;
  Tensor(Context& context, Shape shape, DType dtype = DType::f32)  // uninitialised
      : storage_(context.allocator.allocate(static_cast<size_t>(shape.elements()) * size_of(dtype))),
        shape_(std::move(shape)),
        dtype_(dtype),
        backend_(context.queue.device().backend) {}
  // Shape and type of a value that has no memory yet.
  static Tensor unwritten(Shape shape, DType dtype) {
    Tensor tensor;
    tensor.shape_ = std::move(shape);
    tensor.dtype_ = dtype;
    return tensor;
  }

  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  int64_t elements() const { return shape_.elements(); }
  bool defined() const { return shape_.rank() > 0; }
  // True if no other tensor or view shares the storage; an op may then overwrite it with its result.
  bool sole_owner() const { return storage_.use_count() == 1; }

  // Device pointer, for ops.
  template <class T>
  T* data() const {
    NSGD_CHECK(dtype_ == dtype_of<T>(), "tensor {} holds {}, read as {}", shape_.text(), name_of(dtype_),
               name_of(dtype_of<T>()));
    return reinterpret_cast<T*>(static_cast<char*>(storage_.get()) + offset_);
  }
  float* f32() const { return data<float>(); }
  // The same for ops that dispatch on the type; null for an undefined tensor.
  kernels::Values values() const { return {static_cast<char*>(storage_.get()) + offset_, dtype_}; }
  // Address and size of the elements, for copies of any type.
  std::span<const std::byte> bytes() const {
    return {static_cast<const std::byte*>(storage_.get()) + offset_, static_cast<size_t>(elements()) * size_of(dtype_)};
  }
  // The elements, for host code. Throws Error for a tensor in device memory, which host code accesses only by copies:
  // to_host, from_host and copy_from_host below.
  template <class T>
  std::span<T> span() const {
    NSGD_CHECK(backend_ == Backend::cpu, "tensor {} is on a device: host code can only access a copy",
               shape_.text());
    return {data<T>(), static_cast<size_t>(elements())};
  }

  // The same elements under another shape.
  Tensor reshape(Shape shape) const;
  // Elements [offset, offset + shape.elements()) of the flattened tensor, sharing storage.
  Tensor view(int64_t offset, Shape shape) const;
  // Samples [begin, end) of the first axis, sharing storage.
  Tensor rows(int64_t begin, int64_t end) const;

 private:
  std::shared_ptr<void> storage_;
  size_t offset_ = 0;  // bytes
  Shape shape_;
  DType dtype_ = DType::f32;
  Backend backend_ = Backend::cpu;
};

// Host copies of tensors, and back. The element type is the tensor's.
template <class T>
std::vector<T> to_host(Context& context, const Tensor& tensor) {
  std::vector<T> values(static_cast<size_t>(tensor.elements()));
  kernels::copy_to_host(context.queue, values.size() * sizeof(T), tensor.data<T>(), values.data());
  return values;
}
template <class T>
void copy_from_host(Context& context, std::span<const T> values, const Tensor& tensor) {
  NSGD_CHECK(static_cast<int64_t>(values.size()) == tensor.elements(), "{} values copied into tensor {}", values.size(),
             tensor.shape().text());
  kernels::copy_from_host(context.queue, values.size_bytes(), values.data(), tensor.data<T>());
}
template <class T>
Tensor from_host(Context& context, Shape shape, const std::vector<T>& values) {
  Tensor tensor(context, std::move(shape), dtype_of<T>());
  copy_from_host<T>(context, values, tensor);
  return tensor;
}

Tensor zeros(Context& context, Shape shape);
void fill(Context& context, const Tensor& tensor, float value);
// The tensor with its elements in another type of float (kernels/convert.h); the tensor itself if it has that type.
Tensor as_type(Context& context, const Tensor& tensor, DType dtype);
// Equal numbers of elements of one type, in storages that do not overlap.
void copy(Context& context, const Tensor& from, const Tensor& to);

}  // namespace noisysgd
