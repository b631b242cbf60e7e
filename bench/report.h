// What a benchmark prints and writes: the machine, titled tables, and the same values unrounded as JSON.
#pragma once

#include <optional>
#include <string>

#include <noisysgd/core/json.h>
#include <noisysgd/core/text_table.h>
#include <noisysgd/kernels/queue.h>

namespace noisysgd::bench {

struct Section {
  std::string title;
  std::string note;  // how to read the columns
  TextTable table;
  std::string key;  // in the JSON report, which holds a list of the sections of each key
  Json json;
};

// A limit on a measured value.
struct Limit {
  bool upper = true;  // true: the value must be at most `value`; false: at least
  double value = 0;

  bool kept_by(double measured) const { return upper ? measured <= value : measured >= value; }  // NaN never
  std::string text() const;                                                                      // "≤ 1.15"
};

// The table of bars, which are limits on measured values, and how many of them are broken.
class Verdicts {
 public:
  Verdicts(const std::string& owner, const std::string& note);  // owner: title of the first column

  struct Judged {
    std::string owner, of;
    std::optional<double> value;  // none: not measured
    std::string text;             // of the value, as the table shows it
    Limit limit;
    bool counts = true;  // false: a time of an emulated device, which is not judged
    Json bar;
  };
  void add(const Judged& judged);

  const Section& section() const { return section_; }  // its JSON is the list of the bars
  int broken() const { return broken_; }

 private:
  Section section_;
  int broken_ = 0;
};

// Prints what it is given, and collects the JSON.
class Report {
 public:
  Report(kernels::Queue& queue, bool markdown);  // prints the machine

  bool emulated() const { return emulated_; }
  void add(const Section& section);
  void add(const Verdicts& verdicts);
  const Json& json() const { return json_; }
  // Writes the JSON to `path` unless that is empty.
  void write(const std::string& path) const;

 private:
  void print(const Section& section) const;

  bool markdown_, emulated_;
  Json json_;
};

// The exit status of a benchmark whose bars are broken. That of an error is 1.
inline constexpr int status_of_broken_bars = 2;
// Reports broken bars in one line on standard error; returns the exit status.
int exit_status(const std::string& program, const Verdicts& verdicts);

}  // namespace noisysgd::bench
