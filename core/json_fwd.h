// The name of JSON documents, for headers that take or return them: core/json.h defines what they can do.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace noisysgd {

using Json = nlohmann::ordered_json;

}  // namespace noisysgd
