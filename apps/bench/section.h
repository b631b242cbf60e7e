// The report of one benchmark: a titled table, and the same values unrounded as JSON.
#pragma once

#include <string>

#include <noisysgd/core/json.h>
#include <noisysgd/core/text_table.h>

namespace noisysgd::bench {

struct Section {
  std::string title;
  std::string note;  // how to read the columns
  TextTable table;
  std::string key;  // in the JSON report
  Json json;
};

}  // namespace noisysgd::bench
