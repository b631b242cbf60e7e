// JSON as the framework reads it: key order kept, duplicate keys refused, places named.
// parse_json throws Error: "ORIGIN:LINE:COLUMN: reason" for the first syntax error, or the duplicate keys by their
// paths.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include <noisysgd/core/json_fwd.h>

namespace noisysgd {

// What a document may claim of time and memory. An object searches its keys one by one, so few are to be in one.
struct JsonLimits {
  std::size_t bytes = std::size_t{16} << 20;
  std::size_t keys = 1000;  // of one object
};

Json parse_json(std::string_view text, std::string_view origin, const JsonLimits& limits = {});

// "$.layers" and "kernel" give "$.layers.kernel"; a key that is no plain word is written as ["a key"],
// a long one with its beginning alone: paths are for messages.
std::string json_member_path(std::string_view path, std::string_view key);
std::string json_element_path(std::string_view path, std::size_t index);

}  // namespace noisysgd
