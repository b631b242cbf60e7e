// metrics.jsonl: one JSON object per line, on its way to the disk when write() returns.
// JSON has no NaN and no infinity: such a number becomes null, and the line gains "nonfinite": {"loss": "nan"} with its
// path, so that nothing is lost. A line that cannot be written whole is undone and is an Error naming the path.
#pragma once

#include <cstdint>
#include <filesystem>

#include <noisysgd/core/file.h>
#include <noisysgd/core/json_fwd.h>

namespace noisysgd {

class MetricsLog {
 public:
  // Keeps the first `keep` bytes of an existing log, which must end a line, and cuts off the rest: with the size() at
  // the last checkpoint, the log of a resumed run equals that of an uninterrupted one.
  explicit MetricsLog(const std::filesystem::path& path, std::uint64_t keep = 0);

  void write(const Json& record);  // an object
  void sync() { file_.sync(); }    // before a checkpoint refers to size()
  std::uint64_t size() const { return file_.size(); }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  AppendFile file_;
};

}  // namespace noisysgd
