#include "data/download.h"

#include <curl/curl.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>

#include "core/file.h"
#include "data/archive.h"
#include "data/file.h"
#include "data/sha256.h"
#include "kernels/check.h"

namespace noisysgd {
namespace {

namespace fs = std::filesystem;

using CurlHandle = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;
using FileHandle = std::unique_ptr<std::FILE, decltype(&std::fclose)>;

struct Transfer {
  std::FILE* file;
  int64_t already;  // bytes there before this transfer
  const std::string& name;
  const FetchOptions& options;
  int write_error = 0;
  std::chrono::steady_clock::time_point last_report{};
};

size_t on_data(char* data, size_t size, size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  const size_t written = std::fwrite(data, size, count, transfer.file);
  if (written != count) transfer.write_error = errno;
  return written * size;
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

// Appends what is missing of `url` to `partial`.
Result transfer_rest(const std::string& url, const fs::path& partial, const std::string& name,
                     const FetchOptions& options) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  NSGD_CHECK(initialised == CURLE_OK, "libcurl cannot start: {}", curl_easy_strerror(initialised));
  const FileHandle file(std::fopen(partial.c_str(), "ab"), std::fclose);
  NSGD_CHECK(file != nullptr, "{}: cannot be written: {}", partial.string(), std::strerror(errno));
  Transfer transfer{file.get(), static_cast<int64_t>(fs::file_size(partial)), name, options};
  const CurlHandle curl(curl_easy_init(), curl_easy_cleanup);
  NSGD_CHECK(curl != nullptr, "libcurl cannot start a transfer");
  std::array<char, CURL_ERROR_SIZE> detail{};
  const auto set = [&](CURLoption option, auto value) { curl_easy_setopt(curl.get(), option, value); };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_USERAGENT, "noisysgd-data/" NSGD_VERSION);
  set(CURLOPT_FAILONERROR, 1L);
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, 10L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT, 20L);
  set(CURLOPT_LOW_SPEED_LIMIT, 100L);  // bytes per second, over
  set(CURLOPT_LOW_SPEED_TIME, 30L);    // seconds: a mirror that stalls gives way to the next
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
  if (code == CURLE_OK && std::fflush(file.get()) != 0) transfer.write_error = errno;
  NSGD_CHECK(transfer.write_error == 0, "{}: cannot be written: {}", partial.string(),
             std::strerror(transfer.write_error));
  if (code == CURLE_OK) return {Outcome::complete, {}};
  const std::string reason = detail[0] != 0 ? detail.data() : curl_easy_strerror(code);
  // The server has nothing after our last byte, or no ranges at all.
  const bool refused = code == CURLE_RANGE_ERROR || code == CURLE_BAD_DOWNLOAD_RESUME || status == 416;
  return {transfer.already > 0 && refused ? Outcome::cannot_resume : Outcome::failed, reason};
}

void note(const FetchOptions& options, const std::string& line) {
  if (options.note) options.note(line);
}

// Nothing once `partial` is the published file; otherwise the reason why this mirror did not give it.
std::optional<std::string> try_mirror(const SourceFile& file, const std::string& url, const fs::path& partial,
                                      const FetchOptions& options) {
  for (;;) {
    std::error_code ignored;
    const auto already = fs::file_size(partial, ignored);
    const bool resuming = !ignored && already > 0;
    if (resuming) note(options, fmt::format("{}: resuming after {} bytes", file.name, already));
    const Result result = transfer_rest(url, partial, file.name, options);
    if (result.outcome == Outcome::failed) return result.reason;
    const auto difference = find_difference(file, partial);
    if (!difference) return std::nullopt;
    // A part of another edition of the file, or a complete but wrong file: only a fresh start can help, and only once.
    fs::remove(partial);
    if (!resuming) return difference;
    note(options, fmt::format("{}: the resumed file is wrong ({}); starting again", file.name, *difference));
  }
}

void fetch_file(const SourceFile& file, const fs::path& target, const std::vector<std::string>& mirrors,
                const FetchOptions& options) {
  fs::path partial = target;
  partial += ".part";
  std::string failures;
  for (const auto& mirror : mirrors) {
    const std::string url = mirror + (mirror.ends_with('/') ? "" : "/") + file.name;
    note(options, fmt::format("{}: fetching {}", file.name, url));
    const auto failure = try_mirror(file, url, partial, options);
    if (!failure) {
      fs::rename(partial, target);
      note(options, fmt::format("{}: complete, SHA-256 as published", file.name));
      return;
    }
    note(options, fmt::format("{}: {}", url, *failure));
    failures += fmt::format("\n  {}: {}", url, *failure);
  }
  std::error_code error;
  const auto kept = fs::file_size(partial, error);
  std::string remainder;
  if (!error && kept > 0) {
    remainder = fmt::format("; its first {} bytes are kept as {}", kept, partial.string());
  } else {
    fs::remove(partial, error);
  }
  throw Error(fmt::format("{}: no mirror gave the file{}{}", file.name, remainder, failures));
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
    bytes = file.archive ? read_bytes(path) : read_maybe_gzip(path);
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
    if (fs::exists(target) && !find_difference(file, target)) {
      note(options, fmt::format("{}: already there", file.name));
    } else {
      fetch_file(file, target, mirrors, options);
    }
    if (file.archive) {
      const auto written = unpack_tar_gz(target, root);
      note(options, fmt::format("{}: unpacked {} files", file.name, written.size()));
      NSGD_CHECK(is_unpacked(source, root), "{}: the archive did not hold the expected files", target.string());
      fs::remove(target);
    }
  }
}

}  // namespace noisysgd
