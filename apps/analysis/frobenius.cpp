#include <noisysgd/apps/analysis/frobenius.h>

#include <fmt/format.h>

#include <cmath>

#include <noisysgd/apps/analysis/fisher_norms.h>
#include <noisysgd/apps/analysis/frozen_network.h>
#include <noisysgd/apps/analysis/over_seeds.h>

namespace noisysgd {

namespace {

// A norm whose square was estimated without bias; the estimate may be below 0.
double root(double squared) { return squared > 0 ? std::sqrt(squared) : NAN; }

}  // namespace

// Of one regime, over its seeds.
struct Frobenius::Course {
  OverSeeds full, diagonal, full_population, diagonal_population, draws, rank;
};

std::unique_ptr<Analysis> Frobenius::read(const AnalysisInput& input) {
  std::unique_ptr<Frobenius> analysis(new Frobenius(AnalysedRuns::read(input)));
  analysis->samples_ = input.json.integer("samples", {.default_value = 512, .at_least = 2});
  analysis->draws_ = input.json.integer("draws", {.default_value = 32, .at_least = 0, .at_most = 10'000});
  if (analysis->draws_ == 1 || analysis->draws_ == 2)
    input.json.error("draws", "expected 0, or 3 or more, whose pairs give an error");
  return analysis;
}

void Frobenius::measure(const SuiteRun& run, Course& course, AnalysisOutput& output) {
  FrozenNetwork network(runs_, run.regime);
  const BatchSchedule schedule =
      run.regime.batch_schedule(network.training_images(), network.model().coupling());
  const Batch batch = network.batch(samples_, run.seed, 0);
  const int64_t small_batch = std::max<int64_t>(1, batch.size() / 2);
  const FisherOptions& fisher = run.regime.fisher;
  for (const RunState& state : runs_.states(run, schedule)) {
    network.set(run.seed, state);
    const auto x = static_cast<double>(state.step);
    FisherNorms norms;
    {
      const Tensor rows = sample_gradients(
          network.model(), batch,
          {.labels = fisher.labels, .seed = run.seed, .pass = network.pass_of(batch.size())});
      norms = fisher_norms(network.context(), rows);
    }
    course.full.add(x, norms.norm);
    course.diagonal.add(x, norms.diagonal_norm);
    course.full_population.add(x, root(norms.population_norm_squared));
    course.diagonal_population.add(x, root(norms.population_diagonal_norm_squared));
    course.rank.add(x, norms.effective_rank);
    std::string drawn;
    if (draws_ > 0) {
      network.set(run.seed, state);  // the passes have moved the running statistics
      StepGradients gradients(network, run.seed, {{"type", "full_fisher"}, {"small_batch", small_batch}});
      std::vector<std::vector<float>> draws;
      for (int64_t draw = 0; draw < draws_; ++draw) {
        gradients.take(batch, static_cast<uint32_t>(draw));
        draws.push_back(gradients.noise());
      }
      const NormFromDraws estimate =
          norm_from_draws(network.context(), draws, noise_kappa(batch.size(), small_batch));
      course.draws.add(x, root(estimate.squared));
      drawn = fmt::format(", by {} draws {:.4g} ± {:.2g}", draws_, root(estimate.squared),
                          estimate.standard_error / (2 * root(estimate.squared)));
    }
    output.line(fmt::format("{}, step {}:\n  ‖F‖ {:.4g}{}\n  ‖diag F‖ {:.4g}, tr F {:.4g}, effective rank {:.1f}",
                            label_of(run), state.step, norms.norm, drawn, norms.diagonal_norm, norms.trace,
                            norms.effective_rank));
  }
}

void Frobenius::run(AnalysisOutput& output) {
  for (const Regime& regime : runs_.experiment().regimes)
    if (const int64_t images = runs_.data(regime)->sets.train.count; samples_ > images)
      throw Error(fmt::format("analysis.samples: {}, but {} has {} training images", samples_, label_of(regime), images));
  std::vector<std::pair<std::string, Course>> courses;
  for (const SuiteRun& run : runs_.make(output)) {
    if (courses.empty() || courses.back().first != run.regime.name) courses.push_back({run.regime.name, {}});
    measure(run, courses.back().second, output);
  }
  Figure norms{.title = "Frobenius norms of the Fisher matrix", .panels = {}};
  Figure rank{.title = "Effective rank of the Fisher matrix",
              .panels = {{"", {"parameter updates"}, {"(tr F)² / ‖F‖²", "", true}, {}}}};
  for (const auto& [regime, course] : courses) {
    Panel panel{regime, {"parameter updates"}, {"Frobenius norm", "", true}, {}};
    Series full = course.full.series("full Fisher"), diagonal = course.diagonal.series("diagonal Fisher"),
           full_population = course.full_population.series("full, unbiased", SeriesStyle::dashed),
           diagonal_population = course.diagonal_population.series("diagonal, unbiased", SeriesStyle::dashed);
    full.colour = full_population.colour = 0;
    diagonal.colour = diagonal_population.colour = 1;
    panel.series = {full, diagonal, full_population, diagonal_population};
    if (!course.draws.empty()) {
      panel.series.push_back(course.draws.series("full, by draws", SeriesStyle::marker));
      panel.series.back().colour = 2;
    }
    const std::string prefix = regime.empty() ? "" : regime + ": ";
    for (const auto& [name, series] : {std::pair{"‖F‖", &full}, {"‖diag F‖", &diagonal}}) {
      output.number(fmt::format("{}{} at the start", prefix, name), series->y.front());
      output.number(fmt::format("{}{} in the end", prefix, name), series->y.back());
    }
    norms.panels.push_back(std::move(panel));
    rank.panels[0].series.push_back(course.rank.series(regime.empty() ? "effective rank" : regime));
  }
  output.figure("frobenius", norms);
  output.figure("effective_rank", rank);
}

}  // namespace noisysgd
