#include <noisysgd/kernels/conv.h>

#include <cstddef>
#include <unordered_map>

#include <noisysgd/kernels/conv_operand.h>
#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/onednn.h>
#include <noisysgd/kernels/parallel.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels {

void check(const ConvShape& s) {
  NSGD_CHECK(
      s.batch >= 0 && s.in_channels > 0 && s.out_channels > 0 && s.kernel_height > 0 && s.kernel_width > 0 &&
          s.stride_height > 0 && s.stride_width > 0 && s.padding_height >= 0 && s.padding_width >= 0,
      "conv: batch {}, channels {} -> {}, kernel {}x{}, stride {}x{}, padding {}x{}: channels, kernel and stride "
      "must be positive",
      s.batch, s.in_channels, s.out_channels, s.kernel_height, s.kernel_width, s.stride_height, s.stride_width,
      s.padding_height, s.padding_width);
  NSGD_CHECK(s.height + 2 * s.padding_height >= s.kernel_height && s.width + 2 * s.padding_width >= s.kernel_width,
             "conv: a {}x{} kernel does not fit a {}x{} image with padding {}x{}", s.kernel_height, s.kernel_width,
             s.height, s.width, s.padding_height, s.padding_width);
}

void check(const ConvShape& shape, const ConvOperand& operand) {
  check(shape);
  NSGD_CHECK(!operand.factor == !operand.term, "conv: an input needs both a factor and a term, or neither");
  if (!operand.factor) return;
  NSGD_CHECK(operand.group > 0 && shape.batch % operand.group == 0, "conv: {} samples do not divide into groups of {}",
             shape.batch, operand.group);
  NSGD_CHECK(operand.x.type == DType::f32 || operand.x.type == DType::f16,
             "conv: relu(x factor + term) takes x of f32 or f16, not of {}", name_of(operand.x.type));
}

namespace cpu {
namespace {

using dnnl::memory;

enum class ConvKind : int64_t { forward = 1, forward_bias, backward_data, backward_weight };

int64_t size_of(const memory::desc& desc) { return static_cast<int64_t>(desc.get_size()); }

// Layouts: activations have ours (nhwc); the library chooses that of the filter.
struct Descriptors {
  memory::desc x, weight, bias, y, our_weight;
  memory::dims stride, padding;

  explicit Descriptors(const ConvShape& s)
      : x({s.batch, s.in_channels, s.height, s.width}, memory::data_type::f32, memory::format_tag::nhwc),
        weight({s.out_channels, s.in_channels, s.kernel_height, s.kernel_width}, memory::data_type::f32,
               memory::format_tag::any),
        bias({s.out_channels}, memory::data_type::f32, memory::format_tag::a),
        y({s.batch, s.out_channels, s.out_height(), s.out_width()}, memory::data_type::f32, memory::format_tag::nhwc),
        our_weight(weight.dims(), memory::data_type::f32, memory::format_tag::ohwi),
        stride{s.stride_height, s.stride_width},
        padding{s.padding_height, s.padding_width} {}
};

constexpr auto direct = dnnl::algorithm::convolution_direct;

dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

// oneDNN 3 merged operation descriptors into primitive descriptors. Only these three functions depend on the version.
dnnl::convolution_forward::primitive_desc describe_forward(const dnnl::engine& engine, const Descriptors& d, bool bias,
                                                           const dnnl::primitive_attr& attributes) {
  const memory::desc bias_desc = bias ? d.bias : memory::desc();
  constexpr auto kind = dnnl::prop_kind::forward_training;
#if DNNL_VERSION_MAJOR >= 3
  return {engine, kind, direct, d.x, d.weight, bias_desc, d.y, d.stride, d.padding, d.padding, attributes};
#else
  return {{kind, direct, d.x, d.weight, bias_desc, d.y, d.stride, d.padding, d.padding}, attributes, engine};
#endif
}

dnnl::convolution_backward_data::primitive_desc describe_backward_data(const dnnl::engine& engine, const Descriptors& d,
                                                                       const dnnl::primitive_attr& attributes) {
  const auto hint = describe_forward(engine, d, false, attributes);
#if DNNL_VERSION_MAJOR >= 3
  return {engine, direct, d.x, d.weight, d.y, d.stride, d.padding, d.padding, hint, attributes};
#else
  return {{direct, d.x, d.weight, d.y, d.stride, d.padding, d.padding}, attributes, engine, hint};
#endif
}

dnnl::convolution_backward_weights::primitive_desc describe_backward_weight(const dnnl::engine& engine,
                                                                            const Descriptors& d,
                                                                            const dnnl::primitive_attr& attributes) {
  const auto hint = describe_forward(engine, d, false, attributes);
#if DNNL_VERSION_MAJOR >= 3
  return {engine, direct, d.x, d.weight, d.y, d.stride, d.padding, d.padding, hint, attributes};
#else
  return {{direct, d.x, d.weight, d.y, d.stride, d.padding, d.padding}, attributes, engine, hint};
#endif
}

// A convolution and the reorder of its filter between our layout and the library's. Each call sets the pointers of the
// memory objects anew. Scratch memory holds the filter in the library's layout and the scratchpads of both primitives.
class PreparedConv : public OnednnState::Prepared {
 public:
  PreparedConv(const dnnl::engine& engine, ConvKind kind, const ConvShape& shape) {
    const Descriptors d(shape);
    const bool with_bias = kind == ConvKind::forward_bias;
    const dnnl::primitive_attr attributes = user_scratchpad();
    if (kind == ConvKind::backward_data) {
      const auto desc = describe_backward_data(engine, d, attributes);
      convolution_ = dnnl::convolution_backward_data(desc);
      allocate(engine, d, desc.weights_desc(), desc.scratchpad_desc());
      arguments_ = {{DNNL_ARG_DIFF_SRC, x_}, {DNNL_ARG_WEIGHTS, filter_}, {DNNL_ARG_DIFF_DST, y_}};
    } else if (kind == ConvKind::backward_weight) {
      const auto desc = describe_backward_weight(engine, d, attributes);
      convolution_ = dnnl::convolution_backward_weights(desc);
      allocate(engine, d, desc.diff_weights_desc(), desc.scratchpad_desc());
      arguments_ = {{DNNL_ARG_SRC, x_}, {DNNL_ARG_DIFF_WEIGHTS, filter_}, {DNNL_ARG_DIFF_DST, y_}};
    } else {
      const auto desc = describe_forward(engine, d, with_bias, attributes);
      convolution_ = dnnl::convolution_forward(desc);
      allocate(engine, d, desc.weights_desc(), desc.scratchpad_desc());
      arguments_ = {{DNNL_ARG_SRC, x_}, {DNNL_ARG_WEIGHTS, filter_}, {DNNL_ARG_DST, y_}};
      if (with_bias) {
        bias_ = memory(d.bias, engine, DNNL_MEMORY_NONE);
        arguments_.emplace(DNNL_ARG_BIAS, bias_);
      }
    }
    arguments_.emplace(DNNL_ARG_SCRATCHPAD, scratchpad_);
    if (kind == ConvKind::backward_weight) {
      // The library overwrites, but the op accumulates, so the result always goes through a reorder that adds.
      dnnl::primitive_attr accumulate = attributes;
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      accumulate.set_post_ops(sum);
      prepare_reorder(dnnl::reorder::primitive_desc(filter_, our_filter_, accumulate), engine);
    } else if (filter_.get_desc() != our_filter_.get_desc()) {
      prepare_reorder(dnnl::reorder::primitive_desc(our_filter_, filter_, attributes), engine);
    }
  }

  void run_forward(Queue& queue, const float* x, const float* weight, const float* bias, float* y) {
    Scratch scratch(queue);
    bind(scratch, x, weight, y);
    if (bias) bias_.set_data_handle(const_cast<float*>(bias));
    execute_reorder(queue, our_filter_, filter_);
    execute(queue);
  }

  void run_backward_data(Queue& queue, const float* weight, const float* grad_y, float* grad_x) {
    Scratch scratch(queue);
    bind(scratch, grad_x, weight, grad_y);
    execute_reorder(queue, our_filter_, filter_);
    execute(queue);
  }

  void run_backward_weight(Queue& queue, const float* x, const float* grad_y, float* grad_weight) {
    Scratch scratch(queue);
    bind(scratch, x, grad_weight, grad_y);
    execute(queue);
    execute_reorder(queue, filter_, our_filter_);
  }

 private:
  void allocate(const dnnl::engine& engine, const Descriptors& d, const memory::desc& filter,
                const memory::desc& scratchpad) {
    x_ = memory(d.x, engine, DNNL_MEMORY_NONE);
    y_ = memory(d.y, engine, DNNL_MEMORY_NONE);
    our_filter_ = memory(d.our_weight, engine, DNNL_MEMORY_NONE);
    filter_ = memory(filter, engine, DNNL_MEMORY_NONE);
    scratchpad_ = memory(scratchpad, engine, DNNL_MEMORY_NONE);
    scratchpad_bytes_ = size_of(scratchpad);
  }

  void prepare_reorder(const dnnl::reorder::primitive_desc& desc, const dnnl::engine& engine) {
    reorder_ = dnnl::reorder(desc);
    reorder_scratchpad_ = memory(desc.scratchpad_desc(), engine, DNNL_MEMORY_NONE);
    reorder_scratchpad_bytes_ = size_of(desc.scratchpad_desc());
    filter_bytes_ = size_of(filter_.get_desc());
  }

  void bind(Scratch& scratch, const float* x, const float* filter, const float* y) {
    const auto [scratchpad, reorder_scratchpad, our_copy] =
        scratch.take<std::byte, std::byte, std::byte>(scratchpad_bytes_, reorder_scratchpad_bytes_, filter_bytes_);
    x_.set_data_handle(const_cast<float*>(x));
    y_.set_data_handle(const_cast<float*>(y));
    our_filter_.set_data_handle(const_cast<float*>(filter));
    filter_.set_data_handle(reorder_ ? static_cast<void*>(our_copy) : const_cast<float*>(filter));
    scratchpad_.set_data_handle(scratchpad);
    if (reorder_) reorder_scratchpad_.set_data_handle(reorder_scratchpad);
  }

  void execute(Queue& queue) {
    convolution_.execute(queue.onednn().stream(), arguments_);
    queue.onednn().stream().wait();
  }

  void execute_reorder(Queue& queue, const memory& from, const memory& to) {
    if (!reorder_) return;
    reorder_.execute(queue.onednn().stream(),
                     {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, reorder_scratchpad_}});
    queue.onednn().stream().wait();
  }

  dnnl::primitive convolution_, reorder_;
  memory x_, y_, bias_, our_filter_, filter_, scratchpad_, reorder_scratchpad_;
  std::unordered_map<int, memory> arguments_;  // shares its memory objects with the members above
  int64_t scratchpad_bytes_ = 0, reorder_scratchpad_bytes_ = 0, filter_bytes_ = 0;
};

PreparedConv& prepared(Queue& queue, ConvKind kind, const ConvShape& s) {
  const OnednnState::Key key = {static_cast<int64_t>(kind),
                                s.batch,
                                s.height,
                                s.width,
                                s.in_channels,
                                s.out_channels,
                                s.kernel_height,
                                s.kernel_width,
                                s.stride_height,
                                s.stride_width,
                                s.padding_height,
                                s.padding_width};
  OnednnState& state = queue.onednn();
  return state.prepared<PreparedConv>(key, [&] { return std::make_unique<PreparedConv>(state.engine(), kind, s); });
}

}  // namespace

void conv_forward(Queue& queue, const ConvShape& shape, const float* x, const float* weight,
                  const BiasEpilogue& epilogue, float* y) {
  check(shape);
  if (shape.batch == 0) return;
  const LibraryThreads threads(queue);
  const float* const bias = epilogue.bias;
  prepared(queue, bias ? ConvKind::forward_bias : ConvKind::forward, shape).run_forward(queue, x, weight, bias, y);
  // The library's own ReLU would turn NaN into 0.
  if (epilogue.relu) relu_forward(queue, shape.batch * shape.positions() * shape.out_channels, y, y);
}

void conv_backward_data(Queue& queue, const ConvShape& shape, const float* weight, const float* grad_y, float* grad_x) {
  check(shape);
  if (shape.batch == 0) return;
  const LibraryThreads threads(queue);
  prepared(queue, ConvKind::backward_data, shape).run_backward_data(queue, weight, grad_y, grad_x);
}

void conv_backward_weight(Queue& queue, const ConvShape& shape, const ConvOperand& operand, const float* grad_y,
                          float* grad_weight) {
  check(shape, operand);
  if (shape.batch == 0) return;
  Scratch scratch(queue);
  const float* const x = conv_operand_array(queue, scratch, "conv_backward_weight", shape, operand);
  const LibraryThreads threads(queue);
  prepared(queue, ConvKind::backward_weight, shape).run_backward_weight(queue, x, grad_y, grad_weight);
}

bool conv_backward_weight_cudnn(Queue&, const ConvShape&, const float*, const float*, float*) { return false; }

}  // namespace cpu
}  // namespace noisysgd::kernels
