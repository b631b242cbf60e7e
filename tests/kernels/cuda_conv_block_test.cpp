// The fused convolutions on 16-bit values, both twins against one reference in fp64 that is written from the formula:
// every tiling with every input and output, batches that are no multiple of a block's items, ghost groups that end in
// the middle of an item, and no value left over from before.
#include <noisysgd/kernels/conv_block.h>

#include <noisysgd/kernels/cuda/state.h>
#include "tests/catch.h"
#include "tests/kernels/conv_block_values.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/reference/reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;
using Vector = std::vector<double>;

namespace {

enum class Kind { plain, normalised, sum };

// A forward pass on both devices, of arrays that were rounded to fp16.
struct Forward {
  ConvBlockShape shape;
  Kind kind;
  StoredArray<Half> x, addend, made, y;
  Floats factor, term, weight;
  Mirrored<double> mean, m2;

  Forward(const ConvBlockShape& s, Kind input_kind, const std::vector<float>& x_values,
          const std::vector<float>& weight_values)
      : shape(s),
        kind(input_kind),
        x(stored<Half>(x_values)),
        addend(stored<Half>(random_tensor(s.elements(), 2))),
        made(nans<Half>(s.elements())),
        y(nans<Half>(s.elements())),
        factor(constants(s, 3, 0.3f, 1)),
        term(constants(s, 4, 0.1f, 0.5f)),
        weight(weight_values),
        mean(std::vector<double>(static_cast<size_t>(s.groups() * s.group_items() * s.conv.in_channels), NAN)),
        m2(mean.on_cpu()) {}
  Forward(const ConvBlockShape& s, Kind input_kind)
      : Forward(s, input_kind, random_tensor(s.elements(), 1, 0.2f), weights(s)) {}

  void run(Queue& queue, bool wants_made = true, bool wants_statistics = true) {
    ConvBlockInput input{.x = x.values(queue)};
    if (kind != Kind::plain) {
      input.factor = factor.on(queue), input.term = term.on(queue);
      if (wants_made) input.made = made.values(queue);
    }
    if (kind == Kind::sum) input.addend = addend.values(queue);
    ConvBlockStatistics statistics;
    if (wants_statistics) statistics = {mean.on(queue), m2.on(queue)};
    conv_block_forward(queue, shape, input, weight.on(queue), statistics, y.values(queue));
    queue.synchronize();
  }

  // The operand as the formula has it, before it is rounded.
  Vector operand() const {
    Vector values = doubles(x.on_cpu());
    const Vector addends = doubles(addend.on_cpu());
    if (kind == Kind::plain) return values;
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t c = constant_of(shape, i);
      values[i] = values[i] * factor.on_cpu()[c] + term.on_cpu()[c];
      if (kind == Kind::sum) values[i] += addends[i];
      if (values[i] < 0) values[i] = 0;
    }
    return values;
  }
};

// Mean and sum of squared deviations of each item of y: rows row0, row0 + 1, … of one sample, or of up to two.
void check_statistics(const ConvBlockShape& s, const Vector& y, const std::vector<double>& mean,
                      const std::vector<double>& m2) {
  const auto channels = s.conv.in_channels, size = s.conv.height, band = std::min<int64_t>(size, 16);
  const int64_t together = size == 8 ? 2 : 1;
  Vector means, squares;
  for (int64_t group = 0; group < s.groups(); ++group)
    for (int64_t n = 0; n < s.group; n += together)
      for (int64_t row0 = 0; row0 < size; row0 += band)
        for (int64_t c = 0; c < channels; ++c) {
          Vector values;
          for (int64_t sample = n; sample < std::min(n + together, s.group); ++sample)
            for (int64_t t = row0 * size; t < (row0 + band) * size; ++t)
              values.push_back(y[static_cast<size_t>(((group * s.group + sample) * size * size + t) * channels + c)]);
          CHECK(std::ssize(values) == (n + together <= s.group ? 1 : 0.5) * s.item_positions());
          double sum = 0, deviations = 0;
          for (const double value : values) sum += value;
          const double average = sum / static_cast<double>(values.size());
          for (const double value : values) deviations += (value - average) * (value - average);
          means.push_back(average), squares.push_back(deviations);
        }
  CHECK(compare(std::vector<float>(mean.begin(), mean.end()), means, within(1e-6)) == "");
  CHECK(compare(std::vector<float>(m2.begin(), m2.end()), squares, within(1e-5)) == "");
}

void check_forward(Forward& pass, Queue& queue) {
  const ConvBlockShape& s = pass.shape;
  Vector operand = pass.operand();
  if (pass.kind != Kind::plain) {
    // The constants' product is rounded once, the sum of it and the addend once more.
    Vector terms = sizes(operand);
    for (double& term : terms) term = (term + 4) / 16;
    const std::vector<Half> made = pass.made.result(queue);
    CHECK(compare_stored(made, operand, terms) == "");
    operand = doubles(made);
  }
  const Vector filter = doubles(stored<Half>(pass.weight.on_cpu()));
  const std::vector<Half> y = pass.y.result(queue);
  CHECK(compare_stored(y, reference::conv_forward(s.conv, operand, filter, {}),
                       reference::conv_forward(s.conv, sizes(operand), sizes(filter), {})) == "");
  const bool on_cpu = queue.device().backend == Backend::cpu;
  check_statistics(s, doubles(y), on_cpu ? pass.mean.on_cpu() : pass.mean.on_cuda(),
                   on_cpu ? pass.m2.on_cpu() : pass.m2.on_cuda());
}

}  // namespace

TEST_CASE("fused convolutions normalise their input, and give the statistics of their result") {
  BothQueues queues;
  for (const ConvBlockShape& s : conv_block_shapes)
    for (const Kind kind : {Kind::plain, Kind::normalised, Kind::sum}) {
      Forward pass(s, kind);
      queues.run([&](Queue& queue) {
        CAPTURE(s.conv.batch, s.group, s.conv.height, static_cast<int>(kind), queue.device().name());
        pass.run(queue);
        check_forward(pass, queue);
      });
    }
}

TEST_CASE("fused convolutions compute the same without what is not wanted") {
  Queue queue({Backend::cuda});
  for (const ConvBlockShape& s : {square(3, 1, 32, 16), square(3, 3, 16, 32), square(3, 3, 8, 64)})
    for (const Kind kind : {Kind::plain, Kind::normalised, Kind::sum}) {
      CAPTURE(s.conv.height, static_cast<int>(kind));
      Forward all(s, kind), part(s, kind);
      all.run(queue);
      part.run(queue, false, false);
      CHECK((all.y.on_cuda() == part.y.on_cuda()));
      CHECK(all_nan(part.made.on_cuda()));
      CHECK(std::ranges::all_of(part.mean.on_cuda(), [](double value) { return std::isnan(value); }));
    }
}

TEST_CASE("statistics of fused convolutions keep their digits under a large mean") {
  BothQueues queues;
  for (const ConvBlockShape& s : {square(2, 1, 32, 16), square(3, 3, 16, 32), square(3, 3, 8, 64)}) {
    std::vector<float> centre = weights(s);  // alone: at the border the other taps would see zeros
    const auto channels = static_cast<size_t>(s.conv.in_channels);
    for (size_t i = 0; i < centre.size(); ++i)
      if (i / channels % 9 != 4) centre[i] = 0;
    Forward pass(s, Kind::plain, random_tensor(s.elements(), 1, 100, 0.5f), centre);
    queues.run([&](Queue& queue) {
      CAPTURE(s.conv.height, queue.device().name());
      pass.run(queue);
      check_forward(pass, queue);
    });
  }
}

TEST_CASE("NaN goes through fused convolutions") {
  BothQueues queues;
  const ConvBlockShape s = square(3, 3, 8, 64);
  std::vector<float> x = random_tensor(s.elements(), 1, 0.2f);
  const size_t at = ((1 * 8 + 2) * 8 + 7) * 64 + 5;  // sample 1, row 2, column 7
  x[at] = NAN;
  Forward pass(s, Kind::sum, x, weights(s));
  queues.run([&](Queue& queue) {
    CAPTURE(queue.device().name());
    pass.run(queue);
    const std::vector<Half> y = pass.y.result(queue), made = pass.made.result(queue);
    size_t wrong = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      const size_t sample = i / 4096, row = i / 512 % 8, column = i / 64 % 8;
      wrong += std::isnan(widened(y[i])) != (sample == 1 && row >= 1 && row <= 3 && column >= 6);
      wrong += std::isnan(widened(made[i])) != (i == at);
    }
    CHECK(wrong == 0);
  });
}

TEST_CASE("fused convolutions are offered for their shapes alone") {
  Queue cpu({}, 1), queue({Backend::cuda});
  const ConvBlockShape taken = square(6, 3, 16, 32);
  CHECK(conv_block_takes(queue, taken));
  CHECK(conv_block_takes(queue, square(0, 3, 16, 32)));
  CHECK_FALSE(conv_block_takes(cpu, taken));
  std::vector<ConvBlockShape> others{square(6, 3, 32, 32), square(6, 3, 16, 16), square(6, 3, 8, 32),
                                     square(6, 4, 16, 32), square(6, 0, 16, 32), square((1 << 18) + 1, 1, 16, 32)};
  for (int64_t ConvShape::*const member :
       {&ConvShape::width, &ConvShape::out_channels, &ConvShape::kernel_height, &ConvShape::kernel_width,
        &ConvShape::stride_height, &ConvShape::stride_width, &ConvShape::padding_height, &ConvShape::padding_width}) {
    others.push_back(taken);
    others.back().conv.*member += 1;
  }
  for (const ConvBlockShape& s : others) CHECK_FALSE(conv_block_takes(queue, s));
  CHECK(conv_block_takes(queue, square(1 << 18, 1, 16, 32)));  // 2^31 elements
}

TEST_CASE("fused convolutions name an argument that they cannot take") {
  using Catch::Matchers::Contains;
  BothQueues queues;
  Forward pass(square(2, 1, 16, 32), Kind::normalised);
  queues.run([&](Queue& queue) {
    CAPTURE(queue.device().name());
    const ConvBlockInput given{.x = pass.x.values(queue), .factor = pass.factor.on(queue), .term = pass.term.on(queue)};
    const auto call = [&](const ConvBlockShape& s, const ConvBlockInput& input, Values y) {
      conv_block_forward(queue, s, input, pass.weight.on(queue), {}, y);
    };
    ConvBlockInput input = given;
    input.x.type = DType::bf16;
    CHECK_THROWS_WITH(call(pass.shape, input, pass.y.values(queue)), Contains("x is bf16, expected an array of f16"));
    CHECK_THROWS_WITH(call(pass.shape, given, {}), Contains("y is null, expected an array of f16"));
    input = given;
    input.x.address = pass.x.on(queue) + 1;
    CHECK_THROWS_WITH(call(pass.shape, input, pass.y.values(queue)), Contains("address of x is no multiple of 16"));
    input = given;
    input.term += 1;
    CHECK_THROWS_WITH(call(pass.shape, input, pass.y.values(queue)), Contains("address of term is no multiple of 16"));
    input = given;
    input.term = nullptr;
    CHECK_THROWS_WITH(call(pass.shape, input, pass.y.values(queue)), Contains("a factor needs a term"));
    CHECK_THROWS_WITH(call(square(2, 3, 16, 32), given, pass.y.values(queue)),
                      Contains("2 samples do not divide into groups of 3"));
    ConvBlockShape strided = pass.shape;
    strided.conv.stride_width = 2;
    CHECK_THROWS_WITH(call(strided, given, pass.y.values(queue)), Contains("of stride 1"));
    CHECK_NOTHROW(call(square(0, 1, 16, 32), given, pass.y.values(queue)));
  });
  CHECK(all_nan(pass.y.on_cuda()));
  CHECK_THROWS_WITH(conv_block_forward(queues.cuda, square(1, 1, 32, 32), {.x = pass.x.values(queues.cuda)},
                                       pass.weight.on(queues.cuda), {}, pass.y.values(queues.cuda)),
                    Contains("no kernel for 32 channels of 32x32"));
}
