#include <noisysgd/kernels/scratch.h>

#include <type_traits>
#include <vector>

#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/memory.h>
#include <noisysgd/kernels/op_graph.h>
#include "tests/catch.h"
#include "tests/random_tensor.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::kernels;

namespace {

constexpr int64_t mebi = int64_t{1} << 20;

void take(Queue& queue, int64_t bytes) {
  Scratch scratch(queue);
  scratch.take<std::byte>(bytes);
}

// A piece and the value written into it.
struct Written {
  Written(Queue& queue, Scratch& scratch, int64_t n, uint64_t seed)
      : queue(queue), values(test::random_tensor(n, seed)), piece(scratch.take<float>(n)) {
    copy_from_host(queue, values.size() * sizeof(float), values.data(), piece);
  }
  bool intact() const {
    std::vector<float> now(values.size());
    copy_to_host(queue, now.size() * sizeof(float), piece, now.data());
    return now == values;
  }

  Queue& queue;
  std::vector<float> values;
  float* piece;
};

}  // namespace

// A scope ends with its block, so scopes end in reverse order.
static_assert(!std::is_copy_constructible_v<Scratch> && !std::is_move_constructible_v<Scratch>);

TEST_CASE("scratch memory is aligned, released at the end of its scope and kept by the queue") {
  Queue queue(test::test_device, 1);
  CHECK(queue.workspace_bytes() == 0);
  take(queue, 1000);
  CHECK(queue.workspace_bytes() >= 1000);
  float* first = nullptr;
  for (int repetition = 0; repetition < 2; ++repetition) {
    Scratch scratch(queue);
    float* const piece = scratch.take<float>(10);
    double* const next = scratch.take<double>(1);
    CHECK(reinterpret_cast<uintptr_t>(piece) % 64 == 0);
    CHECK(reinterpret_cast<uintptr_t>(next) % 64 == 0);
    if (queue.device().backend == Backend::cuda) CHECK(reinterpret_cast<uintptr_t>(next) % 256 == 0);
    if (repetition == 0) first = piece;
    CHECK(piece == first);
  }
  CHECK(queue.workspace().generation() == 0);
}

TEST_CASE("scratch memory of nested scopes does not overlap") {
  Queue queue(test::test_device, 1);
  const int64_t held = GENERATE(0, 1000, 100'000);  // that the queue has already: the rest is growth
  take(queue, held);
  Scratch outer(queue);
  const Written first(queue, outer, 3000, 1);
  float* inner_piece = nullptr;
  for (int repetition = 0; repetition < 2; ++repetition) {
    Scratch inner(queue);
    const Written second(queue, inner, 5000, 2), third(queue, inner, 1, 3);
    {
      Scratch innermost(queue);
      const Written fourth(queue, innermost, 7000, 4);
      CHECK(second.intact());
    }
    const Written fifth(queue, inner, 6000, 5);
    CHECK((first.intact() && second.intact() && third.intact() && fifth.intact()));
    if (repetition == 1 && held == 100'000) CHECK(second.piece == inner_piece);  // released by the first repetition
    inner_piece = second.piece;
  }
  const Written last(queue, outer, 2000, 6);
  CHECK((first.intact() && last.intact()));
}

TEST_CASE("pieces that are requested together are adjacent in one allocation") {
  Queue queue(test::test_device, 1);
  Scratch scratch(queue);
  const auto [bytes, values, none, words] = scratch.take<std::byte, double, float, int32_t>(1, 100, 0, 3);
  CHECK(reinterpret_cast<uintptr_t>(values) == reinterpret_cast<uintptr_t>(bytes) + 256);
  CHECK(reinterpret_cast<uintptr_t>(words) == reinterpret_cast<uintptr_t>(values) + 1024);
  CHECK(queue.workspace_bytes() == 256 + 1024 + 256);
}

TEST_CASE("scratch memory that has grown is one block of the size that was in use at once") {
  Queue queue(test::test_device, 1);
  take(queue, 1024);
  const uint64_t before = queue.workspace().generation();
  queue.workspace().measure();
  {
    Scratch outer(queue);
    outer.take<std::byte>(1024);
    for (int i = 0; i < 3; ++i) {
      Scratch inner(queue);
      inner.take<std::byte>(2048);
    }
    CHECK(queue.workspace().generation() == before);  // no memory in use was released
  }
  CHECK(queue.workspace().needed() == 3072);
  CHECK(queue.workspace_bytes() == 3072);
  CHECK(queue.workspace().generation() > before);
  const uint64_t after = queue.workspace().generation();
  {
    Scratch scratch(queue);
    auto* const first = scratch.take<std::byte>(1024);
    CHECK(scratch.take<std::byte>(2048) == first + 1024);
  }
  CHECK(queue.workspace().generation() == after);
  queue.workspace().measure();
  take(queue, 512);
  CHECK(queue.workspace().needed() == 512);
}

TEST_CASE("an outer scope cannot request scratch memory within an inner one") {
  Queue queue(test::test_device, 1);
  Scratch outer(queue);
  outer.take<float>(8);
  {
    Scratch inner(queue);
    CHECK_THROWS_WITH(outer.take<float>(8),
                      Catch::Matchers::Contains("taken from an outer Scratch while an inner one exists"));
  }
  CHECK(outer.take<float>(8) != nullptr);
}

TEST_CASE("scratch memory grows before a graph is recorded, not while it is") {
  Queue queue(test::test_device, 1);
  if (!OpGraph::supported(queue)) return;
  take(queue, mebi);
  OpGraph fits(queue, [&] { take(queue, mebi); });
  CHECK_THROWS_WITH(OpGraph(queue,
                            [&] {
                              Scratch scratch(queue);
                              scratch.take<std::byte>(mebi / 2);
                              take(queue, mebi);
                            }),
                    Catch::Matchers::Contains("an op needs 1572864 bytes of scratch memory while a graph is recorded, "
                                              "but the workspace has 1048576"));
  CHECK(queue.workspace_bytes() == mebi);
  CHECK(queue.workspace().generation() == 0);  // the memory that `fits` uses has not moved
}
