// Forward declaration of Json, for headers that only take or return documents; core/json.h has the definition.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace noisysgd {

using Json = nlohmann::ordered_json;

}  // namespace noisysgd
