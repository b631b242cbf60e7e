// The JSON Schema of a configuration, made by running the functions that read one (core/config_schema.h). Types of the
// program's own are a part of it.
#pragma once

#include <noisysgd/apps/experiment.h>

namespace noisysgd {

enum class Tuned { no, yes };  // whether "tune" and "tuning" are keys

// Of what noisysgd-train reads, with --tune and without it.
Json experiment_schema(const Extensions& extensions, Tuned tuned = Tuned::yes);

}  // namespace noisysgd
