// Scalars for TensorBoard: TFRecord frames (length, masked CRC-32C, bytes, masked CRC-32C) of protobuf Event messages.
// Every event is written whole when its call returns; one that cannot be is undone and is an Error naming the path.
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

// FOLDER/events.out.tfevents.SECONDS.HOST.PID: the name that TensorBoard looks for.
std::filesystem::path new_events_path(const std::filesystem::path& folder);
// True for the bare name of such a file.
bool is_events_name(std::string_view name);

class TensorBoardLog {
 public:
  // A new file with its version event, or with keep > 0 an existing one cut to its first `keep` bytes (an earlier
  // size(); one inside a record is refused).
  explicit TensorBoardLog(const std::filesystem::path& path, std::uint64_t keep = 0);

  void write(std::int64_t step, std::span<const Scalar> scalars);                    // stamped with the present time
  void write(std::int64_t step, std::span<const Scalar> scalars, double wall_time);  // seconds since 1970
  void sync() { file_.sync(); }
  std::uint64_t size() const { return file_.size(); }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  AppendFile file_;
};

}  // namespace noisysgd
