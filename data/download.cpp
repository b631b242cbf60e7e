#include <noisysgd/data/download.h>

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <limits>
#include <memory>
#include <span>
#include <utility>

#include <noisysgd/core/file.h>
#include <noisysgd/data/archive.h>
#include <noisysgd/data/file.h>
#include <noisysgd/data/part_file.h>
#include <noisysgd/data/sha256.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {
namespace {

namespace fs = std::filesystem;

using CurlHandle = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;
// Upper bound on the size of the published file in bytes. The gzip size of data that cannot be compressed depends on
// the settings: this bound is above zlib's own for all settings, and leaves room for a long header.
int64_t largest_size(const SourceFile& file) {
  if (file.size == 0) return std::numeric_limits<int64_t>::max();  // unknown
  return file.archive ? file.size : file.size + file.size / 8 + file.size / 64 + 65536;
}

struct Transfer {
  CURL* curl;
  PartFile& part;
  int64_t already;  // bytes in the part before this transfer
  int64_t limit;    // most bytes after it
  const std::string& name;
  const FetchOptions& options;
  int64_t too_many = 0;  // bytes that the server has announced or sent, if above the limit
  std::exception_ptr write_error{};
  std::chrono::steady_clock::time_point last_report{};
};

size_t on_data(char* data, size_t size, size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  const auto bytes = std::as_bytes(std::span(data, size * count));
  try {
    curl_off_t announced = -1;  // unknown
    curl_easy_getinfo(transfer.curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
    const int64_t room = transfer.limit - transfer.already;
    const int64_t held = transfer.part.size() + static_cast<int64_t>(bytes.size());
    if (announced > room || held > transfer.limit) {
      transfer.too_many = std::max<int64_t>(held, announced > room ? transfer.already + announced : 0);
      return 0;
    }
    transfer.part.append(bytes);
  } catch (const Error&) {
    transfer.write_error = std::current_exception();  // libcurl is C: an exception must not pass through it
    return 0;
  }
  return bytes.size();
}

int on_progress(void* context, curl_off_t total, curl_off_t done, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(context);
  const auto now = std::chrono::steady_clock::now();
  if (!transfer.options.progress || done == 0) return 0;
  if (done != total && now - transfer.last_report < std::chrono::milliseconds(200)) return 0;
  transfer.last_report = now;
  transfer.options.progress(transfer.name, transfer.already + done, total > 0 ? transfer.already + total : 0);
  return 0;
}

enum class Outcome { complete, cannot_resume, failed };

struct Result {
  Outcome outcome;
  std::string reason;
};

// Downloads the missing bytes of `url` and appends them to the part.
Result transfer_rest(const SourceFile& source, const std::string& url, PartFile& part, const FetchOptions& options) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  NSGD_CHECK(initialised == CURLE_OK, "libcurl cannot start: {}", curl_easy_strerror(initialised));
  const CurlHandle curl(curl_easy_init(), curl_easy_cleanup);
  NSGD_CHECK(curl != nullptr, "libcurl cannot start a transfer");
  Transfer transfer{curl.get(), part, part.size(), largest_size(source), source.name, options};
  std::array<char, CURL_ERROR_SIZE> detail{};
  const auto set = [&](CURLoption option, auto value) { curl_easy_setopt(curl.get(), option, value); };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_USERAGENT, "noisysgd-data/" NSGD_VERSION);
  set(CURLOPT_FAILONERROR, 1L);
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, 10L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT, 20L);
  set(CURLOPT_LOW_SPEED_LIMIT, 100L);  // bytes per second
  set(CURLOPT_LOW_SPEED_TIME, 30L);    // seconds below it, after which the next mirror is tried
  set(CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(transfer.already));
  set(CURLOPT_ERRORBUFFER, detail.data());
  set(CURLOPT_WRITEFUNCTION, &on_data);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&transfer));
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &on_progress);
  set(CURLOPT_XFERINFODATA, static_cast<void*>(&transfer));
  const CURLcode code = curl_easy_perform(curl.get());
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  if (transfer.write_error) std::rethrow_exception(transfer.write_error);
  if (code == CURLE_OK) return {Outcome::complete, {}};
  if (transfer.too_many > 0) {
    part.truncate(transfer.already);  // the received bytes are of another file
    return {Outcome::failed,
            fmt::format("gives {} bytes or more, expected at most {}", transfer.too_many, transfer.limit)};
  }
  const std::string reason = detail[0] != 0 ? detail.data() : curl_easy_strerror(code);
  // The server has no bytes after our last one, or does not support ranges.
  const bool refused = code == CURLE_RANGE_ERROR || code == CURLE_BAD_DOWNLOAD_RESUME || status == 416;
  return {transfer.already > 0 && refused ? Outcome::cannot_resume : Outcome::failed, reason};
}

void note(const FetchOptions& options, const std::string& line) {
  if (options.note) options.note(line);
}

// Returns nothing once `part` is the published file, otherwise the reason why this mirror failed.
std::optional<std::string> try_mirror(const SourceFile& file, const std::string& url, PartFile& part,
                                      const FetchOptions& options) {
  for (;;) {
    const int64_t already = part.size();
    const bool resuming = already > 0;
    if (resuming) note(options, fmt::format("{}: resuming after {} bytes", file.name, already));
    const Result result = transfer_rest(file, url, part, options);
    if (result.outcome == Outcome::failed) return result.reason;
    const auto difference = find_difference(file, part.path());
    if (!difference) return std::nullopt;
    // The part is of another version of the file, or the complete file is wrong. Only a download from the start can
    // help, and it is tried once.
    part.truncate(0);
    if (!resuming) return difference;
    note(options, fmt::format("{}: the resumed file is wrong ({}); starting again", file.name, *difference));
  }
}

void fetch_file(const SourceFile& file, const fs::path& target, const std::vector<std::string>& mirrors,
                const FetchOptions& options) {
  std::error_code error;  // ignored: that of the part says more
  NSGD_CHECK(!fs::is_directory(target, error), "{}: is a folder, expected a file", target.string());
  PartFile part(target);
  if (part.size() > largest_size(file)) part.truncate(0);
  std::string failures;
  for (const auto& mirror : mirrors) {
    const std::string url = mirror + (mirror.ends_with('/') ? "" : "/") + file.name;
    note(options, fmt::format("{}: fetching {}", file.name, url));
    const auto failure = try_mirror(file, url, part, options);
    if (!failure) {
      part.commit();
      note(options, fmt::format("{}: complete, SHA-256 as published", file.name));
      return;
    }
    note(options, fmt::format("{}: {}", url, *failure));
    failures += fmt::format("\n  {}: {}", url, *failure);
  }
  std::string remainder;
  if (part.size() > 0) {
    remainder = fmt::format("; its first {} bytes are kept as {}", part.size(), part.path().string());
  } else {
    part.remove();
  }
  throw Error(fmt::format("{}: no mirror gave the file{}{}", file.name, remainder, failures));
}

// Upper bound on the unpacked size of an archive in bytes: its known files, and 1 MiB for headers and small other
// files.
uint64_t largest_unpacked(const Source& source) {
  uint64_t size = uint64_t{1} << 20;
  for (const auto& file : source.unpacked) size += static_cast<uint64_t>(file.size);
  return size;
}

bool is_unpacked(const Source& source, const fs::path& root) {
  for (const auto& file : source.unpacked) {
    std::error_code error;
    if (fs::file_size(root / file.path, error) != static_cast<uintmax_t>(file.size) || error) return false;
  }
  return !source.unpacked.empty();
}

}  // namespace

std::optional<std::string> find_difference(const SourceFile& file, const fs::path& path) {
  std::vector<uint8_t> bytes;
  try {
    std::error_code error;  // ignored: reading the file reports it
    const auto on_disk = fs::file_size(path, error);
    if (!error && std::cmp_greater(on_disk, largest_size(file)))
      return fmt::format("{} bytes, expected {}{}", on_disk, file.archive ? "" : "at most ", largest_size(file));
    const uint64_t limit = file.size > 0 ? static_cast<uint64_t>(file.size) : std::numeric_limits<uint64_t>::max();
    bytes = file.archive ? read_bytes(path) : read_maybe_gzip(path, limit);
  } catch (const Error& error) {
    return error.what();
  }
  const auto size = static_cast<int64_t>(bytes.size());
  const char* kind = file.archive ? "" : " uncompressed";
  if (file.size > 0 && size != file.size) return fmt::format("{}{} bytes, expected {}", size, kind, file.size);
  const std::string hash = sha256_hex(bytes);
  if (hash != file.sha256) return fmt::format("SHA-256{} is {}, expected {}", kind, hash, file.sha256);
  return std::nullopt;
}

void fetch(const Source& source, const fs::path& root, const FetchOptions& options) {
  std::vector<std::string> mirrors = options.mirrors;
  mirrors.insert(mirrors.end(), source.mirrors.begin(), source.mirrors.end());
  NSGD_CHECK(!mirrors.empty(), "{}: no mirrors are known", source.name);
  if (is_unpacked(source, root)) {
    note(options, fmt::format("{}: already in {}", source.name, (root / source.folder).string()));
    return;
  }
  for (const auto& file : source.files) {
    const fs::path folder = file.archive ? root : root / source.folder;
    make_folder(folder);
    const fs::path target = folder / file.name;
    std::error_code error;
    if (fs::is_regular_file(target, error) && !find_difference(file, target)) {
      note(options, fmt::format("{}: already there", file.name));
    } else {
      fetch_file(file, target, mirrors, options);
    }
    if (file.archive) {
      const auto written = unpack_tar_gz(target, root, largest_unpacked(source));
      note(options, fmt::format("{}: unpacked {} files", file.name, written.size()));
      NSGD_CHECK(is_unpacked(source, root), "{}: the archive did not hold the expected files", target.string());
      fs::remove(target);
    }
  }
}

}  // namespace noisysgd
