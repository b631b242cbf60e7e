#include <noisysgd/core/metrics_log.h>

#include <cmath>
#include <string>

#include <noisysgd/core/json.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {
namespace {

// Called before the log is opened: a wrong `keep` must not change the file.
const std::filesystem::path& checked_to_end_a_line(const std::filesystem::path& path, std::uint64_t keep) {
  if (keep == 0) return path;
  const RandomAccessFile log(path);
  NSGD_CHECK(log.size() >= keep, "cannot continue {}: it has {} bytes, fewer than the {} to keep", path.string(),
             log.size(), keep);
  char last = 0;
  log.read(keep - 1, std::as_writable_bytes(std::span(&last, 1)));
  NSGD_CHECK(last == '\n', "cannot continue {}: byte {} is inside a line", path.string(), keep);
  return path;
}

void note_nonfinite(const Json& value, const std::string& path, Json& notes) {
  if (value.is_object()) {
    for (const auto& [key, inner] : value.items()) note_nonfinite(inner, path.empty() ? key : path + "." + key, notes);
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) note_nonfinite(value[i], json_element_path(path, i), notes);
  } else if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    const double number = value.get<double>();
    notes[path] = std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf";
  }
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& path, std::uint64_t keep)
    : file_(checked_to_end_a_line(path, keep), keep) {}

void MetricsLog::write(const Json& record) {
  NSGD_CHECK(record.is_object(), "metrics: a record is an object, got {}", record.dump());
  Json notes = Json::object();
  note_nonfinite(record, "", notes);
  // dump() writes null for a number that JSON cannot express.
  const auto line = [](const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; };
  if (notes.empty()) {
    file_.append(line(record));
  } else {
    Json annotated = record;
    annotated["nonfinite"] = std::move(notes);
    file_.append(line(annotated));
  }
}

}  // namespace noisysgd
