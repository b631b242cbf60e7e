// Kronecker-factored noise (Appendix D; Grosse & Martens 2016 for convolutions): eps = sqrt(kappa) L_G Z L_A^T with
// Z ~ N(0, I), covariance kappa A (x) G over each layer's weight and bias (as the weight of a constant input 1):
//   A = L_A L_A^T = (1/M) sum_n sum_t a a^T,  G = L_G L_G^T = (1/(M T)) sum_n sum_t delta delta^T
// Parameters of layers without factors (batch_norm) get the noise of diagonal_fisher. No matrix is inverted, so there
// is no damping; `jitter` is relative to the mean of the diagonal and only stabilises the Cholesky factorisation.
// `matrix_free`: eps = sqrt(kappa) L_G U, U = M^-1/2 sum_n sum_t r_nt a_nt^T with random signs r. This has the same
// covariance without forming A, which has a row and a column for each weight of a filter.
// Cost: A and G from products over the batch, every `refresh_every` steps, and their factorisation; matrix-free: G and
// one more weight-gradient pass.
#pragma once

#include <vector>

#include <noisysgd/optim/noise/structure.h>

namespace noisysgd {

struct KfacOptions {
  NoiseBatchSizes sizes;
  int64_t refresh_every = 1;
  double jitter = 1e-6;
  bool matrix_free = false;
};

class KfacNoise : public NoiseStructure {
 public:
  explicit KfacNoise(const KfacOptions& options) : options_(options) {}

  static std::unique_ptr<NoiseStructure> read(const ConfigReader& json);

  NoiseCapabilities capabilities() const override;
  bool acts_on(int64_t batch) const override { return options_.sizes.act_on(batch); }
  NoiseCollects collects(const NoiseBatch& batch, int64_t step) const override;
  void begin(Context& context, const ParameterSet& parameters) override;
  void visit_state(StateVisitor& visitor) const override;
  void prepare(const NoiseStep& step, std::span<kernels::NoiseField> fields) override;
  Tensor trace(const NoiseStep& step) const override;

 private:
  // Lower Cholesky factors of a layer's covariances, kept between refreshes.
  struct Roots {
    const KroneckerShape* shape = nullptr;
    Tensor input, output;  // [inputs,inputs], or undefined if matrix-free; [outputs,outputs]
  };
  const Roots& roots_of(const Parameter& parameter) const;
  void refresh(const NoiseStep& step) const;
  // The layer's Z, [outputs, inputs]: the same for its weight and its bias.
  Tensor draw(const NoiseStep& step, const KroneckerShape& shape) const;
  Tensor noise_of(const NoiseStep& step, const Parameter& parameter) const;

  std::vector<Roots> roots_;
  KfacOptions options_;
};

}  // namespace noisysgd
