// Selects runs of an experiment: `--only regime=LB+Diag,seed=2`.
#pragma once

#include <string>
#include <vector>

#include <noisysgd/apps/experiment.h>

namespace noisysgd {

class Selection {
 public:
  // Pairs key=value separated by commas; the keys are regime and seed. Several values of a key are alternatives, and a
  // key that does not occur selects everything. A regime's name may be a JSON string: regime="a,seed=1". Throws Error
  // for a regime or seed that the experiment does not have, and for a text that two names match.
  Selection(const std::vector<std::string>& texts, const Experiment& experiment);
  Selection() = default;  // everything

  bool includes(const Regime& regime, uint64_t seed) const;
  bool includes(const Regime& regime) const;  // with any seed

 private:
  std::vector<std::string> regimes_;
  std::vector<uint64_t> seeds_;
};

}  // namespace noisysgd
