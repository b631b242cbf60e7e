// Reads the configuration of an experiment: the data, network, optimizer and noise of each regime. All problems of the
// document are reported at once, each with its JSON path.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <noisysgd/core/config.h>
#include <noisysgd/core/initialisation.h>
#include <noisysgd/core/json.h>
#include <noisysgd/data/registry.h>
#include <noisysgd/kernels/augment.h>
#include <noisysgd/layers/loss.h>
#include <noisysgd/layers/model.h>
#include <noisysgd/layers/registry.h>
#include <noisysgd/optim/batch_schedule.h>
#include <noisysgd/optim/learning_rate_scaling.h>
#include <noisysgd/optim/measurement.h>
#include <noisysgd/optim/noise/noise.h>
#include <noisysgd/optim/optimizer.h>
#include <noisysgd/optim/schedule.h>

namespace noisysgd {

// The types that a configuration can name. A program can add its own.
struct Extensions {
  LayerRegistry layers = LayerRegistry::builtin();
  NoiseRegistry noises = NoiseRegistry::builtin();
  OptimizerRegistry optimizers = OptimizerRegistry::builtin();
  ScheduleRegistry schedules = ScheduleRegistry::builtin();
  DatasetRegistry datasets = DatasetRegistry::builtin();
  LossRegistry losses = LossRegistry::builtin();
};

struct DataOptions {
  ConfiguredDataset dataset;
  kernels::AugmentOptions augment;
  // Per channel on the [0,1] scale; empty: mean and standard deviation of the training images.
  std::vector<double> mean, standard_deviation;

  // The set that a run is evaluated on.
  std::string evaluated_set() const { return dataset.selection().holdout > 0 ? "holdout" : "test"; }
};

struct BatchChange {
  int64_t epochs = 0;
  int64_t size = 0;
  std::optional<double> learning_rate;  // none: the optimizer's, scaled by its rule
};

struct BatchOptions {
  int64_t size = 128;
  std::optional<int64_t> micro;       // samples per forward and backward pass; none: the whole batch
  std::optional<int64_t> ghost_size;  // default of every batch_norm
  bool drop_last = false;             // leave out the incomplete last batch of an epoch
  std::vector<BatchChange> changes;   // other sizes for the first epochs, one after the other; `size` follows
};

// The keys of "model" that every network has: where its training starts, and what of it is trained.
struct ModelStart {
  std::string weights;                    // safetensors file with initial values; empty: none
  std::vector<std::string> skip_weights;  // globs of names in the file that are not loaded
  std::vector<std::string> freeze;        // globs of parameters that keep their values

  static ModelStart read(const ConfigReader& model);
};

// One regime: the base document with the regime's patch merged over it.
struct Regime {
  std::string name;
  std::string place;  // where it is configured, as messages write it: `runs.json` or `runs.json: regime "LB"`
  Json effective;                                           // with every default filled in; can rebuild the regime
  kernels::Precision precision = kernels::Precision::tf32;  // of a CUDA device
  DataOptions data;
  BatchOptions batch;
  int64_t epochs = 10;
  OptimizerOptions optimizer;
  std::optional<double> clip_norm;  // the mean gradient is scaled down to this norm before noise is added
  LearningRateScaling scaling;
  LearningRateSchedule schedule;
  std::optional<double> weight_average;            // decay of the averaged weights that are evaluated
  std::vector<InitialisationRule> initialisation;  // "init": replaces that of the layers
  FisherOptions fisher;
  Noise noise = Noise::none();  // as configured; each run builds its own
  std::shared_ptr<const Loss> loss;
  std::optional<double> expected_accuracy;  // "expect": published test accuracy, in percent; not part of `effective`
  int64_t evaluation_batch = 1000;
  int64_t log_every_steps = 10;
  bool logs(int64_t step) const { return (step + 1) % log_every_steps == 0; }
  int64_t checkpoint_every_epochs = 1;
  std::optional<int64_t> checkpoint_keep_every_epochs;  // none: later checkpoints replace it
  bool checkpoint_best = false;                         // keep that of the epoch with the best evaluation

  // Builds a new network for images of this shape, unbound and uninitialised. Throws ConfigError, also for what
  // model_start() reads.
  std::unique_ptr<Layer> build_network(const Extensions& extensions, const Shape& input, int64_t classes) const;
  ModelStart model_start() const;
  // Build the noise and the optimizer of one run, which keep its state.
  Noise build_noise(const Extensions& extensions) const;
  std::unique_ptr<Optimizer> build_optimizer(const Extensions& extensions) const;
  Measurements build_measurements() const;

  // The batches and base learning rates of all epochs of a run on `images` training images. coupling: the network's.
  BatchSchedule batch_schedule(int64_t images, const SampleCoupling& coupling = {}) const;
  // The number of steps that may draw noise or collect for it. They are the first steps of the run.
  int64_t noisy_steps(const BatchSchedule& schedule) const {
    return schedule.steps_of_first(noise.epochs_with_noise(epochs));
  }
};

// Runs `make`, which may find problems that only the data or the network show. Its Errors get the regime's place in
// front; a ConfigError contains it already.
template <class Make>
auto at_place(const Regime& regime, const Make& make) {
  try {
    return make();
  } catch (const ConfigError&) {
    throw;
  } catch (const Error& error) {
    throw Error(regime.place + ": " + error.what());
  }
}

struct Experiment {
  std::string name;
  std::string device = "auto";
  int threads = 0;
  std::vector<uint64_t> seeds;
  double budget = 1;  // fraction of the configured epochs to which the regimes are shortened
  std::vector<Regime> regimes;
  std::vector<std::string> columns;  // paths of values that the table shows for each regime
  Json document;                   // as given, with overrides applied
  std::vector<std::string> notes;  // about assignments that do not change all regimes
};

inline constexpr size_t most_regimes = 1000;

// The parts of read_experiment that ask for keys, of which apps/schema.h makes a schema. Problems are recorded in the
// reader. The keys of the whole experiment, but for "regimes"; those of a regime, but for its "model"; those of
// "model", where null is returned if the network could not be built.
Experiment read_experiment_keys(const ConfigReader& root);
Regime read_regime_keys(const ConfigReader& root, const Extensions& extensions);
std::unique_ptr<Layer> read_network(const ConfigReader& model, const LayerContext& at);

inline constexpr const char* schema_key = "$schema";  // for editors; ignored at the top of a document

// "seed" and "seeds" exclude each other: an assignment to one removes the other.
void keep_one_of_seed_and_seeds(Json& document, const std::string& assignment);

// True for a key that belongs to the experiment as a whole, not to its regimes.
bool is_experiment_key(const std::string& key);

// A file with `--set` assignments applied. Throws ConfigError; an assignment that changes no regime is an error.
struct GivenDocument {
  Json document;
  std::string origin;                           // the file
  std::vector<std::string> assignments, notes;  // notes: about assignments that do not change all regimes
  std::vector<std::string> problems = {};       // of the text, reported with those of the document: duplicate keys
};
GivenDocument read_document(const std::string& path, const std::vector<std::string>& assignments);

// Reads a whole document, or a file with `--set` assignments applied. Throws ConfigError with all problems. For a
// problem that an assignment causes, it says how to set the value for one regime.
Experiment read_experiment(const Json& document, const std::string& origin, const Extensions& extensions,
                           const std::vector<std::string>& assignments = {});
Experiment read_experiment(const GivenDocument& given, const Extensions& extensions);
Experiment read_experiment_file(const std::string& path, const std::vector<std::string>& assignments,
                                const Extensions& extensions);

}  // namespace noisysgd
