// The counter of traffic, on kernels that move known numbers of bytes. Arrays are aligned to 256 bytes.
#include <noisysgd/kernels/emulation/traffic.h>

#include "tests/catch.h"
#include "tests/emulator/moving.h"
#include "tests/kernels/mirrored.h"

using namespace noisysgd;
using namespace noisysgd::test;
using emulation::Traffic;

namespace {

// What `call` moves, all of it by one kernel.
template <class Call>
Traffic traffic_of(kernels::Queue& queue, const std::string& kernel, const Call& call) {
  queue.synchronize();
  emulation::reset_traffic();
  call();
  queue.synchronize();
  const auto all = emulation::traffic();
  REQUIRE(all.size() == 1);
  REQUIRE(all.begin()->first == kernel);
  return all.begin()->second;
}

void check(const Traffic& traffic, const Traffic& expected) {
  CHECK(traffic.launches == expected.launches);
  CHECK(traffic.bytes_read == expected.bytes_read);
  CHECK(traffic.bytes_written == expected.bytes_written);
  CHECK(traffic.bytes_loaded == expected.bytes_loaded);
  CHECK(traffic.bytes_stored == expected.bytes_stored);
}

}  // namespace

TEST_CASE("traffic is counted in bytes of accesses and in sectors of memory") {
  kernels::Queue queue({Backend::cuda, 0});
  Mirrored<float> from(random_tensor(16016, 1)), to(nan_tensor(3000));
  Mirrored<uint32_t> counter(std::vector<uint32_t>{0});
  float *const x = from.on(queue), *const y = to.on(queue);

  check(traffic_of(queue, "copy_kernel", [&] { copy(queue, 1000, x, y); }), {1, 4000, 4000, 4000, 4000});
  // 1001 floats take 126 sectors.
  check(traffic_of(queue, "copy_kernel", [&] { copy(queue, 1001, x, y); }), {1, 4032, 4032, 4004, 4004});
  check(traffic_of(queue, "copy_kernel", [&] { copy(queue, 8, x + 4, y); }), {1, 64, 32, 32, 32});
  check(traffic_of(queue, "copy_vectors_kernel", [&] { copy_vectors(queue, 1000, x, y); }),
        {1, 4000, 4000, 4000, 4000});
  check(traffic_of(queue, "copy_by_shared_kernel", [&] { copy_by_shared(queue, 1000, x, y); }),
        {1, 4000, 4000, 4000, 4000});
  check(traffic_of(queue, "double_in_place_kernel", [&] { double_in_place(queue, 1000, y); }),
        {1, 4000, 4000, 4000, 4000});
  check(traffic_of(queue, "copy_thrice_kernel", [&] { copy_thrice(queue, 1000, x, y); }),
        {1, 4000, 12000, 12000, 12000});
  check(traffic_of(queue, "every_16th_kernel", [&] { every_16th(queue, 1000, x, y); }), {1, 32000, 4000, 4000, 4000});
  // What the launch has written is not read from memory.
  check(traffic_of(queue, "write_then_read_kernel", [&] { write_then_read(queue, x, y); }), {1, 0, 1024, 512, 1024});
  // The counter lies in one sector, which is read before it is written.
  check(traffic_of(queue, "count_kernel", [&] { count(queue, 100, counter.on(queue)); }), {1, 32, 32, 400, 400});
}

TEST_CASE("traffic of several launches is added up, each counted for itself") {
  kernels::Queue queue({Backend::cuda, 0});
  Mirrored<float> from(random_tensor(1000, 1)), to(nan_tensor(1000));
  check(traffic_of(queue, "copy_kernel",
                   [&] {
                     for (int i = 0; i < 3; ++i) copy(queue, 1000, from.on(queue), to.on(queue));
                   }),
        {3, 12000, 12000, 12000, 12000});
  emulation::reset_traffic();
  CHECK(emulation::traffic().empty());
}
