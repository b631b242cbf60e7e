#include <noisysgd/core/metrics_log.h>

#include <algorithm>
#include <limits>
#include <sstream>

#include <noisysgd/core/json.h>
#include <noisysgd/kernels/check.h>
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/hostile_disk.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

Json record(int step) { return {{"step", step}, {"loss", 1.0 / (step + 1)}}; }

}  // namespace

TEST_CASE("each record is one exact line, visible as soon as it is written") {
  const TemporaryFolder folder;
  MetricsLog log(folder / "metrics.jsonl");
  for (int step = 0; step < 20; ++step) {
    log.write(record(step));
    const std::string text = read_file(log.path());
    CHECK(log.size() == text.size());
    CHECK(std::count(text.begin(), text.end(), '\n') == step + 1);
  }
  log.sync();
  std::istringstream lines(read_file(log.path()));
  std::string line;
  for (int step = 0; std::getline(lines, line); ++step) {
    CHECK(Json::parse(line)["loss"].get<double>() == 1.0 / (step + 1));  // to the last bit
  }
}

TEST_CASE("numbers that JSON cannot express become null and are named") {
  const TemporaryFolder folder;
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  MetricsLog log(folder / "m");
  log.write({{"step", 1}, {"loss", nan}, {"noise", {{"norm", -inf}, {"list", {1.0, inf}}}}, {"text", "two\nlines"}});
  log.write(record(0));
  CHECK(read_file(log.path()) == R"({"step":1,"loss":null,"noise":{"norm":null,"list":[1.0,null]},"text":"two\nlines",)"
                                 R"("nonfinite":{"loss":"nan","noise.norm":"-inf","noise.list[1]":"inf"}})"
                                 "\n"
                                 R"({"step":0,"loss":1.0})"
                                 "\n");
  CHECK_THROWS_AS(log.write(Json::array()), Error);
}

TEST_CASE("an interrupted and resumed log equals an uninterrupted one") {
  const TemporaryFolder folder;
  {
    MetricsLog log(folder / "whole");
    for (int step = 0; step < 10; ++step) log.write(record(step));
  }
  std::uint64_t at_checkpoint = 0;
  {
    MetricsLog log(folder / "resumed");
    for (int step = 0; step < 8; ++step) {
      if (step == 5) at_checkpoint = log.size();
      log.write(record(step));
    }
  }
  {
    MetricsLog log(folder / "resumed", at_checkpoint);
    CHECK(log.size() == at_checkpoint);
    for (int step = 5; step < 10; ++step) log.write(record(step));
  }
  CHECK(read_file(folder / "resumed") == read_file(folder / "whole"));
  MetricsLog(folder / "resumed");  // a new run starts with an empty log
  CHECK(read_file(folder / "resumed").empty());
}

TEST_CASE("a resume position that is not in the log is refused, and the log is kept") {
  const TemporaryFolder folder;
  {
    MetricsLog log(folder / "m");
    log.write(record(0));
  }
  const std::string before = read_file(folder / "m");
  CHECK(error_of([&] { MetricsLog log(folder / "m", before.size() + 1); }).find("fewer than the") != std::string::npos);
  CHECK(error_of([&] { MetricsLog log(folder / "m", before.size() - 1); }).find("inside a line") != std::string::npos);
  CHECK(error_of([&] { MetricsLog log(folder / "no", 5); }).find("No such file") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / "no"));
  CHECK(read_file(folder / "m") == before);
}

TEST_CASE("a line that does not fit is an error and leaves whole lines only") {
  const TemporaryFolder folder;
  MetricsLog log(folder / "m");
  log.write(record(0));
  const std::string before = read_file(log.path());
  std::string message;
  {
    const FileSizeLimit limit(before.size() + 5);
    message = error_of([&] { log.write(record(1)); });
  }
  CHECK(message == "cannot write " + (folder / "m").string() + ": File too large");
  CHECK(read_file(log.path()) == before);
  CHECK(error_of([&] { MetricsLog("/dev/full").write(record(0)); }) ==
        "cannot write /dev/full: No space left on device");
  CHECK(error_of([&] { MetricsLog log2(folder / "no/m"); }).find("No such file") != std::string::npos);
}
