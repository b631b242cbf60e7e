// The fused weight gradient: chooses the kernel for a shape (kernels/cuda/conv_weight_gradient.h).
#include <noisysgd/kernels/conv_second_moment.h>

#include <cmath>

#include <noisysgd/kernels/conv_operand.h>
#include <noisysgd/kernels/cuda/conv_weight_gradient.h>
#include <noisysgd/kernels/cuda/conv_wgmma.h>
#include <noisysgd/kernels/cuda/conv_window.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/vector.h>
#include <noisysgd/kernels/cuda/widened.h>
#include <noisysgd/kernels/gemm.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {
namespace {

// The gradient and the second moment by matrix products over the rows of x and grad_y. A row is an output position; an
// exact second moment is computed so only if every sample has a single one (conv_route).
void by_matrix_products(Queue& queue, const ConvShape& s, const float* x, const float* grad_y, float* grad_weight,
                        float* second_moment) {
  const int64_t rows = s.batch * s.positions(), taps = s.weights() / s.out_channels;
  if (grad_weight)
    gemm(queue, Transpose::yes, Transpose::no, s.out_channels, taps, rows, 1.0f, grad_y, x, 1.0f, grad_weight);
  if (second_moment) linear_second_moment(queue, rows, s.out_channels, taps, x, grad_y, second_moment);
}

bool by_products(Queue& queue, const ConvShape& shape, SecondMoment kind) {
  return conv_route(shape, kind, queue.precision(), queue.cuda().shared_memory()) == ConvRoute::matrix_product;
}

bool by_chunks(ConstValues x, ConstValues grad_y) { return aligned(x.address) && aligned(grad_y.address); }

// with_signs: prefers kernels that can also form signed sums.
const ConvKernel& kernel_for(Queue& queue, const ConvShape& shape, SecondMoment kind, bool with_signs, ConstValues x,
                             ConstValues grad_y) {
  const Precision precision = queue.precision();
  if (queue.cuda().wgmma() && !with_signs)
    if (const ConvKernel* kernel = conv_wgmma(shape, kind, precision)) return *kernel;
  if (by_chunks(x, grad_y)) {
    const size_t shared_memory = queue.cuda().shared_memory();
    const bool halves = is_half(x.type);
    if (halves == is_half(grad_y.type)) {
      const ConvKernel* const window =
          halves ? conv_window_halves(shape, shared_memory) : conv_window(shape, kind, precision, shared_memory);
      if (window) return *window;
      if (const ConvKernel* kernel = conv_pairs(shape, precision)) return *kernel;
    }
  }
  if (const ConvKernel* kernel = conv_gather(shape, precision)) return *kernel;
  return conv_tiles(shape);
}

// y[n,t,k] = factors[n,k] x[n,t,k]
__global__ void __launch_bounds__(block_threads)
    multiply_channels_kernel(int64_t n, int64_t positions, int64_t channels, const float* factors, const float* x,
                             float* y) {
  grid_stride(n, [&](int64_t i) { y[i] = factors[i / channels / positions * channels + i % channels] * x[i]; });
}

// Operands and results of one pass.
struct Request {
  ConvOperand x;  // x and grad_y are of types that the kernel reads (weight_operands)
  ConstValues grad_y;
  float *grad_weight, *beside;   // beside: the second moment or, with signs, the signed sums; each may be null
  const float* signs = nullptr;  // [N,K]; without `beside` they multiply grad_y
  SampleSums centering = {};     // centres an exact second moment if its slope is not null
};

void weight_gradient(Queue& queue, const ConvShape& shape, SecondMoment kind, const Request& request) {
  check(shape);
  if (shape.batch == 0 || (!request.grad_weight && !request.beside)) return;
  const bool centered = kind == SecondMoment::exact && request.centering.slope;
  const bool products = !centered && by_products(queue, shape, kind);
  const bool signed_beside = request.signs && request.beside, signed_copy = request.signs && !request.beside;
  const ConvKernel& kernel = centered || products
                                 ? conv_tiles(shape)
                                 : kernel_for(queue, shape, kind, signed_beside, request.x.x, request.grad_y);
  const WeightSums to{request.grad_weight, request.beside, signed_beside ? -INFINITY : 0.0f};

  Scratch scratch(queue);
  ConvOperand x = request.x;
  ConstValues grad_y = request.grad_y;
  if (signed_copy) {  // in fp32, and x with it: in 16 bits the copy would be rounded once more
    const int64_t outputs = shape.batch * shape.positions() * shape.out_channels;
    x = widened(queue, scratch, shape.batch * shape.height * shape.width * shape.in_channels, x.x);
    const float* const gradient = widened(queue, scratch, outputs, grad_y);
    float* const copy = scratch.take<float>(outputs);
    launch(queue, multiply_channels_kernel, grid_size(outputs), block_threads, 0, outputs, shape.positions(),
           shape.out_channels, request.signs, gradient, copy);
    grad_y = copy;
  }
  if (products)
    return by_matrix_products(queue, shape, x.f32("conv_sample_sums"), grad_y.f32("conv_sample_sums"),
                              request.grad_weight, request.beside);
  if (centered)
    conv_tiles_centered(queue, shape, request.centering, x.f32("conv_sample_sums"), grad_y.f32("conv_sample_sums"), to);
  else if (signed_beside)
    kernel.launch_signed(queue, shape, x, grad_y, request.signs, to);
  else
    kernel.launch(queue, shape, kind, x, grad_y, to);
}

// Whether the kernel of the plain gradient can also form signed sums.
bool has_signs(Queue& queue, const ConvShape& shape, ConstValues x, ConstValues grad_y) {
  return !by_products(queue, shape, SecondMoment::none) &&
         kernel_for(queue, shape, SecondMoment::none, true, x, grad_y).launch_signed;
}

bool is_window(const ConvShape& s) {
  constexpr int64_t most = INT32_MAX / 16;  // samples and channels are counted in 32 bits
  return s.height == s.width && s.stride_height == s.stride_width && s.kernel_height == 3 && s.kernel_width == 3 &&
         s.padding_height == 1 && s.padding_width == 1 && s.batch <= most && s.in_channels * s.out_channels <= most;
}

// Whether x and grad_y are read in 16 bits, by another kernel than conv_window_halves. conv_gather also reads all that
// conv_pairs does.
struct ReadAsStored {
  bool x = false, grad_y = false;
};

ReadAsStored read_as_stored(Queue& queue, const ConvShape& s, ConstValues x, ConstValues grad_y) {
  const ConvRoute route = conv_route(s, SecondMoment::none, queue.precision(), queue.cuda().shared_memory());
  if ((route != ConvRoute::pairs && route != ConvRoute::gather) || queue.precision() == Precision::fp32) return {};
  if (grad_y.type != DType::bf16 || !conv_gather_bytes(s.out_channels, grad_y)) return {};
  return {x.type == DType::f16 && conv_gather_bytes(s.in_channels, x) > 0, true};
}

}  // namespace

const ConvKernel* conv_window(const ConvShape& s, SecondMoment kind, Precision precision, size_t shared_memory) {
  if (!is_window(s)) return nullptr;
  if (precision != Precision::fp32) return window::choose_tf32(s, shared_memory);
  return kind == SecondMoment::spatial ? nullptr : window::choose_split(s, shared_memory);
}

const ConvKernel* conv_window_halves(const ConvShape& s, size_t shared_memory) {
  return is_window(s) ? window::choose_halves(s, shared_memory) : nullptr;
}

WeightOperands weight_operands(Queue& queue, Scratch& scratch, const ConvShape& s, const ConvOperand& operand,
                               ConstValues grad_y, bool centered) {
  check(s, operand);
  const ConstValues x = operand.x;
  const int64_t elements = s.batch * s.height * s.width * s.in_channels;
  const bool halves = x.type == DType::f16 && grad_y.type == DType::bf16 && by_chunks(x, grad_y) && !centered;
  if (halves && conv_window_halves(s, queue.cuda().shared_memory())) {
    const bool by_wgmma = queue.cuda().wgmma() && conv_wgmma(s, SecondMoment::none, queue.precision());
    if (!operand.factor || (aligned(operand.factor) && aligned(operand.term) && !by_wgmma)) return {operand, grad_y};
    const Values made(scratch.take<uint16_t>(elements), DType::f16);
    make_conv_operand(queue, s, operand, made);
    return {ConstValues(made), grad_y};
  }
  ReadAsStored stored;
  if (!centered) stored = read_as_stored(queue, s, operand.factor ? ConstValues(nullptr, x.type) : x, grad_y);
  const int64_t outputs = s.batch * s.positions() * s.out_channels;
  const ConstValues gradient = stored.grad_y ? grad_y : widened(queue, scratch, outputs, grad_y);
  if (!operand.factor) return {stored.x ? x : widened(queue, scratch, elements, x), gradient};
  const Values made = stored.x ? Values(scratch.take<uint16_t>(elements), DType::f16) : scratch.take<float>(elements);
  make_conv_operand(queue, s, operand, made);
  return {ConstValues(made), gradient};
}

ConvRoute conv_route(const ConvShape& s, SecondMoment kind, Precision precision, size_t shared_memory, bool wgmma) {
  const bool whole_image = s.kernel_height == s.height && s.kernel_width == s.width;  // G_n is one outer product
  const bool single_pixels = s.kernel_height == 1 && s.kernel_width == 1 && s.stride_height == 1 && s.stride_width == 1;
  if (s.padding_height == 0 && s.padding_width == 0 && (whole_image || (single_pixels && kind != SecondMoment::exact)))
    return ConvRoute::matrix_product;
  if (wgmma && conv_wgmma(s, kind, precision)) return ConvRoute::wgmma;
  if (conv_window(s, kind, precision, shared_memory)) return ConvRoute::window;
  if (conv_pairs(s, precision)) return ConvRoute::pairs;
  return conv_gather(s, precision) ? ConvRoute::gather : ConvRoute::tiles;
}

void conv_sample_sums(Queue& queue, const ConvShape& shape, const ConvOperand& x, ConstValues grad_y,
                      const SampleSums& sums, float* grad_weight) {
  Scratch scratch(queue);
  const WeightOperands of = weight_operands(queue, scratch, shape, x, grad_y, sums.slope);
  const bool signs_beside = sums.signed_sum && has_signs(queue, shape, of.x.x, of.grad_y);
  const Request with_signs{of.x, of.grad_y, grad_weight, sums.signed_sum, sums.signs};
  if (signs_beside && !sums.second_moment) return weight_gradient(queue, shape, SecondMoment::none, with_signs);
  const SecondMoment kind = sums.second_moment ? SecondMoment::exact : SecondMoment::none;
  weight_gradient(queue, shape, kind, {of.x, of.grad_y, grad_weight, sums.second_moment, nullptr, sums});
  if (!sums.signed_sum) return;
  if (is_half(of.grad_y.type) && has_signs(queue, shape, of.x.x, of.grad_y))  // needs no copy in fp32
    weight_gradient(queue, shape, SecondMoment::none, {of.x, of.grad_y, nullptr, sums.signed_sum, sums.signs});
  else
    weight_gradient(queue, shape, SecondMoment::none, {of.x, of.grad_y, sums.signed_sum, nullptr, sums.signs});
}

void conv_second_moment_spatial(Queue& queue, const ConvShape& shape, ConstValues x, ConstValues grad_y,
                                float* grad_weight, float* second_moment) {
  Scratch scratch(queue);
  const WeightOperands of = weight_operands(queue, scratch, shape, x, grad_y);
  weight_gradient(queue, shape, SecondMoment::spatial, {of.x, of.grad_y, grad_weight, second_moment});
}

bool conv_sample_sums_bf16(Queue& queue, const ConvShape& shape, ConstValues x, ConstValues grad_y,
                           float* second_moment, float* grad_weight) {
  check(shape);
  NSGD_CHECK(x.type == DType::bf16 && grad_y.type == DType::bf16,
             "conv_sample_sums_bf16 takes arrays of bf16, not of {} and {}", name_of(x.type), name_of(grad_y.type));
  const SecondMoment kind = second_moment ? SecondMoment::exact : SecondMoment::none;
  const WgmmaKernel* const kernel = queue.cuda().has_wgmma() ? conv_wgmma_bf16(shape, kind) : nullptr;
  if (!kernel || shape.batch == 0) return false;
  kernel->launch(queue, shape, kind, kernel->grid(shape).shares, static_cast<const uint16_t*>(x.address),
                 static_cast<const uint16_t*>(grad_y.address), {grad_weight, second_moment});
  return true;
}

}  // namespace noisysgd::kernels::cuda
