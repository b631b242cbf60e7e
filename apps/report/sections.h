// The sections of a report. A section with nothing to show is empty.
#pragma once

#include <string>
#include <vector>

#include <noisysgd/apps/report/html.h>
#include <noisysgd/apps/report/sources.h>

namespace noisysgd {

// The keys whose values differ between the groups, and the whole configuration of each.
html::Html configuration_section(const std::vector<RunGroup>& groups);
// Drawn by gnuplot. If it is missing, the section says so. problems: receives one line for every figure that gnuplot
// cannot draw.
html::Html curves_section(const std::vector<RunGroup>& groups, std::vector<std::string>& problems);
// Means over the seeds, and paired differences between the groups.
html::Html results_section(const std::vector<RunGroup>& groups);
// problems: receives one line for every picture that cannot be read.
html::Html analyses_section(const std::vector<AnalysisRecord>& analyses, std::vector<std::string>& problems);
// State, last logged values, machine and version of every run. missing: runs that have not begun.
html::Html runs_section(const std::vector<RunGroup>& groups, const std::vector<std::string>& missing);

}  // namespace noisysgd
