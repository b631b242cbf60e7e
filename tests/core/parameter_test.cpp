#include "core/parameter.h"

#include <cmath>
#include <numeric>

#include "tests/catch.h"

using namespace noisysgd;

TEST_CASE("filters are exported as OIHW and come back") {
  const int64_t out = 3, rows = 2, columns = 4, channels = 5;
  const Parameter filter{"conv1.weight", {out, rows, columns, channels}, {}, ParameterLayout::krsc};
  CHECK(filter.exported_shape() == Shape{out, channels, rows, columns});
  const auto count = static_cast<size_t>(filter.shape.elements());
  std::vector<float> internal(count), exported(count, NAN), again(count, NAN);
  std::iota(internal.begin(), internal.end(), 1.0f);
  to_exported_layout(filter, internal.data(), exported.data());
  from_exported_layout(filter, exported.data(), again.data());
  for (int64_t k = 0; k < out; ++k)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t s = 0; s < columns; ++s)
          CHECK(exported[static_cast<size_t>(((k * channels + c) * rows + r) * columns + s)] ==
                internal[static_cast<size_t>(((k * rows + r) * columns + s) * channels + c)]);
  CHECK(again == internal);
}

TEST_CASE("an arena refuses a name given twice, and a discarded gradient leaves the sums alone") {
  Context context;
  Parameter first{"a", {3}}, second{"b", {2}}, same{"a", {1}};
  CHECK_THROWS_AS(ParameterArena(context, {&first, &same}, false), Error);

  ParameterArena arena(context, {&first, &second}, true);
  CHECK(arena.elements() == 5);
  arena.zero_sums();
  first.gradient_sum.f32()[1] = 7;
  arena.gradients_into(GradientTarget::discarded);
  first.gradient_sum.f32()[1] = 9;
  arena.gradients_into(GradientTarget::gradient_sum);
  CHECK(first.gradient_sum.f32()[1] == 7);
  arena.zero_sums();
  CHECK(first.gradient_sum.f32()[1] == 0);
}
