#include <noisysgd/kernels/shuffle.h>

#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

#include "tests/catch.h"

using namespace noisysgd;

namespace {

std::vector<int64_t> order(int64_t n, uint64_t seed, uint32_t epoch) {
  const Shuffle shuffle(n, seed, epoch);
  std::vector<int64_t> indices(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) indices[static_cast<size_t>(i)] = shuffle(i);
  return indices;
}

bool is_permutation_of_range(std::vector<int64_t> indices) {
  std::sort(indices.begin(), indices.end());
  for (size_t i = 0; i < indices.size(); ++i)
    if (indices[i] != static_cast<int64_t>(i)) return false;
  return true;
}

// Chi-square of counts that should be equal, as a standard normal (Wilson and Hilferty).
double chi_square_z(const std::vector<int64_t>& counts) {
  const double total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), int64_t{0}));
  const double expected = total / static_cast<double>(counts.size());
  double chi_square = 0;
  for (const int64_t count : counts) {
    const double difference = static_cast<double>(count) - expected;
    chi_square += difference * difference / expected;
  }
  const double freedom = static_cast<double>(counts.size() - 1), spread = 2.0 / (9.0 * freedom);
  return (std::cbrt(chi_square / freedom) - (1 - spread)) / std::sqrt(spread);
}

constexpr double five_sigma = 5;  // the draws are fixed, so a failure is a defect and not bad luck

}  // namespace

TEST_CASE("a shuffle visits every index once") {
  for (int64_t n = 1; n <= 70; ++n) {
    INFO("n = " << n);
    REQUIRE(is_permutation_of_range(order(n, 7, 0)));
  }
  for (int power = 7; power <= 17; ++power)
    for (const int64_t n : {(int64_t{1} << power) - 1, int64_t{1} << power, (int64_t{1} << power) + 1}) {
      INFO("n = " << n);
      REQUIRE(is_permutation_of_range(order(n, 11, 3)));
    }
  for (const int64_t n : {1000, 50000, 60000}) REQUIRE(is_permutation_of_range(order(n, 1, 1)));
}

TEST_CASE("a shuffle is a bijection for any size, seed and epoch") {
  CHECK(rc::check("bijection", [] {
    const auto n = *rc::gen::inRange<int64_t>(1, 5000);
    RC_ASSERT(is_permutation_of_range(order(n, *rc::gen::arbitrary<uint64_t>(), *rc::gen::arbitrary<uint32_t>())));
  }));
}

TEST_CASE("huge sets are shuffled without a table") {
  const int64_t n = (int64_t{1} << 40) + 12345;
  const Shuffle shuffle(n, 5, 2);
  std::vector<int64_t> seen;
  for (int64_t i = n - 4096; i < n; ++i) {
    seen.push_back(shuffle(i));
    REQUIRE(seen.back() >= 0);
    REQUIRE(seen.back() < n);
  }
  std::sort(seen.begin(), seen.end());
  CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
}

TEST_CASE("a shuffle is computed at compile time too") {
  constexpr int64_t first = Shuffle(10, 1, 0)(0);
  CHECK(first == Shuffle(10, 1, 0)(0));
}

TEST_CASE("seed and epoch change the order, and nothing else does") {
  CHECK(order(1000, 1, 0) == order(1000, 1, 0));
  CHECK(order(1000, 1, 0) != order(1000, 2, 0));
  CHECK(order(1000, 1, 0) != order(1000, 1, 1));
  CHECK(order(1000, 1, 0) != order(1000, uint64_t{1} << 32 | 1, 0));
}

TEST_CASE("every position shows every index equally often") {
  for (const int64_t n : {2, 3, 5, 10, 16, 17, 33, 100}) {
    const uint32_t epochs = 20000;
    std::vector<std::vector<int64_t>> counts(static_cast<size_t>(n), std::vector<int64_t>(static_cast<size_t>(n)));
    for (uint32_t epoch = 0; epoch < epochs; ++epoch) {
      const Shuffle shuffle(n, 42, epoch);
      for (int64_t i = 0; i < n; ++i) ++counts[static_cast<size_t>(i)][static_cast<size_t>(shuffle(i))];
    }
    for (int64_t i = 0; i < n; ++i) {
      INFO("n = " << n << ", position " << i);
      CHECK(std::abs(chi_square_z(counts[static_cast<size_t>(i)])) < five_sigma);
    }
  }
}

TEST_CASE("all orders of a few items are equally likely") {
  for (const int64_t n : {3, 4, 5, 6}) {
    std::map<std::vector<int64_t>, int64_t> seen;
    int64_t orders = 1;
    for (int64_t k = 2; k <= n; ++k) orders *= k;
    for (uint32_t epoch = 0; epoch < 60000; ++epoch) ++seen[order(n, 3, epoch)];
    REQUIRE(static_cast<int64_t>(seen.size()) == orders);
    std::vector<int64_t> counts;
    for (const auto& [indices, count] : seen) counts.push_back(count);
    INFO("n = " << n);
    CHECK(std::abs(chi_square_z(counts)) < five_sigma);
  }
}

TEST_CASE("neighbours in the order are unrelated") {
  const int64_t n = 10007;
  std::vector<int64_t> distances(16);
  for (uint32_t epoch = 0; epoch < 20; ++epoch) {
    const Shuffle shuffle(n, 9, epoch);
    for (int64_t i = 0; i + 1 < n; ++i)
      ++distances[static_cast<size_t>((shuffle(i + 1) - shuffle(i) + n) % n * 16 / n)];
  }
  CHECK(std::abs(chi_square_z(distances)) < five_sigma);
}

TEST_CASE("epochs are unrelated: the rank correlation of two orders is that of chance") {
  const int64_t n = 4096;
  const auto first = order(n, 1, 0);
  for (uint32_t epoch = 1; epoch <= 30; ++epoch) {
    const auto second = order(n, 1, epoch);
    double sum = 0;
    int64_t fixed = 0;
    const double middle = static_cast<double>(n - 1) / 2;
    for (size_t i = 0; i < first.size(); ++i) {
      sum += (static_cast<double>(first[i]) - middle) * (static_cast<double>(second[i]) - middle);
      fixed += first[i] == second[i];
    }
    const double N = static_cast<double>(n), correlation = sum / (N * (N * N - 1) / 12);
    CHECK(std::abs(correlation) * std::sqrt(N - 1) < five_sigma);
    CHECK(fixed <= 8);  // Poisson with mean 1: nine or more have probability 1e-6
  }
}
