// Every noise structure on a network of 37 parameters: the noise of backward passes and prepare has the covariance of
// its formula, built from the gradients of the single samples in double precision.
#include <cmath>
#include <numeric>
#include <set>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/optim/covariance_formulas.h"
#include "tests/layers/collected.h"
#include "tests/optim/parameters.h"
#include "tests/optim/state_of.h"
#include "tests/optim/tiny_steps.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// The u_n that a structure draws for a batch.
std::vector<float> weights_of(const NoiseStructure& structure, const NoiseBatch& batch, uint64_t seed, uint32_t step) {
  kernels::Queue queue({}, 1);
  std::vector<float> weights(static_cast<size_t>(batch.samples), NAN);
  const RandomStream stream{seed, step, 0, RandomPurpose::sample_weights};
  kernels::sample_weights(queue, structure.sample_weights(batch).value(), stream, batch.samples, 0, 1, weights.data());
  return weights;
}

void check_covariance(TinyNetwork& net, const std::string& json, const Covariance& expected, int draws,
                      double kurtosis = 3, const FisherOptions& fisher = {}) {
  INFO(json);
  TinySteps steps(net, json, {.fisher = fisher, .keep_gradient = true});
  check_draws([&](int k) { return steps.draw(static_cast<uint32_t>(k)); }, expected, draws, kurtosis);
}

std::string with_small_batch(const std::string& type, const std::string& more = "") {
  return R"({"type": ")" + type + R"(", "small_batch": 2)" + more + "}";
}

}  // namespace

TEST_CASE("the reference gradients of the tiny network are those of the model") {
  TinyNetwork net;
  TinySteps steps(net, with_small_batch("diagonal_fisher"));
  steps.accumulate(0);
  Vector sums(size), squares(size);
  for (int64_t n = 0; n < net.samples; ++n) {
    const Vector g = net.gradient(n);
    for (size_t i = 0; i < size; ++i) {
      sums[i] += g[i];
      squares[i] += g[i] * g[i];
    }
  }
  const Tolerance tolerance{.terms = 64, .condition = 8};
  CHECK(compare(steps.values(&Sums::gradient), sums, tolerance) == "");
  CHECK(compare(steps.values(&Sums::second_moment), squares, tolerance) == "");
}

TEST_CASE("each structure has the covariance of its formula") {
  const auto [json, structure] = GENERATE(table<std::string, Structure>(
      {{with_small_batch("full_fisher"), Structure::full},
       {with_small_batch("full_fisher", R"(, "signs": "gaussian")"), Structure::full},
       {with_small_batch("full_fisher", R"(, "centered": true)"), Structure::centered},
       {with_small_batch("full_fisher", R"(, "signs": "gaussian", "centered": true)"), Structure::centered},
       {with_small_batch("full_fisher", R"(, "signs": "subset")"), Structure::centered},
       {with_small_batch("block_fisher"), Structure::block},
       {with_small_batch("unit_fisher"), Structure::unit},
       {with_small_batch("position_fisher"), Structure::position},
       {with_small_batch("kfac"), Structure::kronecker},
       {with_small_batch("kfac", R"(, "matrix_free": true)"), Structure::kronecker},
       {with_small_batch("label"), Structure::uniform_labels},
       {with_small_batch("label", R"(, "labels": "model")"), Structure::model_labels}}));
  TinyNetwork net;
  check_covariance(net, json, formula(net, structure), 3000);
}

// (s/M)^2 sum_b S_b S_b^T with the sums S_b of the gradients of ghost batches; centred about their mean, times K/(K-1).
TEST_CASE("ghost signs have the covariance of the ghost batches' gradients") {
  const bool centered = GENERATE(false, true);
  TinyNetwork net;
  net.ghost_size = 2;
  constexpr double groups = 4, s = 1.7320508075688772;  // sqrt(kappa M)
  std::vector<Vector> sums(4, Vector(size));
  Vector mean(size);
  for (int64_t n = 0; n < net.samples; ++n) {
    const Vector g = net.gradient(n);
    for (size_t i = 0; i < size; ++i) {
      sums[static_cast<size_t>(n / 2)][i] += g[i];
      mean[i] += g[i] / groups;
    }
  }
  Covariance expected;
  for (Vector& sum : sums) {
    for (size_t i = 0; centered && i < size; ++i) sum[i] -= mean[i];
    expected.add(sum, s * s / (m * m) * (centered ? groups / (groups - 1) : 1));
  }
  check_covariance(
      net,
      with_small_batch("full_fisher", centered ? R"(, "signs": "ghost", "centered": true)" : R"(, "signs": "ghost")"),
      expected, 3000);
}

TEST_CASE("full Fisher noise of kind \"true\" has the covariance of gradients at sampled labels") {
  // Every step draws new labels, so over steps the covariance is kappa times the true Fisher matrix.
  TinyNetwork net;
  check_covariance(net, with_small_batch("full_fisher"), formula(net, Structure::model_labels), 4000, 8,
                   {.labels = Labels::sampled});
}

// With inputs of one length the length of a and that of delta are independent: tr A tr G = tr F exactly.
TEST_CASE("K-FAC is calibrated: where |a| is constant, tr A tr G is tr F of a linear layer") {
  TinyNetwork net;
  Model linear(net.context,
               network_from(R"({"type": "sequential", "layers": [{"type": "flatten"}, {"type": "linear"}]})", {3, 3, 1},
                            net.classes),
               net.classes);
  linear.parameter_set().initialise(3);
  for (int64_t n = 0; n < net.samples; ++n) {
    float* image = net.batch.images.f32() + 9 * n;
    float norm = 0;
    for (int i = 0; i < 9; ++i) norm += image[i] * image[i];
    for (int i = 0; i < 9; ++i) image[i] *= 2 / std::sqrt(norm);
  }
  Noise noise = noise_from(R"({"type": "kfac", "small_batch": 2, "jitter": 0})");
  Sgd sgd;
  Step step(net.context, linear, noise, sgd, nullptr, {.keep_gradient = true});
  step.begin_noise();
  const StepRecipe recipe = step.recipe({.samples = net.samples, .noise = true});
  step.accumulate(recipe, [&](const StepNumbers&, int64_t, int64_t) { return net.batch; }, {});
  double product = 1;
  const KroneckerShape& shape = *linear.parameters()[0]->kronecker;
  const KroneckerSums& sums = *step.sums().kronecker_of(shape);
  for (const auto& [sum, order] : {std::pair{sums.input, shape.inputs}, {sums.output, shape.outputs}}) {
    double trace = 0;
    for (int64_t i = 0; i < order; ++i) trace += sum.f32()[i * order + i] / m;
    product *= trace;
  }
  const double fisher =
      fisher_trace(net.context, {{}, step.sums(), net.samples, {}}, linear.parameters()).data<double>()[0];
  CHECK(fisher > 0.1);
  CHECK(product == Approx(fisher).epsilon(1e-5));
}

TEST_CASE("multiplicative noise: sigma^2 g^2 per coordinate, sigma^2 F / M per sample") {
  TinyNetwork net;
  Covariance per_sample, per_coordinate;
  Vector mean(size);
  for (int64_t n = 0; n < net.samples; ++n) {
    const Vector g = net.gradient(n);
    per_sample.add(g, 0.25 / (m * m));
    for (size_t i = 0; i < size; ++i) mean[i] += g[i] / m;
  }
  for (size_t i = 0; i < size; ++i) per_coordinate.at(i, i) = 0.25 * mean[i] * mean[i];
  check_covariance(net, R"({"type": "multiplicative", "sigma": 0.5, "per": "sample"})", per_sample, 3000);
  check_covariance(net, R"({"type": "multiplicative", "sigma": 0.5})", per_coordinate, 3000);
}

// Without sampling: the mean over all 2^M signs, through the same backward pass, is exact.
TEST_CASE("the mean of eps eps^T over all signs is F") {
  TinyNetwork net;
  const Sums sums = all_sums(net.context, net.model.parameter_set());
  Covariance enumerated, fisher;
  for (int64_t n = 0; n < net.samples; ++n) fisher.add(net.gradient(n), 1 / m);
  const double patterns = 1 << net.samples;
  Passes passes;
  passes.noise_weights = Tensor(net.context, {net.samples});
  for (unsigned signs = 0; signs < 1u << net.samples; ++signs) {
    sums.zero(net.context);
    for (int64_t n = 0; n < net.samples; ++n)
      passes.noise_weights.f32()[n] = static_cast<float>((signs >> n & 1u ? -1 : 1) / std::sqrt(m));
    accumulate(net.model, net.batch, passes, sums);
    enumerated.add(to_double(gather(net.model.parameters(), sums.signed_sum)), 1 / patterns);
  }
  const std::vector<float> rounded(enumerated.values.begin(), enumerated.values.end());
  CHECK(compare(rounded, fisher.values, {.terms = 64, .condition = 16}) == "");
}

// All sign patterns that seeds can draw, with the structure's weights for them.
TEST_CASE("the covariance over all signs is kappa F, of centred ones kappa S^2") {
  const bool centered = GENERATE(false, true);
  TinyNetwork net;
  Config config(parse_json(centered ? R"({"small_batch": 2, "centered": true})" : R"({"small_batch": 2})", "test"),
                "test");
  const auto structure = NoiseRegistry::builtin().build("full_fisher", config.root());
  std::set<std::vector<float>> patterns;
  for (uint32_t step = 0; step < 4000; ++step) patterns.insert(weights_of(*structure, {net.samples, 0}, 9, step));
  // Centred, the two patterns of equal signs are both zero.
  CHECK(patterns.size() == (centered ? 255 : 256));
  std::vector<Vector> gradients;
  for (int64_t n = 0; n < net.samples; ++n) gradients.push_back(net.gradient(n));
  Covariance enumerated;
  for (const std::vector<float>& weights : patterns) {
    Vector noise(size);
    for (size_t n = 0; n < gradients.size(); ++n)
      for (size_t i = 0; i < size; ++i) noise[i] += weights[n] * gradients[n][i] / m;
    enumerated.add(noise, 1 / 256.0);
  }
  const Covariance expected = formula(net, centered ? Structure::centered : Structure::full);
  for (size_t i = 0; i < enumerated.values.size(); ++i)
    CHECK(enumerated.values[i] == Approx(expected.values[i]).epsilon(1e-5).margin(1e-7));
}

// Every subset weight vector that a seed can draw is one of a small batch, and over all subsets they give kappa S^2.
TEST_CASE("subset weights are those of a small batch, and their covariance over all subsets is kappa S^2") {
  TinyNetwork net;
  Config config(parse_json(R"({"signs": "subset", "small_batch": 3})", "test"), "test");
  const auto structure = NoiseRegistry::builtin().build("full_fisher", config.root());
  std::set<unsigned> drawn;
  for (uint32_t step = 0; step < 2000; ++step) {
    const std::vector<float> weights = weights_of(*structure, {net.samples, 0}, 9, step);
    unsigned chosen = 0;
    for (size_t n = 0; n < weights.size(); ++n) {
      CHECK((weights[n] == -1.0f || weights[n] == Approx(8.0 / 3 - 1)));
      if (weights[n] > 0) chosen |= 1u << n;
    }
    CHECK(__builtin_popcount(chosen) == 3);
    drawn.insert(chosen);
  }
  CHECK(drawn.size() == 56);  // all of them

  std::vector<Vector> gradients;
  for (int64_t n = 0; n < net.samples; ++n) gradients.push_back(net.gradient(n));
  Covariance enumerated, centered;
  for (const unsigned chosen : drawn) {
    Vector noise(size);
    for (size_t n = 0; n < gradients.size(); ++n)
      for (size_t i = 0; i < size; ++i) noise[i] += (chosen >> n & 1u ? 5.0 / 3 : -1.0) * gradients[n][i] / m;
    enumerated.add(noise, 1 / 56.0);
  }
  add_centered(centered, net);  // kappa of M_S = 2
  for (size_t i = 0; i < enumerated.values.size(); ++i)
    CHECK(enumerated.values[i] == Approx(centered.values[i] * (1.0 / 3 - 1.0 / 8) / kappa).margin(1e-9));
}

TEST_CASE("loss weights add to the gradient the noise that a second backward pass gives separately") {
  const std::string json = GENERATE_COPY(with_small_batch("full_fisher", R"(, "scale": 0.7)"),
                                         with_small_batch("full_fisher", R"(, "signs": "subset")"),
                                         std::string(R"({"type": "multiplicative", "sigma": 0.5, "per": "sample"})"));
  TinyNetwork net;
  TinySteps apart(net, json), together(net, json, {});
  const Vector noise = apart.draw(3);
  CHECK_FALSE(apart.recipe(3).noise.weighs_losses);
  Vector expected = to_double(apart.values(&Sums::gradient));
  for (size_t i = 0; i < size; ++i) expected[i] += m * noise[i];
  together.accumulate(3);
  CHECK(together.recipe(3).noise.weighs_losses);
  CHECK(compare(together.values(&Sums::gradient), expected, {.terms = 64, .condition = 16}) == "");
}

TEST_CASE("the gradient is kept separate from noise that is for some parameters only or added later") {
  TinyNetwork net;
  for (const std::string more :
       {R"(, "position": "after_momentum")", R"(, "parameters": ["*.weight"])", R"(, "match_trace": 4)"})
    CHECK_FALSE(TinySteps(net, with_small_batch("full_fisher", more), {}).recipe(0).noise.weighs_losses);
  // The gradient is clipped before noise is added.
  CHECK_FALSE(TinySteps(net, with_small_batch("full_fisher"), {.clip_norm = 1.0}).recipe(0).noise.weighs_losses);
  CHECK(TinySteps(net, with_small_batch("full_fisher"), {}).recipe(0).noise.weighs_losses);
}

TEST_CASE("matrix-free K-FAC keeps no factors of inputs") {
  TinyNetwork net;
  TinySteps steps(net, with_small_batch("kfac", R"(, "matrix_free": true)"));
  steps.draw(0);
  const Parameter& weight = *net.model.parameters()[0];
  CHECK_FALSE(steps.step.sums().kronecker_of(*weight.kronecker)->input.defined());
  CHECK_FALSE(state_of(steps.step, "kfac.input." + weight.name).defined());
  CHECK(state_of(steps.step, "kfac.output." + weight.name).defined());
}

TEST_CASE("noise does not depend on micro-batches and differs between steps") {
  const std::string type = GENERATE("full_fisher", "block_fisher", "unit_fisher", "position_fisher", "kfac", "label");
  const std::string more = type == "kfac" ? R"(, "matrix_free": true)" : "";
  INFO(type);
  TinyNetwork net;
  TinySteps steps(net, with_small_batch(type, more));
  const Vector whole = steps.draw(4), other = steps.draw(5), cut = steps.draw(4, 3);
  CHECK(compare(std::vector<float>(cut.begin(), cut.end()), whole, {.terms = 64, .condition = 16}) == "");
  CHECK(other != whole);
}

TEST_CASE("Fisher-trace noise has the trace of F over all, over each layer, or of d F") {
  TinyNetwork net;
  const Covariance fisher = formula(net, Structure::full);
  double first = 0;
  for (size_t i = 0; i < 10; ++i) first += fisher.at(i, i);
  Covariance global, per_layer, literal;
  for (size_t i = 0; i < size; ++i) {
    global.at(i, i) = fisher.trace() / static_cast<double>(size);
    per_layer.at(i, i) = i < 10 ? first / 10 : (fisher.trace() - first) / 27;
    literal.at(i, i) = fisher.trace();
  }
  check_covariance(net, with_small_batch("fisher_trace"), global, 3000);
  check_covariance(net, with_small_batch("fisher_trace", R"(, "level": "per_layer")"), per_layer, 3000);
  check_covariance(net, with_small_batch("fisher_trace", R"(, "level": "literal")"), literal, 3000);
}

TEST_CASE("ghost variance is B times the variance of the ghost batches' mean gradients") {
  TinyNetwork net;
  const int64_t ghost = GENERATE(1, 2, 4), micro = GENERATE(4, 8);
  const FisherOptions fisher{.batch_norm = GhostFisher::ghost_variance, .ghost_size = ghost};
  TinySteps steps(net, with_small_batch("diagonal_fisher"), {.fisher = fisher, .keep_gradient = true});
  steps.accumulate(0, micro);
  const auto groups = static_cast<double>(net.samples / ghost);
  std::vector<Vector> means(static_cast<size_t>(groups), Vector(size));
  Vector mean(size), variance(size), sum(size);
  for (int64_t n = 0; n < net.samples; ++n) {
    const Vector g = net.gradient(n);
    for (size_t i = 0; i < size; ++i) {
      means[static_cast<size_t>(n / ghost)][i] += g[i] / static_cast<double>(ghost);
      mean[i] += g[i] / m;
      sum[i] += g[i];
    }
  }
  for (const Vector& of_group : means)
    for (size_t i = 0; i < size; ++i)
      variance[i] += static_cast<double>(ghost) * (of_group[i] - mean[i]) * (of_group[i] - mean[i]) / (groups - 1);
  std::vector<float> diagonal = nan_tensor(size);
  size_t next = 0;
  for (const Parameter* parameter : net.model.parameters()) {
    const Tensor sums = steps.step.sums().gradient.of(*parameter), squares = steps.step.sums().second_moment.of(*parameter);
    fisher_diagonal(fisher, *parameter, net.samples, sums.span<float>(), squares.span<float>(), diagonal.data() + next);
    next += static_cast<size_t>(parameter->shape.elements());
  }
  CHECK(compare(diagonal, variance, {.terms = 64, .condition = 32}) == "");
  CHECK(compare(steps.values(&Sums::gradient), sum, {.terms = 64, .condition = 8}) == "");
  CHECK_THROWS_AS(fisher_diagonal_coefficients({.batch_norm = GhostFisher::ghost_variance, .ghost_size = 8},
                                               *net.model.parameters()[0], 8),
                  Error);
}

TEST_CASE("diag(F) is collected at refreshes and averaged between them") {
  TinyNetwork net;
  const FisherOptions fisher{.refresh_every = 2, .ema = 0.75};
  TinySteps steps(net, with_small_batch("diagonal_fisher"), {.fisher = fisher});
  Vector expected(size);
  for (uint32_t number = 0; number < 4; ++number) {
    CHECK((steps.recipe(number).collect.second_moment != SecondMoment::none) == (number % 2 == 0));
    // Between the refreshes the parameters move, and with them F.
    if (number % 2 == 0)
      for (int64_t n = 0; n < net.samples; ++n) {
        const Vector g = net.gradient(n);
        for (size_t i = 0; i < size; ++i) {
          if (n == 0) expected[i] *= number == 0 ? 0 : 0.75;
          expected[i] += (number == 0 ? 1 : 0.25) * g[i] * g[i] / m;
        }
      }
    steps.step.run(steps.request(number), steps.source());
    std::vector<float> average;
    for (const Parameter* parameter : net.model.parameters())
      for (const float value : state_of(steps.step, "fisher." + parameter->name).span<float>()) average.push_back(value);
    CHECK(compare(average, expected, {.terms = 64, .condition = 16}) == "");
  }
}

TEST_CASE("a parameter whose layer gives no signed sums is named at the start, unless it gets no noise") {
  Parameters parameters;
  const auto begin = [&](const std::string& json) { noise_from(json).begin(parameters.context, parameters.set, {}); };
  CHECK_THROWS_WITH(begin(R"({"type": "unit_fisher"})"),
                    "noise 'unit_fisher': the layer of parameter 'layer.weight' does not support signed sums; leave it "
                    "out by noise.parameters");
  CHECK_NOTHROW(begin(R"({"type": "unit_fisher", "parameters": ["other.*"]})"));
  CHECK_NOTHROW(begin(R"({"type": "full_fisher"})"));
}

TEST_CASE("there is one ghost sign for each ghost batch; without ghost batches they are refused") {
  const auto build = [](const std::string& json) {
    Config config(parse_json(json, "test"), "test");
    return NoiseRegistry::builtin().build("full_fisher", config.root());
  };
  const auto structure = build(R"({"signs": "ghost", "small_batch": 4})");
  bool both = false;
  for (uint32_t step = 0; step < 8; ++step) {
    const std::vector<float> weights = weights_of(*structure, {16, 4}, 3, step);
    for (size_t n = 0; n < 16; ++n) {
      CHECK(std::abs(weights[n]) == Approx(std::sqrt(16.0 / 4 - 1)));
      CHECK(weights[n] == weights[n / 4 * 4]);
    }
    both = both || weights[0] != weights[15];
  }
  CHECK(both);
  CHECK_THROWS_AS(weights_of(*structure, {16, 0}, 3, 0), Error);
  const auto centered = build(R"({"signs": "ghost", "small_batch": 4, "centered": true})");
  CHECK_THROWS_AS(weights_of(*centered, {16, 16}, 3, 0), Error);
}

TEST_CASE("scale multiplies explicit vectors") {
  TinyNetwork net;
  TinySteps plain(net, with_small_batch("block_fisher")),
      scaled(net, with_small_batch("block_fisher", R"(, "scale": 3)"));
  Vector expected = plain.draw(1);
  for (double& value : expected) value *= 3;
  const Vector noise = scaled.draw(1);
  CHECK(compare(std::vector<float>(noise.begin(), noise.end()), expected) == "");
}
