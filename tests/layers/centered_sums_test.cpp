// Second moments of layers before a batch normalisation, without the part that this cancels, against the formula of
// layers/centered_sums.h in double precision.
#include <noisysgd/layers/centered_sums.h>

#include <fmt/format.h>

#include <numeric>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/layers/collected.h"
#include "tests/layers/network.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::test;
using reference::Vector;

namespace {

constexpr float epsilon = 1e-5f;

// A convolution (or a linear layer, as one of 1x1 images) and the batch normalisation after it, with a cotangent.
struct Problem {
  kernels::ConvShape shape;
  int64_t group;
  bool linear = false;

  kernels::BatchNormShape norm() const { return {shape.batch, shape.positions(), shape.out_channels, group}; }
  int64_t in() const { return shape.batch * shape.height * shape.width * shape.in_channels; }
  int64_t out() const { return shape.batch * shape.positions() * shape.out_channels; }
};

struct Expected {
  Vector gradient, attributed, second_moment, plain;  // [K,R,S,C]; attributed: the sum of what is squared
};

// The input of output channel k's weight (r,s,c) at a position; 0 outside the image.
double patch(const kernels::ConvShape& s, const Vector& x, int64_t n, int64_t t, int64_t tap) {
  const int64_t c = tap % s.in_channels, column = tap / s.in_channels % s.kernel_width;
  const int64_t row = tap / s.in_channels / s.kernel_width;
  const int64_t h = t / s.out_width() * s.stride_height + row - s.padding_height;
  const int64_t w = t % s.out_width() * s.stride_width + column - s.padding_width;
  if (h < 0 || h >= s.height || w < 0 || w >= s.width) return 0;
  return x[static_cast<size_t>(((n * s.height + h) * s.width + w) * s.in_channels + c)];
}

Expected expected_sums(const Problem& problem, const Vector& x, const Vector& weight, const Vector& bias,
                       const Vector& gamma, const Vector& cotangent) {
  const kernels::ConvShape& s = problem.shape;
  const int64_t channels = s.out_channels, taps = s.weights() / channels, positions = s.positions();
  const double rows = static_cast<double>(problem.group * positions);
  const Vector z = reference::conv_forward(s, x, weight, bias);
  const reference::BatchNorm norm =
      reference::batch_norm_forward(problem.norm(), epsilon, z, gamma, Vector(static_cast<size_t>(channels)));
  Expected e{Vector(weight.size()), Vector(weight.size()), Vector(weight.size()), Vector(weight.size())};
  for (int64_t group = 0; group < s.batch / problem.group; ++group)
    for (int64_t k = 0; k < channels; ++k) {
      const auto at = [&](int64_t n, int64_t t) {
        return static_cast<size_t>(((group * problem.group + n) * positions + t) * channels + k);
      };
      double mean_gradient = 0, mean_product = 0;
      for (int64_t n = 0; n < problem.group; ++n)
        for (int64_t t = 0; t < positions; ++t) {
          mean_gradient += cotangent[at(n, t)] / rows;
          mean_product += cotangent[at(n, t)] * norm.normalised[at(n, t)] / rows;
        }
      const auto delta = [&](int64_t n, int64_t t) {
        return gamma[static_cast<size_t>(k)] * norm.inverse_std[static_cast<size_t>(group * channels + k)] *
               (cotangent[at(n, t)] - mean_gradient - norm.normalised[at(n, t)] * mean_product);
      };
      for (int64_t tap = 0; tap < taps; ++tap) {
        const auto input = [&](int64_t n, int64_t t) { return patch(s, x, group * problem.group + n, t, tap); };
        double mean = 0, slope = 0;
        for (int64_t n = 0; n < problem.group; ++n)
          for (int64_t t = 0; t < positions; ++t) {
            mean += input(n, t) / rows;
            slope += input(n, t) * norm.normalised[at(n, t)] / rows;
          }
        const auto w = static_cast<size_t>(k * taps + tap);
        for (int64_t n = 0; n < problem.group; ++n) {
          double plain = 0, centered = 0;
          for (int64_t t = 0; t < positions; ++t) {
            plain += delta(n, t) * input(n, t);
            centered += delta(n, t) * (input(n, t) - mean - slope * norm.normalised[at(n, t)]);
          }
          e.gradient[w] += plain;
          e.attributed[w] += centered;
          e.plain[w] += plain * plain;
          e.second_moment[w] += centered * centered;
        }
      }
    }
  return e;
}

std::string layer_json(const Problem& p) {
  if (p.linear) return fmt::format(R"({{"type": "linear", "out_features": {}}})", p.shape.out_channels);
  return fmt::format(
      R"({{"type": "conv2d", "out_channels": {}, "kernel": [{}, {}], "stride": [{}, {}], "padding": [{}, {}]}})",
      p.shape.out_channels, p.shape.kernel_height, p.shape.kernel_width, p.shape.stride_height, p.shape.stride_width,
      p.shape.padding_height, p.shape.padding_width);
}

std::string batch_norm_json(const Problem& p) {
  return fmt::format(R"({{"type": "batch_norm", "ghost_size": {}}})", p.group);
}

// The layers' backward on the problem: weight, bias, gamma, beta with their sums.
class Layers {
 public:
  Layers(const Problem& problem, const std::string& json)
      : context(test_device),
        network(network_from(json, input_shape(problem), problem.shape.out_channels)),
        set(context, network->parameters()),
        sums(all_sums(context, set)),
        problem_(problem) {
    bind_buffers(context, network->buffers());
    uint32_t stream = 20;
    for (const Parameter* parameter : set.list())
      copy_from_host<float>(context, random_tensor(parameter->shape.elements(), ++stream, 0.3f), parameter->value);
  }
  Vector values(size_t parameter) { return to_double(to_host<float>(context, set.list()[parameter]->value)); }

  // On samples [0, batch) in micro-batches.
  void backward(const std::vector<float>& x, const std::vector<float>& cotangent, const Statistics& statistics,
                int64_t micro) {
    sums.zero(context);
    for (int64_t begin = 0; begin < problem_.shape.batch; begin += micro) {
      const auto rows = [&](const std::vector<float>& all, const Shape& shape) {
        const auto size = static_cast<std::ptrdiff_t>(all.size()) / problem_.shape.batch;
        return from_host(context, shape.batched(micro),
                         std::vector<float>(all.begin() + begin * size, all.begin() + (begin + micro) * size));
      };
      Tape tape;
      const Variable input = tape.leaf(rows(x, network->input_shape()));
      const Variable output = network->forward({context, &tape, true}, input);
      tape.backward(context, output, rows(cotangent, network->output_shape()),
                    {.statistics = statistics, .into = sums, .samples = {7, 3, begin}});
    }
  }
  std::vector<float> sum(size_t parameter, Block Sums::*block) {
    return to_host<float>(context, (sums.*block).of(*set.list()[parameter]));
  }

  Context context;
  std::unique_ptr<Layer> network;
  ParameterSet set;
  Sums sums;

 private:
  static Shape input_shape(const Problem& p) {
    return p.linear ? Shape{p.shape.in_channels} : Shape{p.shape.height, p.shape.width, p.shape.in_channels};
  }
  Problem problem_;
};

// batch, height, width, in_channels, out_channels, kernel, stride, padding; ghost size
const Problem problems[] = {{{8, 5, 6, 3, 4, 3, 3, 1, 1, 1, 1}, 4},
                            {{6, 7, 5, 2, 18, 3, 2, 2, 1, 0, 1}, 3},
                            {{12, 4, 4, 1, 2, 3, 3, 1, 1, 2, 2}, 6},
                            {{40, 1, 1, 7, 5, 1, 1, 1, 1, 0, 0}, 20, true}};

const Statistics centered{.second_moment = SecondMoment::exact, .center_normalised = true};

}  // namespace

TEST_CASE("second moments before a batch normalisation lack the part that it cancels") {
  for (const Problem& problem : problems) {
    const std::vector<float> x = random_tensor(problem.in(), 1, 0.5f), cotangent = random_tensor(problem.out(), 2);
    Layers layers(problem, R"({"type": "sequential", "layers": [)" + layer_json(problem) + ", " +
                               batch_norm_json(problem) + "]}");
    const Expected expected = expected_sums(problem, to_double(x), layers.values(0), layers.values(1), layers.values(2),
                                            to_double(cotangent));
    // Both attributions sum to the gradient, up to the part that epsilon has of the variances.
    const std::vector<float> rounded(expected.attributed.begin(), expected.attributed.end());
    CHECK(compare(rounded, expected.gradient, {.condition = 200}) == "");
    for (const int64_t micro : {problem.shape.batch, problem.group}) {
      CAPTURE(problem.shape.batch, problem.shape.out_channels, micro);
      layers.backward(x, cotangent, centered, micro);
      const Tolerance tolerance{.terms = static_cast<double>(problem.shape.batch * problem.shape.positions()),
                                .condition = 16};  // delta is the gradient that a batch normalisation passes on
      CHECK(compare(layers.sum(0, &Sums::gradient), expected.gradient, tolerance) == "");
      CHECK(compare(layers.sum(0, &Sums::second_moment), expected.second_moment, tolerance) == "");
      for (const float bias : layers.sum(1, &Sums::second_moment)) CHECK(bias == 0);
    }
    layers.backward(x, cotangent, {.second_moment = SecondMoment::exact}, problem.shape.batch);
    CHECK(compare(layers.sum(0, &Sums::second_moment), expected.plain, {.terms = 256, .condition = 16}) == "");
    const auto trace = [](const Vector& v) { return std::accumulate(v.begin(), v.end(), 0.0); };
    CHECK(trace(expected.second_moment) < 0.98 * trace(expected.plain));
  }
}

TEST_CASE("signed sums do not change with the centring, nor with micro-batches under it") {
  for (const Problem& problem : problems) {
    const std::vector<float> x = random_tensor(problem.in(), 1, 0.5f), cotangent = random_tensor(problem.out(), 2);
    Layers layers(problem, R"({"type": "sequential", "layers": [)" + layer_json(problem) + ", " +
                               batch_norm_json(problem) + "]}");
    Statistics statistics{.second_moment = SecondMoment::exact};
    statistics.signs = {kernels::SignGrain::sample_channel, 0.5f};
    layers.backward(x, cotangent, statistics, problem.shape.batch);
    const Vector plain = to_double(layers.sum(0, &Sums::signed_sum));
    statistics.center_normalised = true;
    for (const int64_t micro : {problem.shape.batch, problem.group}) {
      layers.backward(x, cotangent, statistics, micro);
      CHECK(compare(layers.sum(0, &Sums::signed_sum), plain, {.terms = 256}) == "");
    }
  }
}

// A convolution and a batch normalisation, and the cotangent of their output.
struct Pair {
  explicit Pair(const std::string& json) : layers(problem, json) {}

  Variable forward(Tape& tape, uint32_t stream) {
    const Shape images = layers.network->input_shape().batched(problem.shape.batch);
    return layers.network->forward({layers.context, &tape, true},
                                   tape.leaf(from_host(layers.context, images, random_tensor(problem.in(), stream))));
  }
  // The second moments of the weight that one pass backward adds.
  std::vector<float> backward(Tape& tape, const Variable& output, const Statistics& statistics, bool retain) {
    layers.sums.zero(layers.context);
    tape.backward(layers.context, output,
                  from_host(layers.context, output.value.shape(), random_tensor(problem.out(), 2)),
                  {.statistics = statistics, .into = layers.sums, .retain = retain});
    return layers.sum(0, &Sums::second_moment);
  }
  std::vector<float> alone(uint32_t stream, const Statistics& statistics) {
    Tape tape;
    const Variable output = forward(tape, stream);
    return backward(tape, output, statistics, false);
  }

  static constexpr const Problem& problem = problems[0];
  Layers layers;
};

std::string sequence(const std::string& layers) { return R"({"type": "sequential", "layers": [)" + layers + "]}"; }

TEST_CASE("second moments are centred wherever the batch normalisation comes next, in sequences within sequences too") {
  const std::string conv = layer_json(problems[0]), norm = batch_norm_json(problems[0]);
  const std::vector<float> expected = Pair(sequence(conv + ", " + norm)).alone(1, centered);
  CHECK(expected != Pair(sequence(conv + ", " + norm)).alone(1, {.second_moment = SecondMoment::exact}));
  for (const std::string& json : {sequence(sequence(conv) + ", " + norm), sequence(conv + ", " + sequence(norm)),
                                  sequence(sequence(conv) + ", " + sequence("") + ", " + sequence(norm))})
    CHECK(Pair(json).alone(1, centered) == expected);
}

TEST_CASE("every backward pass records how its batch normalisation read the convolution") {
  const Statistics plain{.second_moment = SecondMoment::exact};
  Pair pair(sequence(layer_json(problems[0]) + ", " + batch_norm_json(problems[0])));
  const std::vector<float> first = pair.alone(1, centered), second = pair.alone(3, centered),
                           first_plain = pair.alone(1, plain);
  Tape tape, other;
  const Variable output = pair.forward(tape, 1), other_output = pair.forward(other, 3);
  CHECK(pair.backward(tape, output, centered, true) == first);
  CHECK(pair.backward(other, other_output, centered, true) == second);
  CHECK(pair.backward(tape, output, plain, true) == first_plain);
  CHECK(pair.backward(tape, output, centered, false) == first);
}

TEST_CASE("a batch normalisation that is not right after a linear layer or a convolution refuses to centre") {
  const std::string conv = layer_json(problems[0]), norm = batch_norm_json(problems[0]);
  const std::string between = GENERATE(R"({"type": "relu"}, )", R"({"type": "dropout", "probability": 0}, )");
  CHECK_THROWS_WITH(Pair(sequence(conv + ", " + between + norm)).alone(1, centered),
                    "batch_norm 'bn1': contributions are centred for a linear layer or a convolution right before it "
                    "in one sequence, and there is none");
  Pair shared(sequence(conv + R"(, {"type": "residual", "body": [)" + norm + "]}"));  // and the sum reads it too
  CHECK_THROWS_WITH(shared.alone(1, centered), Catch::Matchers::Contains("batch_norm 'block1.bn1'"));
  CHECK_NOTHROW(shared.alone(1, {.second_moment = SecondMoment::exact}));
}
