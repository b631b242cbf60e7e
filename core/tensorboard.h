// Scalars for TensorBoard: TFRecord frames (length, masked CRC-32C, bytes, masked CRC-32C) of protobuf Event messages.
// Every event is written whole before its call returns. If that fails it is undone, and an Error names the path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include <noisysgd/core/file.h>

namespace noisysgd {

struct Scalar {
  std::string tag;  // "train/loss"
  double value;     // stored as float; NaN and infinities are kept
};

// FOLDER/events.out.tfevents.SECONDS.HOST.PID: the form of name that TensorBoard reads.
std::filesystem::path new_events_path(const std::filesystem::path& folder);
// True for such a file name without its folder.
bool is_events_name(std::string_view name);

class TensorBoardLog {
 public:
  // Creates a file with its version event. With keep > 0 cuts an existing file to its first `keep` bytes, an earlier
  // size(); a value inside a record is an Error.
  explicit TensorBoardLog(const std::filesystem::path& path, std::uint64_t keep = 0);

  void write(std::int64_t step, std::span<const Scalar> scalars);                    // at the current time
  void write(std::int64_t step, std::span<const Scalar> scalars, double wall_time);  // seconds since 1970
  void sync() { file_.sync(); }
  std::uint64_t size() const { return file_.size(); }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  AppendFile file_;
};

}  // namespace noisysgd
