// The final results of groups of runs.
#pragma once

#include <string>

#include <noisysgd/apps/paired_difference.h>
#include <noisysgd/apps/report/sources.h>

namespace noisysgd {

// A field of summary.json over a group's finished runs; values that are missing or not finite are left out.
SeedResults results_of(const RunGroup& group, const std::string& field);
Spread result_of(const RunGroup& group, const std::string& field);

}  // namespace noisysgd
