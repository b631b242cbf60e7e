// Runs on a device without enough memory for the whole batch.
#include <noisysgd/kernels/emulation/emulated_device.h>
#include "tests/apps/short_training.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::emulation;
using namespace noisysgd::test;

namespace {

// A compute capability with which cuBLAS uses 4 MiB.
EmulatedDevice with_memory(size_t bytes) { return {.major = 8, .memory_bytes = (size_t{4} << 20) + bytes}; }

constexpr const char* plain = R"({"batch": {"size": 64, "drop_last": true}})";
constexpr const char* ghosts = R"({"batch": {"size": 64, "ghost_size": 32, "drop_last": true}})";

std::string with_micro(const char* settings, int64_t micro) {
  Json document = parse_json(settings, "test");
  document["batch"]["micro"] = micro;
  return document.dump();
}

}  // namespace

TEST_CASE("a batch that does not fit into the device's memory is cut into micro-batches that do") {
  const auto [model, settings, micro] =
      GENERATE(table<const char*, const char*, int64_t>({{small_lenet, plain, 16}, {small_residual, ghosts, 32}}));
  const TemporaryFolder folder;
  const Regime regime = regime_of(model, settings);
  const Trained whole = train_on({Backend::cuda}, regime, folder.path() / "whole");
  CHECK(whole.summary.at("micro_batch").is_null());
  const Trained parts =
      train_on({Backend::cuda}, regime_of(model, with_micro(settings, micro)), folder.path() / "parts");
  const size_t enough = whole.summary.at("peak_memory_bytes"), least = parts.summary.at("peak_memory_bytes");
  REQUIRE(least < enough);

  const DifferentDevice small(with_memory(least + (enough - least) / 4));
  const Trained limited = train_on({Backend::cuda}, regime, folder.path() / "limited");
  CHECK(limited.summary.at("micro_batch") == micro);
  // The aborted pass has no effect: running statistics, sums and log are those of the micro-batches.
  CHECK(limited.tensors == parts.tensors);
  CHECK(limited.metrics == parts.metrics);
  // The step that found the size is a variant of its own.
  CHECK(limited.summary.at("steps_replayed") == parts.summary.at("steps_replayed").get<int>() - 1);
}

TEST_CASE("if micro-batches are configured or cannot be smaller, full memory is an error that says what to do") {
  const auto run = [&](const char* model, const std::string& settings) {
    const TemporaryFolder folder;
    Context context({Backend::cuda}, 1);
    DataCache data;
    const Regime regime = regime_of(model, settings);
    train(context, *data.get(regime), {regime, {}, 7, folder.path() / "run", Progress::Mode::quiet});
  };
  const DifferentDevice small(with_memory(size_t{1} << 20));
  CHECK_THROWS_WITH(run(small_lenet, with_micro(plain, 64)),
                    Catch::Matchers::Contains("out of memory") &&
                        Catch::Matchers::Contains("batch.micro of 64 does not fit, try 32"));
  CHECK_THROWS_WITH(run(small_residual, R"({"batch": {"size": 64}})"), Catch::Matchers::Contains("out of memory"));
}
