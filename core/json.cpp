#include <noisysgd/core/json.h>

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

#include <noisysgd/core/utf8.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {
namespace {

constexpr std::size_t deepest_nesting = 256;  // writing JSON recurses; hostile input must not exhaust the stack
constexpr std::size_t most_duplicates = 20;   // parsing stops there
constexpr std::size_t most_key_bytes = 80;    // in a message

std::string place_in(std::string_view text, std::size_t characters_read) {
  const std::string_view before = text.substr(0, std::min(characters_read == 0 ? 0 : characters_read - 1, text.size()));
  const std::size_t line = 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
  const std::size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  return fmt::format("{}:{}", line, before.size() - line_start + 1);
}

// "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error while …" → "syntax error while …"
std::string plain_reason(std::string_view message) {
  if (const auto end = message.find("] "); end != std::string_view::npos) message.remove_prefix(end + 2);
  if (message.starts_with("parse error at")) {
    if (const auto end = message.find(": "); end != std::string_view::npos) message.remove_prefix(end + 2);
  }
  return std::string(message);
}

// Builds the document from the parser's events. Unlike the library's own builder it receives duplicate keys too.
class DocumentBuilder : public nlohmann::json_sax<Json> {
 public:
  DocumentBuilder(std::string_view text, std::string_view origin, const JsonLimits& limits)
      : text_(text), origin_(origin), limits_(limits) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // never occurs in JSON text

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& key) override {
    Level& level = levels_.back();
    level.key = std::move(key);
    const int times = ++level.keys[level.key];
    level.duplicate = times > 1;
    if (times == 2) duplicates_.push_back(json_member_path(path(levels_.size() - 1), level.key));
    NSGD_CHECK(level.keys.size() <= limits_.keys, "{}: {}: has more than {} keys", origin_, path(levels_.size() - 1),
               limits_.keys);
    return duplicates_.size() < most_duplicates;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    throw Error(fmt::format("{}:{}: {}", origin_, place_in(text_, position), plain_reason(error.what())));
  }

  // problems: gets the duplicate keys; null: they are an error, as too many are in any case.
  Json finish(std::vector<std::string>* problems) {
    if (duplicates_.empty()) return std::move(document_);
    const bool stopped = duplicates_.size() == most_duplicates;
    std::vector<std::string> paths;  // distinct: a container that is itself a duplicate repeats paths
    for (const std::string& path : duplicates_)
      if (std::find(paths.begin(), paths.end(), path) == paths.end()) paths.push_back(path);
    if (problems && !stopped) {
      for (const std::string& path : paths) problems->push_back(path + ": duplicate key");
      return std::move(document_);
    }
    std::string message = fmt::format("{}: {}{} duplicate key{}", origin_, stopped ? "at least " : "", paths.size(),
                                      paths.size() == 1 ? "" : "s");
    for (const std::string& path : paths) message += fmt::format("\n  {}: duplicate key", path);
    throw Error(message);
  }

 private:
  struct Level {
    Json container;
    std::string key = {};  // of the member being read
    bool duplicate = false;
    std::unordered_map<std::string, int> keys = {};  // occurrences of each
  };

  bool add(Json value) {
    if (levels_.empty()) {
      document_ = std::move(value);
      return true;
    }
    Level& level = levels_.back();
    if (level.container.is_array()) {
      level.container.push_back(std::move(value));
    } else if (!level.duplicate) {
      // The base class of the ordered map is a vector: its emplace_back skips the linear search for the key.
      level.container.get_ref<Json::object_t&>().emplace_back(level.key, std::move(value));
    }
    return true;
  }

  bool open(Json container) {
    NSGD_CHECK(levels_.size() < deepest_nesting, "{}: {}: nested deeper than {} levels", origin_, path(2),
               deepest_nesting);
    levels_.push_back({.container = std::move(container)});
    return true;
  }

  bool close() {
    Json container = std::move(levels_.back().container);
    levels_.pop_back();
    return add(std::move(container));
  }

  // Path of the container `depth` levels below the root.
  std::string path(std::size_t depth) const {
    std::string result = "$";
    for (std::size_t i = 0; i < depth; ++i) {
      const Level& level = levels_[i];
      result = level.container.is_array() ? json_element_path(result, level.container.size())
                                          : json_member_path(result, level.key);
    }
    return result;
  }

  std::string_view text_;
  std::string_view origin_;
  const JsonLimits& limits_;
  Json document_;
  std::vector<Level> levels_;
  std::vector<std::string> duplicates_;
};

bool is_plain_word(std::string_view key) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$'; };
  const auto later = [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '-'; };
  return !key.empty() && letter(key.front()) && std::all_of(key.begin(), key.end(), later);
}

}  // namespace

namespace {

Json parse(std::string_view text, std::string_view origin, const JsonLimits& limits,
           std::vector<std::string>* problems) {
  NSGD_CHECK(text.size() <= limits.bytes, "{}: has {} bytes; at most {} are allowed", origin, text.size(),
             limits.bytes);
  DocumentBuilder builder(text, origin, limits);
  Json::sax_parse(text, &builder);
  return builder.finish(problems);
}

}  // namespace

Json parse_json(std::string_view text, std::string_view origin, const JsonLimits& limits) {
  return parse(text, origin, limits, nullptr);
}

Json parse_json_with_duplicates(std::string_view text, std::string_view origin, std::vector<std::string>& problems) {
  return parse(text, origin, {}, &problems);
}

std::string json_member_path(std::string_view path, std::string_view key) {
  const std::string shown = shortened(key, most_key_bytes);
  if (is_plain_word(key)) return fmt::format("{}.{}", path, shown);
  return fmt::format("{}[{}]", path, Json(shown).dump(-1, ' ', false, Json::error_handler_t::replace));
}

std::string json_element_path(std::string_view path, std::size_t index) { return fmt::format("{}[{}]", path, index); }

}  // namespace noisysgd
