#include <noisysgd/optim/layer_measurement.h>

#include <cmath>

#include "tests/catch.h"
#include "tests/layers/collected.h"
#include "tests/optim/covariance_formulas.h"
#include "tests/optim/parameters.h"
#include "tests/optim/tiny_steps.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

constexpr uint64_t seed = 5;

// A step that measures its groups, and the values that its log would have.
struct Measured {
  Measured(Context& context, Model& model, const Batch& batch, int64_t wanted, uint32_t number, int64_t micro,
           const FisherOptions& fisher = {}, const std::string& noise_json = R"({"type": "none"})")
      : measurement(std::make_shared<LayerMeasurement>(wanted)),
        noise(noise_from(noise_json)),
        step(context, model, noise, sgd, nullptr,
             {.fisher = fisher, .micro = micro, .measurements = {measurement}, .seed = seed}) {
    if (noise.active()) step.begin_noise();
    const int64_t samples = batch.size();
    const StepRecipe recipe = step.recipe(
        {.values = {.step = number}, .samples = samples, .noise = noise.active(), .logged = true});
    const BatchSource source = [&](const StepNumbers&, int64_t begin, int64_t count) {
      return batch.rows(begin, begin + count);
    };
    step.accumulate(recipe, source, {.step = number});
    std::vector<const void*> results;
    for (const Tensor& result : measurement->results()) results.push_back(result.bytes().data());
    layers = measurement->layers(results, samples);
  }
  std::shared_ptr<LayerMeasurement> measurement;
  Noise noise;
  Sgd sgd;
  Step step;
  std::vector<LayerFisher> layers;
};

double dot(const Vector& a, const Vector& b, size_t layer) {
  double sum = 0;
  for (size_t i = 0; i < size; ++i)
    if (TinyNetwork::layer_of(i) == layer) sum += a[i] * b[i];
  return sum;
}

// The sum of the gradients of samples [begin, end), each with its sign.
Vector group_sum(const TinyNetwork& net, int64_t begin, int64_t end, const std::vector<float>& signs) {
  Vector sum(size);
  for (int64_t n = begin; n < end; ++n) {
    const Vector g = net.gradient(n);
    for (size_t i = 0; i < size; ++i) sum[i] += static_cast<double>(signs[static_cast<size_t>(n)]) * g[i];
  }
  return sum;
}

// The signs that a layer draws, by the op that layers use.
std::vector<float> signs_of(TinyNetwork& net, size_t layer, uint32_t step) {
  const RandomStream stream{seed, step, net.model.parameters()[2 * layer]->index, RandomPurpose::noise_signs};
  std::vector<float> signs(static_cast<size_t>(net.samples));
  kernels::multiply_signs(net.context.queue, {net.samples, 1, 1, kernels::SignGrain::sample, 1, stream}, nullptr,
                          signs.data());
  return signs;
}

}  // namespace

TEST_CASE("variance ratio and effective rank of a layer are those of its samples' gradients") {
  const auto [groups, size_of_group] = GENERATE(table<int64_t, int64_t>({{4, 2}, {8, 1}, {2, 4}, {3, 2}}));
  const int64_t micro = GENERATE(8, 3, 1);
  TinyNetwork net;
  for (uint32_t step = 0; step < 3; ++step) {
    const SampleGroups divided(net.model, {}, net.samples, groups);
    REQUIRE(divided.count == groups);
    REQUIRE(divided.size == size_of_group);
    const std::vector<LayerFisher> layers =
        Measured(net.context, net.model, net.batch, groups, step, micro).layers;
    REQUIRE(layers.size() == 2);
    for (size_t l = 0; l < 2; ++l) {
      const std::vector<float> ones(static_cast<size_t>(net.samples), 1.0f), signs = signs_of(net, l, step);
      std::vector<Vector> plain, drawn;
      Vector mean(size);
      double trace = 0;
      for (int64_t n = 0; n < net.samples; ++n) trace += dot(net.gradient(n), net.gradient(n), l) / m;
      for (int64_t r = 0; r < groups; ++r) {
        plain.push_back(group_sum(net, r * size_of_group, (r + 1) * size_of_group, ones));
        drawn.push_back(group_sum(net, r * size_of_group, (r + 1) * size_of_group, signs));
        for (size_t i = 0; i < size; ++i) mean[i] += plain.back()[i] / static_cast<double>(groups);
      }
      double variance = 0, trace_squared = 0, norm_squared = 0;
      for (int64_t r = 0; r < groups; ++r) {
        Vector deviation = plain[static_cast<size_t>(r)];
        for (size_t i = 0; i < size; ++i) deviation[i] -= mean[i];
        variance += dot(deviation, deviation, l) / static_cast<double>(size_of_group * (groups - 1));
        for (int64_t q = 0; q < r; ++q) {
          const Vector &a = drawn[static_cast<size_t>(r)], &b = drawn[static_cast<size_t>(q)];
          trace_squared += dot(a, a, l) * dot(b, b, l);
          norm_squared += dot(a, b, l) * dot(a, b, l);
        }
      }
      CHECK(layers[l].trace == Approx(trace).epsilon(1e-5));
      CHECK(layers[l].variance_ratio.value() == Approx(trace / variance).epsilon(1e-4));
      CHECK(layers[l].effective_rank.value() == Approx(trace_squared / norm_squared).epsilon(1e-4));
      CHECK(*layers[l].effective_rank >= 1);
    }
  }
}

// Over draws of the signs, (V_r . V_q)^2 is sum K_nm^2 over n in r and m in q, K = G_l G_l^T: B^2 |F_l|^2 of samples
// that r and q do not share; likewise |V_r|^2 |V_q|^2, where B^2 (tr F_l)^2 has the mean squares K_nn K_mm.
TEST_CASE("pairs of sums with signs have the norm and the trace of F") {
  TinyNetwork net;
  constexpr int64_t b = 2;
  constexpr int draws = 4000;
  const size_t layer = GENERATE(size_t{0}, size_t{1});
  double trace = 0, norm = 0;
  Vector sampled_trace, sampled_norm;
  for (int64_t n = 0; n < net.samples; ++n)
    for (int64_t k = 0; k < net.samples; ++k) {
      if (n / b == k / b) continue;
      const Vector g = net.gradient(n), h = net.gradient(k);
      trace += dot(g, g, layer) * dot(h, h, layer) / 2;
      norm += dot(g, h, layer) * dot(g, h, layer) / 2;
    }
  std::vector<Vector> gradients;
  for (int64_t n = 0; n < net.samples; ++n) gradients.push_back(net.gradient(n));
  for (int draw = 0; draw < draws; ++draw) {
    const std::vector<float> signs = signs_of(net, layer, static_cast<uint32_t>(draw));
    std::vector<Vector> sums(4, Vector(size));
    for (size_t n = 0; n < gradients.size(); ++n)
      for (size_t i = 0; i < size; ++i) sums[n / b][i] += static_cast<double>(signs[n]) * gradients[n][i];
    double t = 0, f = 0;
    for (size_t r = 0; r < 4; ++r)
      for (size_t q = 0; q < r; ++q) {
        t += dot(sums[r], sums[r], layer) * dot(sums[q], sums[q], layer);
        f += dot(sums[r], sums[q], layer) * dot(sums[r], sums[q], layer);
      }
    sampled_trace.push_back(t);
    sampled_norm.push_back(f);
  }
  const auto within = [&](const Vector& samples, double expected) {
    double mean = 0, square = 0;
    for (const double value : samples) mean += value / draws;
    for (const double value : samples) square += (value - mean) * (value - mean) / draws;
    CHECK(std::abs(mean - expected) < 5 * std::sqrt(square / draws));
    CHECK(std::sqrt(square / draws) < 0.05 * expected);
  };
  within(sampled_trace, trace);
  within(sampled_norm, norm);
}

TEST_CASE("the variance is that of ghost batches with their coupling, whole ghost batches to a group") {
  Context context{{}, 2};
  const Shape image{5, 5, 2};
  constexpr int64_t samples = 24, ghost = 4, classes = 3;
  Model model(context,
              network_from(R"({"type": "sequential", "layers": [
      {"type": "conv2d", "out_channels": 4, "kernel": 3}, {"type": "batch_norm"}, {"type": "relu"},
      {"type": "flatten"}, {"type": "linear"}]})",
                           image, classes, ghost),
              classes);
  model.parameter_set().initialise(7);
  const Batch batch = random_batch(context, image, samples, classes);
  const int64_t wanted = GENERATE(6, 2, 64), micro = GENERATE(int64_t{24}, int64_t{8}, int64_t{4});
  const FisherOptions fisher{
      .batch_norm = GENERATE(GhostFisher::activation, GhostFisher::activation_centered, GhostFisher::ghost_variance),
      .ghost_size = ghost};
  const SampleGroups divided(model, fisher, samples, wanted);
  REQUIRE(divided.count == std::min<int64_t>(wanted, 6));
  const std::vector<LayerFisher> layers = Measured(context, model, batch, wanted, 0, micro, fisher).layers;
  const Sums group_sums = all_sums(context, model.parameter_set());

  const int64_t groups = divided.count, size = divided.size;
  std::map<std::string, std::vector<Vector>> sums;
  for (int64_t r = 0; r < groups; ++r) {
    group_sums.zero(context);
    for (int64_t begin = r * size; begin < (r + 1) * size; begin += ghost)
      accumulate(model, batch.rows(begin, begin + ghost), {}, group_sums);
    for (const Parameter* parameter : model.parameters()) {
      auto& groups_of_layer = sums[layer_name(*parameter)];
      groups_of_layer.resize(static_cast<size_t>(groups));
      for (const float value : group_sums.gradient.of(*parameter).span<float>())
        groups_of_layer[static_cast<size_t>(r)].push_back(value);
    }
  }
  for (const LayerFisher& layer : layers) {
    const std::vector<Vector>& u = sums.at(layer.layer);
    double variance = 0;
    for (size_t i = 0; i < u[0].size(); ++i) {
      double mean = 0;
      for (const Vector& group : u) mean += group[i] / static_cast<double>(groups);
      for (const Vector& group : u)
        variance += (group[i] - mean) * (group[i] - mean) / static_cast<double>(size * (groups - 1));
    }
    INFO(layer.layer);
    CHECK(layer.variance_ratio.value() == Approx(layer.trace / variance).epsilon(1e-3));
    // With one group per ghost batch D is exactly this variance.
    if (fisher.batch_norm == GhostFisher::ghost_variance && size == ghost)
      CHECK(*layer.variance_ratio == Approx(1).epsilon(1e-3));
    CHECK(layer.effective_rank.value() >= 1);
  }
}

TEST_CASE("what measuring collects changes neither the gradient nor the noise of the step") {
  TinyNetwork net;
  const std::string json = R"({"type": "unit_fisher", "small_batch": 2})";
  TinySteps plain(net, json);
  plain.accumulate(3, 4);
  const Measured measured(net.context, net.model, net.batch, 2, 3, 4, {}, json);
  for (const auto block : {&Sums::gradient, &Sums::signed_sum}) {
    const std::vector<float> values = gather(net.model.parameters(), measured.step.sums().*block);
    CHECK(values == plain.values(block));
    CHECK(std::abs(values.back()) > 0);
  }
}

TEST_CASE("too few samples for two groups measure nothing") {
  TinyNetwork net;
  const FisherOptions fisher{.batch_norm = GhostFisher::ghost_variance, .ghost_size = 4};
  const SampleGroups divided(net.model, fisher, 4, 4);
  CHECK(divided.count == 0);
  GroupStatistics statistics(net.context, net.model, divided);
  CHECK(statistics.end_of_piece(0, 4) == 4);
  CHECK_FALSE(statistics.begin_piece(0, Block(net.context, net.model.parameter_set())).defined());
  std::vector<LayerFisher> layers{{"conv1", 1, 1}, {"linear1", 1, 1}};
  measure_groups(divided, net.model.parameters(), nullptr, layers);
  for (const LayerFisher& layer : layers) {
    CHECK_FALSE(layer.variance_ratio);
    CHECK_FALSE(layer.effective_rank);
  }
}
