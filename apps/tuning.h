// Chooses values of a configuration. The points of every regime with a "tune" are trained on part of the training
// images and evaluated on the rest, by successive halving: a short rung has all points of a regime, and each later rung
// the best of the one before, on `halving` times the budget.
//
// A point is trained anew in each rung. A budget shortens the whole schedule, so the checkpoint of a shorter run
// belongs to another schedule and cannot be continued. Each rung is a suite of its own (apps/suite.h), in
// OUTPUT/tuning/rung-N, so it can be resumed and shared by several programs.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <noisysgd/apps/experiment.h>
#include <noisysgd/apps/interrupt.h>
#include <noisysgd/apps/progress.h>
#include <noisysgd/apps/search.h>
#include <noisysgd/apps/spread.h>
#include <noisysgd/apps/work_left.h>

namespace noisysgd {

// "tuning" of a configuration.
struct TuningOptions {
  int64_t holdout = 0;  // training images to evaluate on, and not to train on
  double budget = 0.1;  // of the last rung, as a fraction of the protocol
  std::vector<uint64_t> seeds{1};
  int64_t halving = 3;
};

// The result of a point in one rung, over the seeds of the tuning. A point has diverged if one of its runs has.
struct Trial {
  Spread accuracy;
  bool diverged = false;
};

struct TunedPoint {
  Point values;
  std::map<size_t, Trial> trials;  // by rung, from 0
};

struct TunedRegime {
  std::string name;
  Json document;                   // without "tune"
  std::vector<TunedPoint> points;  // none: nothing is chosen
  int64_t epochs = 0;              // of the first point, without a budget; 0: no points
  size_t first_rung = 0;           // all regimes end in the last rung, and those with fewer points begin later
  std::set<std::string> drawn = {};  // paths whose values are drawn from a range

  // How many points a rung trains if none of the rung before has diverged.
  int64_t count_in(size_t rung, int64_t halving) const;
  // Indices of the points that a rung trains. Points of earlier rungs need their trials.
  std::vector<size_t> points_of(size_t rung, int64_t halving) const;
  // Of the points that did not diverge, the best of the latest rung. None: every point diverged.
  std::optional<size_t> best() const;
  // Indices of the other points that are as good as the best.
  std::vector<size_t> ties() const;
  // The sentences that say where a value of the best point is the smallest or the largest of those tried, with what may
  // help. None where a point that is as good has another value.
  std::vector<std::string> edges() const;
};

struct Tuning {
  std::string origin;
  Json head;  // the keys of the whole experiment
  TuningOptions options;
  std::vector<TunedRegime> regimes;  // in the order of the configuration
  size_t rungs = 1;
  std::vector<std::string> notes = {};  // about trials, for the plan and the table

  double budget(size_t rung) const;  // as a fraction of the protocol
  // The protocol with one point of each regime, which the table shows: the first, or the best. For the best, throws
  // Error that names a regime of which every point diverged.
  Json first_document() const;
  Json chosen_document() const;
  std::string name() const;

  // The epochs of a regime's points in a rung.
  int64_t epochs(const TunedRegime& regime, size_t rung) const;
};

// Reads a configuration with "tune" and "tuning" and checks every point. Throws ConfigError.
Tuning read_tuning(const GivenDocument& given, const Extensions& extensions);

// The schemas of "tune" and "tuning" (core/config_schema.h), by key.
Json tuning_schemas();

// The trials of a rung as a suite: regimes[i] of the experiment is points[i].
struct Rung {
  struct Place {
    size_t regime, point;
  };
  Experiment experiment;
  std::vector<Place> points;
};
Rung rung_of(const Tuning& tuning, size_t rung, const Extensions& extensions);
// Every point that may come into a rung, for checks before the first: regimes[i] of the experiment is points[i].
Rung all_points(const Tuning& tuning, size_t rung, const Extensions& extensions);

// The plan as text: the rungs with their budgets, points and epochs, and the values that each regime tries.
std::string tuning_plan(const Tuning& tuning);

// The table of all points, and what is chosen so far.
std::string tuning_markdown(const Tuning& tuning);
std::string tuning_choices(const Tuning& tuning);
Json tuning_json(const Tuning& tuning);

struct TuningRequest {
  const Json& document;  // the configuration, kept in the folder
  const Extensions& extensions;
  std::filesystem::path folder;  // of the suite that follows
  Progress::Mode progress = Progress::Mode::lines;
  Interrupts* interrupts = nullptr;
  // For the time left: training images of each regime, without those held out, and what is to be done. Empty, null:
  // none.
  std::vector<int64_t> images = {};
  WorkLeft* work = nullptr;
};

// True if the folder of a suite holds the tuning of this configuration.
bool holds_tuning_of(const Json& document, const std::filesystem::path& suite);

// Trains all rungs, waiting where other programs are at work on one, writes tuning.md and tuning.json after each, and
// returns false as soon as it is interrupted. Throws Error for a folder that holds something else, and as train_all.
bool tune(Context& context, Tuning& tuning, const TuningRequest& request);

}  // namespace noisysgd
