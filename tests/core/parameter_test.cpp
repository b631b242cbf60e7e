#include <noisysgd/core/block.h>

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

TEST_CASE("a set refuses a name given twice and gives every parameter its own part of a block") {
  Context context;
  Parameter first{"a", {3}}, second{"b", {2}}, same{"a", {1}};
  CHECK_THROWS_AS(ParameterSet(context, {&first, &same}), Error);

  const ParameterSet set(context, {&first, &second});
  CHECK(set.elements() == 5);
  const Block block(context, set);
  REQUIRE(block.all().elements() == set.padded());
  std::iota(block.of(first).f32(), block.of(first).f32() + 3, 1.0f);
  std::iota(block.of(second).f32(), block.of(second).f32() + 2, 4.0f);
  CHECK(block.at(second) == block.of(second).f32());
  double sum = 0;
  for (const float value : block.all().span<float>()) sum += value;  // nothing between the tensors
  CHECK(sum == 15);
  CHECK(first.value.f32()[0] == 0);
  CHECK(Block().at(first) == nullptr);
}

TEST_CASE("exchanging values affects every parameter and can be undone") {
  Context context;
  Parameter first{"a", {3}}, second{"b", {2}};
  ParameterSet set(context, {&first, &second});
  second.value.f32()[1] = 5;
  Tensor other = zeros(context, {set.padded()});
  std::vector<Tensor> views{other.view(first.offset, first.shape), other.view(second.offset, second.shape)};
  views[1].f32()[1] = 7;
  set.exchange_values(other, views);
  CHECK(second.value.f32()[1] == 7);
  CHECK(set.values().f32()[second.offset + 1] == 7);
  set.exchange_values(other, views);
  CHECK(second.value.f32()[1] == 5);
  CHECK(set.values().f32()[second.offset + 1] == 5);
}
