// How well a network classifies: counts over all images, from the logits of each.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace noisysgd {

struct Prediction {
  int32_t label = 0;
  int32_t predicted = 0;   // the first largest logit
  double probability = 0;  // softmax of that logit
};

class Scores {
 public:
  static constexpr int64_t calibration_bins = 15;

  explicit Scores(int64_t classes) : classes_(classes), images_(static_cast<size_t>(classes)), correct_(images_) {}

  void add(std::span<const float> logits, int32_t label);  // logits: [K]

  int64_t classes() const { return classes_; }
  int64_t images() const { return static_cast<int64_t>(predictions_.size()); }
  int64_t correct() const;
  // Images of a class, and those of them that are predicted to be of it.
  int64_t images(int64_t label) const { return images_[static_cast<size_t>(label)]; }
  int64_t correct(int64_t label) const { return correct_[static_cast<size_t>(label)]; }
  // Images whose label has one of the five largest logits, the first ones of equals.
  int64_t correct_of_five() const { return correct_of_five_; }
  // Images with this label and this prediction.
  int64_t confused(int64_t label, int64_t predicted) const;
  // The pairs of a label and another prediction, the most frequent first; equals in order of their numbers.
  struct Confusion {
    int64_t label, predicted, images;
  };
  std::vector<Confusion> confusions() const;

  // The images whose prediction has a probability in ((b)/15, (b+1)/15], b from 0.
  struct Bin {
    int64_t images = 0, correct = 0;
    double probability = 0;  // sum
  };
  const std::array<Bin, calibration_bins>& bins() const { return bins_; }
  // Expected calibration error (Guo et al. 2017): the mean over images of |accuracy - mean probability| of their bin.
  double calibration_error() const;

  const std::vector<Prediction>& predictions() const { return predictions_; }  // in the order of add

 private:
  int64_t classes_, correct_of_five_ = 0;
  std::vector<int64_t> images_, correct_;  // [K]
  std::map<std::pair<int64_t, int64_t>, int64_t> confused_;
  std::array<Bin, calibration_bins> bins_{};
  std::vector<Prediction> predictions_;
};

}  // namespace noisysgd
