// An evaluation as text for a terminal of 80 columns, as Markdown, as JSON, and its predictions as CSV.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <noisysgd/apps/eval/evaluation.h>
#include <noisysgd/core/json.h>

namespace noisysgd {

// Classes of which there are more than 20, and a confusion matrix that is too wide, are shown by their worst ten.
std::string text_of(const Evaluation& evaluation);
std::string markdown_of(const Evaluation& evaluation);
// Everything, except the confusion matrix of more than 1000 classes.
Json json_of(const Evaluation& evaluation);

inline constexpr std::string_view predictions_header = "index,label,prediction,probability";

// Columns: index (in the stored order of the images), label, prediction, probability (empty if the loss defines none).
// The file appears when it is complete.
void write_predictions(const std::filesystem::path& path, const Evaluation& evaluation);

}  // namespace noisysgd
