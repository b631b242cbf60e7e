#include <noisysgd/core/tensor.h>

#include <noisysgd/kernels/convert.h>
#include <noisysgd/kernels/elementwise.h>

namespace noisysgd {

Tensor Tensor::reshape(Shape shape) const {
  NSGD_CHECK(shape.elements() == elements(), "cannot reshape {} into {}", shape_.text(), shape.text());
  Tensor result = *this;
  result.shape_ = std::move(shape);
  return result;
}

Tensor Tensor::view(int64_t offset, Shape shape) const {
  NSGD_CHECK(offset >= 0 && offset + shape.elements() <= elements(),
             "a view of {} elements at offset {} is outside tensor {}", shape.elements(), offset, shape_.text());
  Tensor result = *this;
  result.offset_ += static_cast<size_t>(offset) * size_of(dtype_);
  result.shape_ = std::move(shape);
  return result;
}

Tensor Tensor::rows(int64_t begin, int64_t end) const {
  NSGD_CHECK(0 <= begin && begin <= end && end <= shape_[0], "rows [{}, {}) of tensor {}", begin, end, shape_.text());
  const Shape sample = shape_.sample();
  return view(begin * sample.elements(), sample.batched(end - begin));
}

Tensor zeros(Context& context, Shape shape) {
  Tensor tensor(context, std::move(shape));
  fill(context, tensor, 0.0f);
  return tensor;
}

void fill(Context& context, const Tensor& tensor, float value) {
  kernels::fill(context.queue, tensor.elements(), value, tensor.f32());
}

Tensor as_type(Context& context, const Tensor& tensor, DType dtype) {
  if (tensor.dtype() == dtype) return tensor;
  Tensor converted(context, tensor.shape(), dtype);
  kernels::convert(context.queue, tensor.elements(), tensor.values(), converted.values());
  return converted;
}

void copy(Context& context, const Tensor& from, const Tensor& to) {
  NSGD_CHECK(from.elements() == to.elements() && from.dtype() == to.dtype(), "tensor {} of {} copied into {} of {}",
             from.shape().text(), name_of(from.dtype()), to.shape().text(), name_of(to.dtype()));
  kernels::copy(context.queue, from.bytes().size(), from.values().address, to.values().address);
}

}  // namespace noisysgd
