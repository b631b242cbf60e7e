#include <noisysgd/bench/report.h>

#include <fmt/format.h>

#include <noisysgd/apps/console.h>
#include <noisysgd/bench/machine.h>
#include <noisysgd/core/file.h>

namespace noisysgd::bench {

std::string Limit::text() const { return fmt::format("{} {}", upper ? "≤" : "≥", value); }

Verdicts::Verdicts(const std::string& owner, const std::string& note)
    : section_{.title = "Bars",
               .note = note,
               .table = TextTable({owner, "of", "value", "bar", "verdict"}),
               .key = "bars",
               .json = Json::array()} {}

void Verdicts::add(const Judged& judged) {
  const bool kept = judged.value && judged.limit.kept_by(*judged.value);
  const std::string word = !judged.value    ? "not measured"
                           : !judged.counts ? "emulated: not judged"
                           : kept           ? "kept"
                                            : "BROKEN";
  if (word == "BROKEN") ++broken_;
  section_.table.add_row({judged.owner, judged.of, judged.value ? judged.text : "", judged.limit.text(), word});
  section_.json.push_back(
      {{"bar", judged.bar}, {"value", judged.value ? Json(*judged.value) : Json()}, {"verdict", word}});
}

Report::Report(kernels::Queue& queue, bool markdown) : markdown_(markdown) {
  const Json machine = describe_machine(queue);
  for (const auto& [key, value] : machine.items())
    print_out("{}{}: {}\n", markdown ? "- " : "", key, value.is_string() ? value.get<std::string>() : value.dump());
  emulated_ = machine.value("emulated", "no") == "yes";
  if (emulated_) print_out("\nThe device is emulated on the processor: its times say nothing about a GPU.\n");
  json_["machine"] = machine;
}

void Report::print(const Section& section) const {
  print_out("\n{}{}\n\n{}\n{}\n", markdown_ ? "## " : "", section.title,
            markdown_ ? section.table.markdown() : section.table.text(), section.note);
  flush_out();
}

void Report::add(const Section& section) {
  print(section);
  json_[section.key].push_back(section.json);
}

void Report::add(const Verdicts& verdicts) {
  print(verdicts.section());
  json_[verdicts.section().key] = verdicts.section().json;
}

void Report::write(const std::string& path) const {
  if (!path.empty()) write_file_atomically(path, json_.dump(2) + "\n");
}

int exit_status(const std::string& program, const Verdicts& verdicts) {
  if (verdicts.broken() == 0) return 0;
  print_error("{}: {} of the bars broken\n", program, verdicts.broken());
  return status_of_broken_bars;
}

}  // namespace noisysgd::bench
