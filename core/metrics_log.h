// metrics.jsonl: one JSON object per line, passed to the operating system before write() returns.
// JSON has no NaN and no infinity: such a number becomes null, and the line records its path and value under
// "nonfinite": {"loss": "nan"}. A line that cannot be written whole is undone, and an Error names the path.
#pragma once

#include <cstdint>
#include <filesystem>

#include <noisysgd/core/file.h>
#include <noisysgd/core/json_fwd.h>

namespace noisysgd {

class MetricsLog {
 public:
  // Keeps the first `keep` bytes of an existing log, which must end at the end of a line, and cuts off the rest. With
  // keep = size() at the last checkpoint, a resumed run and an uninterrupted run write the same log.
  explicit MetricsLog(const std::filesystem::path& path, std::uint64_t keep = 0);

  void write(const Json& record);  // an object
  void sync() { file_.sync(); }    // to be called before a checkpoint stores size()
  std::uint64_t size() const { return file_.size(); }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  AppendFile file_;
};

}  // namespace noisysgd
