// The learning curves of groups of runs, as one figure for each logged quantity.
#pragma once

#include <string>
#include <vector>

#include <noisysgd/apps/analysis/figure.h>
#include <noisysgd/apps/report/sources.h>

namespace noisysgd {

enum class CurveAxis { epochs, steps };

struct CurveFigures {
  std::string title;  // "Learning curves", or the quantity that the figures show for each layer
  std::vector<Figure> figures;
};

// The axis that all groups can be drawn against: epochs, unless a run has not ended its first.
CurveAxis common_axis(const std::vector<RunGroup>& groups);

// Figures of the whole network first, then one list for every quantity that is logged per layer. A group with several
// runs is drawn as the mean with a band of one standard deviation, as far as all its runs go, and as single runs from
// there on. Long logs are averaged over neighbouring lines to at most `most_points` points.
std::vector<CurveFigures> learning_curves(const std::vector<RunGroup>& groups, CurveAxis axis,
                                          size_t most_points = 240);

}  // namespace noisysgd
