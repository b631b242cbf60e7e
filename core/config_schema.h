// The JSON Schema (draft-07) of the documents that a function reads by ConfigReader. Nothing is listed a second
// time: the function is run on documents that the schema's maker thinks up, and it says what it asks for. A key whose
// choice decides which other keys there are, such as "type", gives one alternative for each value. Where another value
// changes a bound or a default, or where the presence of a key is looked at, the schema allows what any of them allows.
//
// A schema knows each value's type and range, and which keys an object has. What a reader reports by
// ConfigReader::error, such as a rule between two keys, it does not know.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <noisysgd/core/config.h>
#include <noisysgd/core/json_fwd.h>

namespace noisysgd {

// Objects in lists that can contain themselves, as layers do, are under "definitions", by what they are
// (ConfigReader::is_a). read: must have no effects. It may throw Error for a document that does not suit it.
Json config_schema(const std::function<void(const ConfigReader& root)>& read);

// The schema of a document that patches complete: no key is required, and an object without the key that decides about
// the others may have the keys of all alternatives.
Json incomplete_schema(const Json& schema);

// The schema of a patch for merge_config: of an incomplete document in which null removes a key.
Json patch_schema(const Json& schema);

// An object with these properties, and comments, and no other key.
Json closed_object_schema(Json properties, const std::vector<std::string>& required = {});

}  // namespace noisysgd
