#include <fmt/format.h>

#include <cmath>

#include <noisysgd/apps/progress.h>
#include <noisysgd/apps/report/sections.h>

namespace noisysgd {
namespace {

using html::Html;

// A field of a run's record as text; "" if there is none.
std::string field(const std::optional<Json>& record, const std::string& key) {
  if (!record || !record->contains(key) || record->at(key).is_null()) return "";
  const Json& value = record->at(key);
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string state_of(const LoggedRun& run) {
  if (run.summary) return "finished";
  if (run.divergence) return "diverged: " + field(run.divergence, "reason");
  return run.last_change.empty() ? "not finished; no log yet" : "not finished; log of " + run.last_change;
}

// The last finite value of a field of the log, scaled.
std::string last_value(const LogColumns& log, const std::string& name, double factor, int digits) {
  const std::vector<double>* const values = log.find(name);
  if (!values || values->empty() || !std::isfinite(values->back())) return "";
  return fmt::format("{:.{}g}", factor * values->back(), digits);
}

std::string epoch_text(const LoggedRun& run) {
  const LogColumns& log = run.train.lines() > 0 ? run.train : run.evaluated;
  if (log.lines() == 0) return "";
  const bool known = run.config.contains("epochs") && run.config["epochs"].is_number_integer();
  return known ? fmt::format("{:.0f} of {}", log.epoch.back(), run.config["epochs"].get<int64_t>())
               : fmt::format("{:.0f}", log.epoch.back());
}

std::string memory_text(const LoggedRun& run) {
  const double bytes = run.result("peak_memory_bytes");
  return std::isfinite(bytes) ? fmt::format("{:.0f} MiB", bytes / (1 << 20)) : "";
}

std::string time_text(const LoggedRun& run) {
  const double seconds = run.result("seconds");
  return std::isfinite(seconds) ? format_duration(seconds) : "";
}

}  // namespace

Html runs_section(const std::vector<RunGroup>& groups, const std::vector<std::string>& missing) {
  Html section;
  if (!groups.empty()) {
    html::Table last({"run", "state", "epoch", "step", "training loss", "evaluated accuracy %", "learning rate",
                      "gradient norm", "noise norm"});
    html::Table machines({"run", "device", "precision", "threads", "peak memory", "time", "version", "folder"});
    for (const RunGroup& group : groups)
      for (const LoggedRun& run : group.runs) {
        const std::string name = fmt::format("{} seed {}", group.label, run.seed);
        last.add_row(std::vector<std::string>{
            name, state_of(run), epoch_text(run),
            run.train.lines() > 0 ? fmt::format("{:.0f}", run.train.step.back()) : "",
            last_value(run.train, "loss", 1, 4), last_value(run.evaluated, "accuracy", 100, 4),
            last_value(run.train, "learning_rate", 1, 3), last_value(run.train, "gradient_norm", 1, 3),
            last_value(run.train, "noise_norm", 1, 3)});
        const std::string version = field(run.summary, "version");
        machines.add_row(std::vector<std::string>{name, field(run.summary, "device"), field(run.summary, "precision"),
                                                  field(run.summary, "threads"), memory_text(run), time_text(run),
                                                  version.empty() ? field(run.divergence, "version") : version,
                                                  run.folder.string()});
      }
    section += html::element("h2", "Runs") + html::element("p", "The last line of every log:") + last.html();
    section += html::element("h3", "Hardware and versions") + machines.html(true);
    section += html::element("p", "A run records its hardware when it has finished.", {{"class", "note"}});
  }
  if (!missing.empty()) {
    Html list;
    for (const std::string& run : missing) list += html::element("li", run);
    section += html::details(
        fmt::format("{} not begun", missing.size() == 1 ? "1 run has" : fmt::format("{} runs have", missing.size())),
        html::element("ul", list));
  }
  return section;
}

}  // namespace noisysgd
