// Statistics of a layer for the log that need the gradients of groups of samples. With R groups of B samples each,
// U_r = sum of g_n over group r, and V_r = the same with a random sign for each sample and layer:
//   variance ratio   r_l = tr F_l / (B sum_i Var_r (U_r/B)_i): the variance predicted by F_l over the measured one, as
//                    in Figure 2. Groups of whole ghost batches include their coupling.
//   effective rank   (tr F_l)^2 / ||F_l||_F^2 (the participation ratio of the eigenvalues), at least 1. Both parts are
//                    means over pairs of groups: E (V_r . V_q)^2 = B^2 ||F_l||^2, E |V_r|^2 |V_q|^2 = B^2 (tr F_l)^2.
//                    They are unbiased for the population's F_l because pairs share no sample. The relative standard
//                    error of the norm is about sqrt(2 / pairs) if many directions matter: 6 % with 32 groups, 27 %
//                    with 8.
// Cost: one more backward pass in a logged step, and 2 R values per parameter element.
#pragma once

#include <optional>
#include <vector>

#include <noisysgd/optim/fisher.h>

namespace noisysgd {

// The division of a batch of `samples` samples, on which `fisher` is collected: into `wanted` groups, or into as many
// as there are whole ghost batches. Samples left over after equal groups are not used.
struct SampleGroups {
  SampleGroups(Model& model, const FisherOptions& fisher, int64_t samples, int64_t wanted);

  int64_t count = 0;  // 0: too few samples for two groups
  int64_t size = 0;   // samples of each
};

class GroupStatistics {
 public:
  GroupStatistics(Context& context, Model& model, const SampleGroups& groups);

  // The end of the part of [begin, end) in the same group as `begin`; `end` if `begin` is in no group.
  int64_t end_of_piece(int64_t begin, int64_t end) const;
  // To be called before and after the forward and backward passes of one piece, which add to `gradient`. begin_piece
  // returns the block for the signed sums of a further pass with random signs; undefined: the piece is in no group and
  // needs no such pass.
  Block begin_piece(int64_t begin, const Block& gradient);
  void end_piece(int64_t end, const Block& gradient);

  // Writes products [layers,2,R,R]: inner products of the U_r of each layer, and of its V_r. A tensor for a larger R is
  // filled from its beginning.
  void multiply(const Tensor& products) const;

 private:
  bool inside(int64_t sample) const { return sample < groups_.count * groups_.size; }
  void take_gradients(float sign, int64_t group, const Block& gradient);

  Context& context_;
  std::vector<Parameter*> parameters_;  // that are trained
  SampleGroups groups_;
  std::vector<Tensor> gradients_, draws_;  // [groups, elements rounded up] of each parameter: U and V
  Block draw_;                             // of the current group
};

// Sets variance_ratio and effective_rank in `layers`, the layer_fisher of the same batch, from a copy of its products
// on the host. The first stays null for layers without variance, the second for layers without signed sums.
void measure_groups(const SampleGroups& groups, const std::vector<Parameter*>& parameters, const float* products,
                    std::vector<LayerFisher>& layers);

}  // namespace noisysgd
