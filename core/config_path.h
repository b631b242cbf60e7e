// Values of a document by the paths of apply_override (core/config.h): "optimizer.momentum", "model.layers[0].kernel".
#pragma once

#include <string_view>

#include <noisysgd/core/json_fwd.h>

namespace noisysgd {

// Null if the document has no such value or the path is malformed.
const Json* find_value(const Json& document, std::string_view path);

}  // namespace noisysgd
