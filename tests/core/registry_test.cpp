#include <noisysgd/core/registry.h>

#include <functional>

#include <noisysgd/core/json.h>

#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

struct Figure {
  std::function<int()> corners;
  double size = 1;
};

Registry<Figure> two_figures() {
  Registry<Figure> figures("a figure");
  figures.add("triangle", [] { return 3; });
  figures.add("square", [] { return 4; }, 2.5);
  return figures;
}

std::string type_of(const char* json) {
  Config config(parse_json(json, "test"), "test");
  const std::string type = two_figures().read_type(config.root(), "square");
  config.finish();
  return type;
}

}  // namespace

TEST_CASE("a registry returns its entries, with defaults for what an entry omits") {
  const Registry<Figure> figures = two_figures();
  CHECK(figures.types() == std::vector<std::string>{"square", "triangle"});
  CHECK(figures.at("triangle").corners() == 3);
  CHECK(figures.at("triangle").size == 1);
  CHECK(figures.at("square").size == 2.5);
}

TEST_CASE("a registry refuses a name that is in use or empty, and suggests the nearest for an unknown one") {
  Registry<Figure> figures = two_figures();
  CHECK_THROWS_WITH(figures.add("square", [] { return 5; }), "a figure of type 'square' is registered already");
  CHECK(figures.at("square").corners() == 4);  // as it was
  CHECK_THROWS_WITH(figures.add("", [] { return 5; }), "a figure without a name is registered");
  CHECK_THROWS_WITH(figures.at("sqare"), "a figure of type 'sqare' is not registered; did you mean \"square\"?");
  CHECK_THROWS_WITH(figures.at("x"), "a figure of type 'x' is not registered; known: \"square\", \"triangle\"");
}

TEST_CASE("a type that is read must be registered") {
  CHECK(type_of(R"({"type": "triangle"})") == "triangle");
  CHECK(type_of("{}") == "square");
  CHECK(contains(error_of([] { type_of(R"({"type": "sqare"})"); }),
                 R"($.type: expected one of "square", "triangle", got text "sqare"; did you mean "square"?)"));
}
