#include <noisysgd/apps/eval/scores.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace noisysgd {

void Scores::add(std::span<const float> logits, int32_t label) {
  const auto first = std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit} - *first);
  const Prediction made{label, static_cast<int32_t>(first - logits.begin()), 1 / sum};
  predictions_.push_back(made);

  const bool correct = made.predicted == label;
  ++images_[static_cast<size_t>(label)];
  if (correct) ++correct_[static_cast<size_t>(label)];
  ++confused_[{label, made.predicted}];
  const float own = logits[static_cast<size_t>(label)];
  int64_t before = 0;
  for (size_t k = 0; k < logits.size(); ++k)
    before += logits[k] > own || (logits[k] == own && static_cast<int32_t>(k) < label);
  if (before < 5) ++correct_of_five_;
  const auto bin = static_cast<int64_t>(std::ceil(made.probability * calibration_bins)) - 1;
  Bin& held = bins_[static_cast<size_t>(std::clamp<int64_t>(bin, 0, calibration_bins - 1))];
  ++held.images;
  held.correct += correct;
  held.probability += made.probability;
}

int64_t Scores::correct() const { return std::accumulate(correct_.begin(), correct_.end(), int64_t{0}); }

int64_t Scores::confused(int64_t label, int64_t predicted) const {
  const auto found = confused_.find({label, predicted});
  return found == confused_.end() ? 0 : found->second;
}

std::vector<Scores::Confusion> Scores::confusions() const {
  std::vector<Confusion> all;
  for (const auto& [pair, images] : confused_)
    if (pair.first != pair.second) all.push_back({pair.first, pair.second, images});
  std::ranges::stable_sort(all, [](const Confusion& a, const Confusion& b) { return a.images > b.images; });
  return all;
}

double Scores::calibration_error() const {
  double sum = 0;
  for (const Bin& bin : bins_) sum += std::abs(static_cast<double>(bin.correct) - bin.probability);
  return images() ? sum / static_cast<double>(images()) : 0;
}

}  // namespace noisysgd
