#include <noisysgd/core/stored_rounding.h>

#include <cstdlib>
#include <string_view>

#include <noisysgd/core/tensor.h>
#include <noisysgd/kernels/convert.h>

namespace noisysgd {

StoredRounding StoredRounding::of_environment() {
  const char* const variable = std::getenv("NSGD_ROUND_STORED");
  const std::string_view name = variable ? variable : "";
  if (name.empty()) return {};
  if (name == "half") return {DType::f16, DType::bf16};
  NSGD_CHECK(name == "bf16", "NSGD_ROUND_STORED: '{}' is neither half nor bf16", name);
  return {DType::bf16, DType::bf16};
}

void round_stored(Context& context, const std::optional<DType>& type, const Tensor& tensor) {
  if (!type || tensor.shape().rank() != 4 || tensor.dtype() != DType::f32) return;
  const Tensor stored(context, tensor.shape(), *type);
  kernels::convert(context.queue, tensor.elements(), tensor.values(), stored.values());
  kernels::convert(context.queue, tensor.elements(), stored.values(), tensor.values());
}

}  // namespace noisysgd
