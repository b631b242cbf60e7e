// What log lines say of a step beside loss, accuracy and norms. A measurement names what the passes of a measured step
// collect, may give them sinks and passes of its own, and leaves numbers on the device. When the host has read them, it
// makes fields of a log line of them.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include <noisysgd/core/config.h>
#include <noisysgd/core/json_fwd.h>
#include <noisysgd/layers/model.h>
#include <noisysgd/optim/fisher.h>

namespace noisysgd {

// The work of a measurement in one step, from the first pass to the last.
class StepMeasurement {
 public:
  virtual ~StepMeasurement() = default;
  // The end of a pass over samples [begin, end) of the batch, if it must be shorter.
  virtual int64_t end_of_pass(int64_t, int64_t end) const { return end; }
  // Called before a pass that begins at this sample. May set sinks of the job of the loss's own gradient, and add jobs.
  virtual void begin_pass(int64_t, BackwardJob&, std::vector<BackwardJob>&) {}
  virtual void end_pass(int64_t) {}
  // Called when the sums of the step are complete. Issues the ops that compute results().
  virtual void end() = 0;
};

class Measurement {
 public:
  virtual ~Measurement() = default;
  // Allocates its results, and the blocks of `sums` that its steps need. Throws Error for a network that it does not
  // apply to. The model must outlive it.
  virtual void begin(Context& context, Model& model, const FisherOptions& fisher, Sums& sums) = 0;
  // What the passes of a measured step collect at the labels of the Fisher matrix.
  virtual void collect(const FisherOptions&, Statistics&) const {}
  // sums: of the step; must outlive the returned object.
  virtual std::unique_ptr<StepMeasurement> begin_step(const Sums& sums, int64_t samples) = 0;
  // The tensors that a measured step writes.
  virtual std::vector<Tensor> results() const = 0;
  // Adds fields to a line of metrics.jsonl. copies[i]: the host's copy of results()[i].
  virtual void write(std::span<const void* const> copies, int64_t samples, Json& fields) const = 0;
};

using Measurements = std::vector<std::shared_ptr<Measurement>>;

// Those that the keys of "logging" ask for.
Measurements read_measurements(const ConfigReader& json);

}  // namespace noisysgd
