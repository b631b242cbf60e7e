// Batch normalisation in parts on the CUDA device: values stored in 16 bits, any alignment, more groups than a launch
// takes. The CPU's twins are compared with fp64 in batch_norm_parts_test.cpp.
#include <noisysgd/kernels/batch_norm_parts.h>

#include <algorithm>

#include "tests/catch.h"
#include "tests/kernels/stored_array.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

namespace {

// The constants of channels and groups that the ops below read and write.
struct Constants {
  explicit Constants(const BatchNormShape& s)
      : gamma(random_tensor(s.channels, 2, 1.5f)),
        beta(random_tensor(s.channels, 3)),
        running(random_tensor(2 * s.channels, 4, 2)),
        statistics(nan_tensor(4 * s.groups() * s.channels)),
        parameters(random_tensor(4 * s.channels, 5)),
        factors(nan_tensor(3 * s.groups() * s.channels)) {}

  BatchNormStatistics of_forward(const Queue& q, const BatchNormShape& s) {
    float* const to = statistics.on(q);
    const int64_t n = s.groups() * s.channels;
    return {.epsilon = 1e-3f,
            .gamma = gamma.on(q),
            .beta = beta.on(q),
            .momentum = 0.1f,
            .running_mean = running.on(q),
            .running_variance = running.on(q) + s.channels,
            .mean = to,
            .inverse_std = to + n,
            .factor = to + 2 * n,
            .term = to + 3 * n};
  }
  BatchNormNormalised of_normalised(const Queue& q, const BatchNormShape& s) {
    const BatchNormStatistics of = of_forward(q, s);
    return {of.mean, of.inverse_std, of.gamma, of.beta};
  }
  BatchNormFactors of_gradient(const Queue& q, const BatchNormShape& s) {
    const int64_t n = s.groups() * s.channels;
    return {factors.on(q), factors.on(q) + n, factors.on(q) + 2 * n};
  }
  BatchNormBackward of_backward(const Queue& q, const BatchNormShape& s) {
    const BatchNormStatistics of = of_forward(q, s);
    float* const p = parameters.on(q);
    return {.x = nullptr,
            .gamma = of.gamma,
            .mean = of.mean,
            .inverse_std = of.inverse_std,
            .grad_y = nullptr,
            .grad_gamma = p,
            .grad_beta = p + s.channels,
            .gamma_second_moment = p + 2 * s.channels,
            .beta_second_moment = p + 3 * s.channels,
            .grad_x = nullptr,
            .factors = of_gradient(q, s)};
  }
  BatchNormGradientSums of_sums(const Queue& q, const BatchNormShape& s, const float* sums, int64_t parts) {
    const BatchNormBackward of = of_backward(q, s);
    return {.sums = sums,
            .parts = parts,
            .gamma = of.gamma,
            .mean = of.mean,
            .inverse_std = of.inverse_std,
            .grad_gamma = of.grad_gamma,
            .grad_beta = of.grad_beta,
            .gamma_second_moment = of.gamma_second_moment,
            .beta_second_moment = of.beta_second_moment,
            .factors = of.factors};
  }

  Floats gamma, beta, running, statistics, parameters, factors;
};

// What every op below takes from the same array, from element `at` on.
template <class Array>
Array array(DType type, const std::vector<float>& numbers) {
  if constexpr (std::is_same_v<Array, StoredArray>)
    return {type, numbers};
  else
    return Array(numbers);
}
Values part(StoredArray& of, const Queue& q, int64_t at) { return of.on(q, at); }
Values part(Floats& of, const Queue& q, int64_t at) { return of.on(q) + at; }
std::string difference(const StoredArray& of, double condition) { return of.difference(1e-5 * condition); }
std::string difference(const Floats& of, double condition) {
  return of.difference({.terms = 1000, .condition = condition});
}

// at: where the values that are normalised begin; beside: the addend, and gradients.
template <class Array>
void check_sweeps(const BatchNormShape& s, bool relu, bool adds, int64_t at, int64_t beside) {
  BothQueues both;
  const int64_t n = s.samples * s.positions * s.channels + std::max(at, beside);
  Constants constants(s);
  Array x = array<Array>(DType::f16, random_tensor(n, 6, 2)), addend = array<Array>(DType::f16, random_tensor(n, 7)),
        y = array<Array>(DType::f16, nan_tensor(n)), in_place = array<Array>(DType::f16, random_tensor(n, 6, 2)),
        output = array<Array>(DType::f16, random_tensor(n, 8)), grad_y = array<Array>(DType::bf16, random_tensor(n, 9)),
        other = array<Array>(DType::bf16, random_tensor(n, 10)), grad_addend = array<Array>(DType::bf16, nan_tensor(n)),
        g = array<Array>(DType::bf16, random_tensor(n, 11)), grad_x = array<Array>(DType::bf16, nan_tensor(n));
  both.run([&](Queue& q) {
    batch_norm_statistics(q, s, constants.of_forward(q, s), part(x, q, at));
    BatchNormNormalised normalised = constants.of_normalised(q, s);
    normalised.epilogue = {adds ? part(addend, q, beside) : Values(), relu};
    batch_norm_normalised(q, s, normalised, part(x, q, at), part(y, q, at));
    batch_norm_normalised(q, s, normalised, part(in_place, q, at), part(in_place, q, at));
    BatchNormBackward backward = constants.of_backward(q, s);
    backward.x = part(x, q, at);
    backward.grad_y = part(grad_y, q, beside);
    if (adds) backward.other_grad_y = part(other, q, beside);
    if (relu) backward.relu_output = part(output, q, at);
    if (adds || relu) backward.grad_addend = part(grad_addend, q, beside);
    batch_norm_backward(q, s, backward);
  });
  CHECK(constants.statistics.difference({.terms = 1000}) == "");
  CHECK(constants.running.difference({.terms = 1000}) == "");
  CHECK(difference(y, 4) == "");
  std::vector<float> written = in_place.on_cuda(), expected = y.on_cuda();
  const int64_t end = at + s.samples * s.positions * s.channels;
  CHECK(std::equal(written.begin() + at, written.begin() + end, expected.begin() + at));
  if (adds || relu) CHECK(difference(grad_addend, 0) == "");
  CHECK(constants.parameters.difference({.terms = 1e4}) == "");
  CHECK(constants.factors.difference({.terms = 1e4, .condition = 4}) == "");
  // Equal factors on both devices: their rounding above does not matter here.
  Floats factors(random_tensor(3 * s.groups() * s.channels, 12));
  both.run([&](Queue& q) {
    const int64_t size = s.groups() * s.channels;
    const BatchNormFactors of{factors.on(q), factors.on(q) + size, factors.on(q) + 2 * size};
    batch_norm_input_gradient(q, s, of, part(x, q, at), part(g, q, beside), part(grad_x, q, beside));
    batch_norm_input_gradient(q, s, of, part(x, q, at), part(g, q, beside), part(g, q, beside));
  });
  CHECK(difference(grad_x, 4) == "");
  CHECK(difference(g, 4) == "");
}

}  // namespace

TEST_CASE("parts of batch normalisation agree on values of 16 and 32 bits at any alignment") {
  const auto [at, beside] = GENERATE(table<int64_t, int64_t>({{0, 0}, {8, 8}, {1, 1}, {4, 4}, {0, 1}, {1, 0}}));
  for (const BatchNormShape s :
       {BatchNormShape{6, 5, 8, 3}, {4, 33, 16, 2}, {6, 7, 5, 3}, {8, 2, 24, 4}, {3, 300, 16, 3}, {4, 9, 264, 2}})
    for (const bool relu : {false, true})
      for (const bool adds : {false, true}) {
        if (at + beside > 0 && relu != adds) continue;
        CAPTURE(s.samples, s.positions, s.channels, s.group, relu, adds, at, beside);
        check_sweeps<StoredArray>(s, relu, adds, at, beside);
        check_sweeps<Floats>(s, relu, adds, at, beside);
      }
}

TEST_CASE("parts of batch normalisation of many groups, and of many channels") {
  BothQueues both;
  // More groups than counters; channels in tiles of the whole width of a warp, the last of them shorter.
  for (const BatchNormShape& s : {BatchNormShape{8200, 2, 1, 2}, {66, 1, 250, 2}, {9, 2, 8197, 3}}) {
    CAPTURE(s.samples, s.positions, s.channels, s.group);
    const int64_t n = s.samples * s.positions * s.channels, blocks = s.groups() * s.group * s.channels;
    Constants of_x(s), of_blocks(s);
    Floats x(random_tensor(n, 6)), sums(random_tensor(2 * s.samples * s.channels, 7));
    Mirrored<double> mean(to_double(random_tensor(blocks, 8))), m2(to_double(random_tensor(blocks, 9, 1)));
    both.run([&](Queue& q) {
      batch_norm_statistics(q, s, of_x.of_forward(q, s), x.on(q));
      batch_norm_merge_statistics(q, s, {s.group, s.positions, mean.on(q), m2.on(q)}, of_blocks.of_forward(q, s));
      batch_norm_merge_gradients(q, s, of_blocks.of_sums(q, s, sums.on(q), 1));
    });
    for (const Floats* array : {&of_x.statistics, &of_x.running, &of_blocks.statistics, &of_blocks.running,
                                &of_blocks.parameters, &of_blocks.factors})
      CHECK(array->difference({.terms = static_cast<double>(s.samples), .condition = 4}) == "");
  }
}

TEST_CASE("parts of batch normalisation refuse arrays whose types do not belong together, and too many channels") {
  Queue queue({Backend::cuda});
  const BatchNormShape s{2, 4, 1, 2}, wide{2, 4, 131073, 2};
  Constants constants(s);
  StoredArray x(DType::f16, random_tensor(8, 1)), g(DType::bf16, random_tensor(8, 2));
  Floats floats(random_tensor(8, 3));
  CHECK_THROWS_WITH(batch_norm_normalised(queue, s, constants.of_normalised(queue, s), x.on(queue), floats.on(queue)),
                    "batch_norm_normalised: an array of f32 where one of f16 is expected");
  CHECK_THROWS_WITH(batch_norm_statistics(queue, s, constants.of_forward(queue, s), g.on(queue)),
                    "batch_norm_statistics: an array of bf16 where one of f16 is expected");
  CHECK_THROWS_WITH(
      batch_norm_input_gradient(queue, s, constants.of_gradient(queue, s), x.on(queue), x.on(queue), g.on(queue)),
      "batch_norm_input_gradient: an array of f16 where one of bf16 is expected");
  CHECK_THROWS_WITH(batch_norm_merge_gradients(queue, wide, constants.of_sums(queue, s, floats.on(queue), 1)),
                    "batch norm: 131073 channels are too many for a CUDA device");
}
