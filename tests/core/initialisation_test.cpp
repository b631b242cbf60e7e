#include <noisysgd/core/initialisation.h>

#include <cmath>

#include <noisysgd/core/json.h>
#include <noisysgd/core/parameter.h>
#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

std::vector<InitialisationRule> rules_of(const std::string& json) {
  const Config config(parse_config(json, "test"), "test");
  const auto rules = read_initialisation_rules(config.root(), "init");
  config.finish();
  return rules;
}

}  // namespace

TEST_CASE("rules replace how parameters start, the last that matches; others keep their own") {
  Context context;
  const int64_t many = 40000;
  Parameter weight{"fc.weight", {many}, Initialisation::he_normal(8)}, bias{"fc.bias", {3}};
  Parameter scale{"layer1.0.bn2.weight", {5}, Initialisation::constant(1)};
  Parameter kept{"layer1.0.bn1.weight", {5}, Initialisation::constant(1)};
  Parameter filters{"conv1.weight", {many}, Initialisation::he_normal(8)};
  ParameterSet set(context, {&weight, &bias, &scale, &kept, &filters});
  apply_initialisation_rules(rules_of(R"({"init": [{"parameters": ["fc.*", "*.bn2.weight"], "mean": 7},
      {"parameters": ["fc.weight"], "mean": -0.5, "std": 0.25}, {"parameters": ["layer*.bn2.weight"]}]})"),
                             set.list());
  set.initialise(11);

  const auto moments = [](const Parameter& parameter) {
    double sum = 0, squares = 0;
    for (const float value : parameter.value.span<float>()) sum += value, squares += static_cast<double>(value) * value;
    const auto n = static_cast<double>(parameter.shape.elements());
    return std::pair(sum / n, std::sqrt(squares / n - sum / n * sum / n));
  };
  // Five standard errors of n draws: 5 std/sqrt(n) for the mean, 5 std/sqrt(2n) for the deviation.
  const auto [mean, std] = moments(weight);
  CHECK(std::abs(mean + 0.5) < 5 * 0.25 / std::sqrt(many));
  CHECK(std::abs(std - 0.25) < 5 * 0.25 / std::sqrt(2 * many));
  const auto [he_mean, he_std] = moments(filters);
  CHECK(std::abs(he_mean) < 5 * 0.5 / std::sqrt(many));
  CHECK(std::abs(he_std - 0.5) < 5 * 0.5 / std::sqrt(2 * many));
  for (const float value : bias.value.span<float>()) CHECK(value == 7);
  for (const float value : scale.value.span<float>()) CHECK(value == 0);
  for (const float value : kept.value.span<float>()) CHECK(value == 1);
}

TEST_CASE("a rule that matches nothing and values that no rule may have are refused by their place") {
  Parameter weight{"fc.weight", {4}};
  CHECK(error_of([&] {
          apply_initialisation_rules(
              rules_of(R"({"init": [{"parameters": ["*"]}, {"parameters": ["fc.wieght"], "std": 1}]})"), {&weight});
        }) == "init[1].parameters: \"fc.wieght\" matches no parameter of this network; did you mean \"fc.weight\"?");
  CHECK(contains(error_of([] { rules_of(R"({"init": [{"parameters": ["*"], "std": -1}]})"); }), "$.init[0].std"));
  CHECK(contains(error_of([] { rules_of(R"({"init": [{"std": 1}]})"); }), "$.init[0].parameters"));
}
