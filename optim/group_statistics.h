// What the log says of a layer beyond sums over the batch: from the gradients of groups of its samples. With R groups
// of B samples each, U_r = sum of g_n over group r, and V_r = the same with a random sign for each sample and layer:
//   variance ratio   r_l = tr F_l / (B sum_i Var_r (U_r/B)_i): the variance by F_l over the one that is there
//                    (Figure 2 as an instrument). Groups of whole ghost batches have their coupling in them.
//   effective rank   (tr F_l)^2 / ||F_l||_F^2 (the participation ratio of the eigenvalues), both by means over pairs of
//                    groups: E (V_r . V_q)^2 = B^2 ||F_l||^2 and E |V_r|^2 |V_q|^2 = B^2 (tr F_l)^2, unbiased for the
//                    population's F_l since pairs share no sample. At least 1. The relative standard error of the norm
//                    is about sqrt(2 / pairs) where many directions matter: 6 % with 32 groups, 27 % with 8.
// Costs one more backward pass of the step that is logged, and 2 R values per parameter.
#pragma once

#include <optional>
#include <vector>

#include <noisysgd/optim/fisher.h>

namespace noisysgd {

// How a batch of so many samples that `fisher` is collected on is divided: into `wanted` groups, or as many as there
// are whole ghost batches; samples that are left over after equal groups take no part.
struct SampleGroups {
  SampleGroups(Model& model, const FisherOptions& fisher, int64_t samples, int64_t wanted);

  int64_t count = 0;  // 0: too few samples for two
  int64_t size = 0;   // samples of each
};

class GroupStatistics {
 public:
  GroupStatistics(Context& context, Model& model, const SampleGroups& groups);

  // Where a piece [begin, end) of the batch has to end so as not to cross from one group into the next.
  int64_t end_of_piece(int64_t begin, int64_t end) const;
  // Around the forward and backward passes of one piece, which add to `gradient`. Where the piece's pass with random
  // signs adds its signed sums; undefined: the piece is in no group and needs none.
  Block begin_piece(int64_t begin, const Block& gradient);
  void end_piece(int64_t end, const Block& gradient);

  // products [layers,2,R,R], or its beginning for a larger R: inner products of the U_r of each layer, and of its V_r.
  void multiply(const Tensor& products) const;

 private:
  bool inside(int64_t sample) const { return sample < groups_.count * groups_.size; }
  void take_gradients(float sign, int64_t group, const Block& gradient);

  Context& context_;
  const std::vector<Parameter*>& parameters_;
  SampleGroups groups_;
  std::vector<Tensor> gradients_, draws_;  // [groups, elements rounded up] of each parameter: U and V
  Block draw_;                             // of the present group
};

// Fills variance_ratio and effective_rank of what layer_fisher gave for the same batch from the host's copy of its
// products. Null stay those of layers without variance, or without sums with signs.
void measure_groups(const SampleGroups& groups, const std::vector<Parameter*>& parameters, const float* products,
                    std::vector<LayerFisher>& layers);

}  // namespace noisysgd
