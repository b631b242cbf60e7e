#include <noisysgd/apps/budget.h>

#include <algorithm>
#include <cmath>

namespace noisysgd {

int64_t epochs_at(int64_t epochs, double budget) {
  return std::max<int64_t>(1, std::llround(budget * static_cast<double>(epochs)));
}

void apply_budget(Regime& regime, double budget, const Extensions& extensions) {
  const auto before = static_cast<double>(regime.epochs);
  regime.epochs = epochs_at(regime.epochs, budget);
  const double factor = static_cast<double>(regime.epochs) / before;
  std::vector<BatchChange> changes;
  Json effective_changes = Json::array();
  for (size_t i = 0; i < regime.batch.changes.size(); ++i) {
    BatchChange change = regime.batch.changes[i];
    change.epochs = std::llround(factor * static_cast<double>(change.epochs));
    if (change.epochs == 0) continue;
    effective_changes.push_back(regime.effective["batch"]["change"][i]);
    effective_changes.back()["epochs"] = change.epochs;
    changes.push_back(change);
  }
  regime.batch.changes = std::move(changes);

  regime.effective["epochs"] = regime.epochs;
  regime.effective["batch"]["change"] = std::move(effective_changes);
  regime.schedule.shorten(regime.effective["schedule"], factor);
  Config shortened(Json{{"schedule", regime.effective["schedule"]}});
  regime.schedule = LearningRateSchedule::read(shortened.root().object("schedule"), extensions.schedules, before);
  shortened.finish();
}

}  // namespace noisysgd
