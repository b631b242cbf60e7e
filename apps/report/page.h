// The page of a report.
#pragma once

#include <string>
#include <vector>

#include <noisysgd/apps/report/sources.h>

namespace noisysgd {

struct ReportPage {
  std::string html;
  std::vector<std::string> problems;  // what the page cannot show, and why; it is named in the page too
};

// made: when, as the page shows it.
ReportPage report_page(const ReportSources& sources, const std::string& made);

}  // namespace noisysgd
