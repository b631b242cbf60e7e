// The published networks: their sizes, names and gradients.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include <noisysgd/layers/model.h>
#include <noisysgd/layers/models/resnet.h>
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/error_of.h"
#include "tests/gradcheck.h"
#include "tests/layers/collected.h"
#include "tests/layers/network.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"

using namespace noisysgd;
using namespace noisysgd::test;
using reference::Vector;

namespace {

const Shape grey{28, 28, 1}, colour{32, 32, 3};

struct Published {
  std::string json;
  Shape image;
  int64_t classes;
  int64_t parameters;  // by hand, from the layers' shapes
};

// Convolutions, scales and shifts of a CIFAR ResNet with 2n layers per stage, and its classifier.
int64_t resnet_parameters(int64_t n, int64_t width, bool projection, int64_t classes) {
  const int64_t a = 16 * width, b = 32 * width, c = 64 * width;
  int64_t count = 27 * a + 2 * a;
  count += 2 * n * (9 * a * a + 2 * a);
  count += 9 * a * b + 2 * b + (2 * n - 1) * (9 * b * b + 2 * b);
  count += 9 * b * c + 2 * c + (2 * n - 1) * (9 * c * c + 2 * c);
  if (projection) count += a * b + 2 * b + b * c + 2 * c;
  return count + c * classes + classes;
}

// A CIFAR ResNet in fp64: images [M,H,W,3] to logits, parameters in the network's order.
class ResnetReference {
 public:
  ResnetReference(int64_t samples, int64_t size, int64_t classes, const ResnetOptions& options)
      : samples_(samples), size_(size), classes_(classes), options_(options) {}

  Vector logits(const Vector& images, const std::vector<Vector>& parameters) {
    next_ = parameters.begin();
    size_now_ = size_, channels_ = 3;
    Vector x = relu(norm(conv(images, 16 * options_.width, 3, 1)));
    for (int64_t stage = 0; stage < 3; ++stage)
      for (int64_t block = 0; block < (options_.depth - 2) / 6; ++block)
        x = residual(x, (16 * options_.width) << stage, stage > 0 && block == 0 ? 2 : 1);
    x = reference::global_average_pool(samples_, size_now_ * size_now_, channels_, x);
    x = reference::product(false, true, samples_, classes_, channels_, x, *next_++);
    const Vector& bias = *next_++;
    for (size_t i = 0; i < x.size(); ++i) x[i] += bias[i % bias.size()];
    return x;
  }

 private:
  Vector conv(const Vector& x, int64_t channels, int64_t kernel, int64_t stride) {
    const int64_t padding = kernel / 2;
    const kernels::ConvShape shape{samples_, size_now_, size_now_, channels_, channels, kernel,
                                   kernel,   stride,    stride,    padding,   padding};
    size_now_ = (size_now_ + 2 * padding - kernel) / stride + 1;
    channels_ = channels;
    return reference::conv_forward(shape, x, *next_++, {});
  }
  Vector norm(const Vector& x) {
    const Vector &gamma = *next_++, &beta = *next_++;
    const kernels::BatchNormShape shape{samples_, size_now_ * size_now_, channels_, *options_.ghost_size};
    return reference::batch_norm_forward(shape, 1e-5f, x, gamma, beta).y;
  }
  static Vector relu(Vector x) {
    for (double& value : x) value = std::max(value, 0.0);
    return x;
  }
  Vector residual(const Vector& x, int64_t channels, int64_t stride) {
    const int64_t size = size_now_, from = channels_;
    Vector body = norm(conv(relu(norm(conv(x, channels, 3, stride))), channels, 3, 1));
    Vector shortcut = x;
    if (stride > 1 && options_.shortcut == ResnetShortcut::projection) {
      size_now_ = size, channels_ = from;
      shortcut = norm(conv(x, channels, 1, stride));
    } else if (stride > 1) {
      shortcut.assign(body.size(), 0.0);
      for (int64_t n = 0; n < samples_; ++n)
        for (int64_t i = 0; i < size_now_; ++i)
          for (int64_t j = 0; j < size_now_; ++j)
            for (int64_t c = 0; c < from; ++c)
              shortcut[((n * size_now_ + i) * size_now_ + j) * channels + c] =
                  x[((n * size + stride * i) * size + stride * j) * from + c];
    }
    for (size_t i = 0; i < body.size(); ++i) body[i] += shortcut[i];
    return relu(std::move(body));
  }

  int64_t samples_, size_, classes_;
  ResnetOptions options_;
  int64_t size_now_ = 0, channels_ = 0;
  std::vector<Vector>::const_iterator next_;
};

}  // namespace

TEST_CASE("the published networks have their numbers of parameters and one score per class") {
  const int64_t vgg =
      9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 2 * 256 * 256 + 256 * 512 + 5 * 512 * 512) +
      2 * (2 * 64 + 2 * 128 + 3 * 256 + 6 * 512);
  const int64_t alexnet = 25 * (3 * 64 + 64 * 64) + 4096 * 384 + 384 * 192 + 2 * (64 + 64 + 384 + 192);
  const Published network = GENERATE_COPY(
      Published{R"({"type": "mlp"})", grey, 10, 785 * 512 + 513 * 512 + 5130},
      Published{R"({"type": "lenet"})", grey, 10, 431080},
      Published{R"({"type": "alexnet"})", colour, 10, alexnet + 1930},
      Published{R"({"type": "alexnet"})", colour, 100, alexnet + 19300},
      Published{R"({"type": "alexnet", "batch_norm": false})", colour, 10, alexnet + 1930 - 704},
      Published{R"({"type": "vgg16"})", colour, 10, vgg + 5130},
      Published{R"({"type": "vgg16"})", colour, 100, vgg + 51300},
      Published{R"({"type": "resnet"})", colour, 10, resnet_parameters(7, 1, true, 10)},
      Published{R"({"type": "resnet", "shortcut": "identity_pad"})", colour, 10, resnet_parameters(7, 1, false, 10)},
      Published{R"({"type": "resnet", "width": 2})", colour, 100, resnet_parameters(7, 2, true, 100)},
      Published{R"({"type": "resnet", "depth": 20, "shortcut": "identity_pad"})", colour, 10, 269722},
      Published{R"({"type": "resnet", "depth": 8})", colour, 10, resnet_parameters(1, 1, true, 10)});
  INFO(network.json);
  const auto layer = network_from(network.json, network.image, network.classes);
  int64_t parameters = 0;
  for (const Parameter* parameter : layer->parameters()) parameters += parameter->shape.elements();
  CHECK(parameters == network.parameters);
  CHECK(layer->output_shape() == Shape{network.classes});
}

TEST_CASE("the networks of Table 1 are as large as published") {
  // In millions: He et al. 2016, Table 6 (0.66 for 44 layers); about four times that for twice the filters.
  CHECK(fmt::format("{:.2f}", static_cast<double>(resnet_parameters(7, 1, false, 10)) * 1e-6) == "0.66");
  CHECK(fmt::format("{:.2f}", static_cast<double>(resnet_parameters(7, 1, true, 10)) * 1e-6) == "0.66");
  CHECK(fmt::format("{:.1f}", static_cast<double>(resnet_parameters(7, 2, true, 10)) * 1e-6) == "2.6");
  int64_t vgg = 0;
  const auto network = network_from(R"({"type": "vgg16"})", colour, 10);
  for (const Parameter* parameter : network->parameters()) vgg += parameter->shape.elements();
  CHECK(fmt::format("{:.1f}", static_cast<double>(vgg) * 1e-6) == "14.7");
}

TEST_CASE("a step through every network has a finite loss and moves every parameter's gradient and diag(F)") {
  const std::string json = GENERATE(R"({"type": "alexnet"})", R"({"type": "vgg16"})", R"({"type": "resnet"})",
                                    R"({"type": "resnet", "depth": 14, "shortcut": "identity_pad"})",
                                    R"({"type": "resnet", "depth": 8, "width": 2})");
  INFO(json);
  Context context;
  Model model(context, network_from(json, colour, 10, 2), 10);
  CHECK(model.coupling().usable(5) == 4);  // batch.ghost_size has arrived at every batch norm
  model.parameter_set().initialise(3);
  const Sums sums = all_sums(context, model.parameter_set());
  const Batch batch = random_batch(context, colour, 4, 10);
  const kernels::LossSums losses = accumulate(model, batch, {.collect = {.second_moment = SecondMoment::exact}}, sums);
  CHECK(std::isfinite(losses.loss));
  for (const Parameter* parameter : model.parameters()) {
    INFO(parameter->name);
    const Tensor gradients = sums.gradient.of(*parameter), moments = sums.second_moment.of(*parameter);
    const auto gradient = gradients.span<float>(), squares = moments.span<float>();
    const auto nonzero = [](float v) { return std::isfinite(v) && v != 0; };
    CHECK(std::any_of(gradient.begin(), gradient.end(), nonzero));
    CHECK(std::any_of(squares.begin(), squares.end(), nonzero));
    CHECK(std::all_of(gradient.begin(), gradient.end(), [](float v) { return std::isfinite(v); }));
    CHECK(std::all_of(squares.begin(), squares.end(), [](float v) { return std::isfinite(v) && v >= 0; }));
  }
}

TEST_CASE("logits and gradients of a residual network are those of its formula") {
  const auto shortcut = GENERATE(ResnetShortcut::projection, ResnetShortcut::identity_pad);
  const ResnetOptions options{.depth = 14, .width = 1, .shortcut = shortcut, .ghost_size = 4};
  const int64_t samples = 8, size = 8, classes = 5;
  const Shape image{size, size, 3};
  Context context;
  Model model(context, resnet(image, classes, options), classes);
  model.parameter_set().initialise(5);
  std::vector<Vector> values;
  uint32_t stream = 10;
  for (const Parameter* parameter : model.parameters()) {
    const auto jitter = random_tensor(parameter->shape.elements(), stream++, 0, 0.1f);  // no scale 1, no bias 0
    const auto span = parameter->value.span<float>();
    for (size_t i = 0; i < span.size(); ++i) span[i] += jitter[i];
    values.emplace_back(span.begin(), span.end());
  }
  const Batch batch = random_batch(context, image, samples, classes);
  const Vector images = to_double({batch.images.f32(), batch.images.f32() + batch.images.elements()});
  const std::vector<int32_t> labels(batch.labels.data<int32_t>(), batch.labels.data<int32_t>() + samples);
  ResnetReference network(samples, size, classes, options);

  const Sums sums = all_sums(context, model.parameter_set());
  const Tensor logits(context, {samples, classes});
  fill(context, logits, std::numeric_limits<float>::quiet_NaN());
  accumulate(model, batch, {.forward = {.logits = logits}}, sums);
  // Fourteen normalised layers, each of which amplifies rounding errors.
  CHECK(compare(logits.span<float>(), network.logits(images, values), {.terms = 600, .condition = 4}) == "");

  const auto loss = [&](const std::vector<Vector>& parameters) {
    const Vector losses = reference::cross_entropy(samples, classes, network.logits(images, parameters), labels, 0);
    return std::accumulate(losses.begin(), losses.end(), 0.0);
  };
  // Along one random direction of signs per tensor: a gradient that is wrong by a share of its norm shows in
  // <gradient, direction> as the same share of norm, about.
  for (size_t tensor = 0; tensor < values.size(); ++tensor) {
    const Parameter& parameter = *model.parameters()[tensor];
    INFO(parameter.name);
    const auto signs = random_integers(parameter.shape.elements(), 1000 + static_cast<uint32_t>(tensor), 2);
    const Tensor gradients = sums.gradient.of(parameter);
    const auto gradient = gradients.span<float>();
    double along = 0, squares = 0;
    for (size_t i = 0; i < signs.size(); ++i) {
      along += (2 * signs[i] - 1) * static_cast<double>(gradient[i]);
      squares += static_cast<double>(gradient[i]) * gradient[i];
    }
    const auto moved = [&](const Vector& distance) {
      std::vector<Vector> parameters = values;
      for (size_t i = 0; i < signs.size(); ++i) parameters[tensor][i] += distance[0] * (2 * signs[i] - 1);
      return loss(parameters);
    };
    REQUIRE(squares > 0);
    CHECK(std::fabs(central_differences(moved, {0.0}, 1e-7)[0] - along) <= 2e-4 * std::sqrt(squares));
  }
}

TEST_CASE("parameters of the networks are named as in PyTorch") {
  const auto names = [](const std::string& json) {
    std::vector<std::string> all;
    const auto network = network_from(json, colour, 10);
    for (const Parameter* parameter : network->parameters()) all.push_back(parameter->name);
    for (const Buffer* buffer : network->buffers()) all.push_back(buffer->name);
    return all;
  };
  const auto has = [](const std::vector<std::string>& all, const std::string& name) {
    return std::count(all.begin(), all.end(), name) == 1;
  };
  const auto residual = names(R"({"type": "resnet"})");
  for (const char* name : {"conv1.weight", "bn1.weight", "bn1.running_mean", "layer1.0.conv1.weight",
                           "layer1.6.bn2.bias", "layer2.0.downsample.0.weight", "layer2.0.downsample.1.running_var",
                           "layer3.6.conv2.weight", "fc.weight", "fc.bias"}) {
    INFO(name);
    CHECK(has(residual, name));
  }
  CHECK_FALSE(has(residual, "layer1.0.downsample.0.weight"));
  CHECK_FALSE(has(names(R"({"type": "resnet", "shortcut": "identity_pad"})"), "layer2.0.downsample.0.weight"));
  const auto vgg = names(R"({"type": "vgg16"})");
  for (const char* name :
       {"features.0.weight", "features.1.running_var", "features.40.weight", "features.41.bias", "classifier.weight"}) {
    INFO(name);
    CHECK(has(vgg, name));
  }
}

TEST_CASE("a depth that no residual network has is refused") {
  CHECK_THROWS_WITH(resnet(colour, 10, {.depth = 45}), "resnet: the depth 45 is not 6n+2 for an n of at least 1");
  CHECK(contains(error_of([] { network_from(R"({"type": "resnet", "depth": 45})", colour, 10); }),
                 "$.model.depth: must be 6n+2"));
}
