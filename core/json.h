// JSON parsing: keeps the order of keys and refuses duplicate keys. parse_json throws Error with the first syntax
// error, "ORIGIN:LINE:COLUMN: reason", or with a list of the duplicate keys by their paths.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include <noisysgd/core/json_fwd.h>

namespace noisysgd {

// Limits on the time and memory of a document. The number of keys is limited because an object looks them up linearly.
struct JsonLimits {
  std::size_t bytes = std::size_t{16} << 20;
  std::size_t keys = 1000;  // of one object
};

Json parse_json(std::string_view text, std::string_view origin, const JsonLimits& limits = {});

// Keeps the first value of a key that occurs twice, and adds the problem to `problems`. Throws Error for 20 of them, as
// parse_json does.
Json parse_json_with_duplicates(std::string_view text, std::string_view origin, std::vector<std::string>& problems);

// Paths for messages: "$.layers" and "kernel" give "$.layers.kernel". A key that is not an identifier is written as
// ["a key"], and a long key is shortened.
std::string json_member_path(std::string_view path, std::string_view key);
std::string json_element_path(std::string_view path, std::size_t index);

}  // namespace noisysgd
