// JSON as the framework reads it: key order kept, duplicate keys refused, places named.
// parse_json throws Error: "ORIGIN:LINE:COLUMN: reason" for the first syntax error, or every duplicate key by its path.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace noisysgd {

using Json = nlohmann::ordered_json;

Json parse_json(std::string_view text, std::string_view origin);

// "$.layers" and "kernel" give "$.layers.kernel"; a key that is no plain word is written as ["a key"].
std::string json_member_path(std::string_view path, std::string_view key);
std::string json_element_path(std::string_view path, std::size_t index);

}  // namespace noisysgd
