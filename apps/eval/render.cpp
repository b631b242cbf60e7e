#include <noisysgd/apps/eval/render.h>

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include <noisysgd/apps/version.h>
#include <noisysgd/core/file.h>
#include <noisysgd/core/text_table.h>
#include <noisysgd/core/utf8.h>

namespace noisysgd {

namespace {

constexpr size_t columns = 80;  // of the terminal
constexpr int64_t most_shown = 20, most_confused = 10, largest_matrix = 1000;
constexpr size_t longest_class = 30;  // bytes

enum class Form { text, markdown };

const char* name_of(SavedWeights weights) { return weights == SavedWeights::average ? "average" : "last"; }

double fraction(int64_t part, int64_t whole) {
  return whole ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

std::string percent(double fraction) { return fmt::format("{:.2f} %", 100 * fraction); }

std::string of(int64_t part, int64_t whole) { return fmt::format("{} of {}", part, whole); }

// "3 cat", or "3" if the class has no name, in at most this number of bytes.
std::string class_of(const Evaluation& evaluation, int64_t label, size_t bytes = longest_class) {
  const std::string number = std::to_string(label);
  const std::string& name = evaluation.class_names[static_cast<size_t>(label)];
  return name == number ? number : shortened(fmt::format("{} {}", number, name), bytes);
}

// Five guesses of few classes say little.
bool shows_five(const Evaluation& evaluation) { return evaluation.scores.classes() > 10; }

std::string render(const TextTable& table, Form form) {
  return form == Form::text ? table.text() : table.markdown();
}

TextTable totals(const Evaluation& evaluation) {
  using enum TextTable::Align;
  const Scores& scores = evaluation.scores;
  TextTable table({"measure", "value", ""}, {left, right, left});
  const auto add_count = [&](const char* name, int64_t correct) {
    table.add_row({name, percent(fraction(correct, scores.images())), of(correct, scores.images())});
  };
  add_count("accuracy", scores.correct());
  if (shows_five(evaluation)) add_count("top-5 accuracy", scores.correct_of_five());
  table.add_row({"loss", fmt::format("{:.4f}", evaluation.loss), "mean over the images"});
  if (evaluation.probabilities)
    table.add_row({"calibration error", percent(scores.calibration_error()),
                   fmt::format("expected calibration error, {} bins", Scores::calibration_bins)});
  return table;
}

std::string classes(const Evaluation& evaluation, Form form) {
  const Scores& scores = evaluation.scores;
  std::vector<int64_t> shown(static_cast<size_t>(scores.classes()));
  std::iota(shown.begin(), shown.end(), int64_t{0});
  std::string title = "Classes";
  if (form == Form::text && scores.classes() > most_shown) {
    const auto accuracy = [&](int64_t k) { return fraction(scores.correct(k), scores.images(k)); };
    std::erase_if(shown, [&](int64_t k) { return scores.images(k) == 0; });
    std::ranges::stable_sort(shown, [&](int64_t a, int64_t b) { return accuracy(a) < accuracy(b); });
    shown.resize(std::min(shown.size(), static_cast<size_t>(most_confused)));
    title = fmt::format("The {} of {} classes with the lowest accuracy", shown.size(), scores.classes());
  }
  TextTable table({"class", "images", "correct", "accuracy %"});
  for (const int64_t k : shown)
    table.add_row({class_of(evaluation, k), std::to_string(scores.images(k)), std::to_string(scores.correct(k)),
                   scores.images(k) ? fmt::format("{:.2f}", 100 * fraction(scores.correct(k), scores.images(k))) : "–"});
  return fmt::format("{}:\n\n{}", title, render(table, form));
}

// Rows are labels, whose names are cut to this number of bytes; columns are predictions.
TextTable matrix(const Evaluation& evaluation, size_t bytes) {
  const Scores& scores = evaluation.scores;
  std::vector<std::string> header{"label"};
  for (int64_t k = 0; k < scores.classes(); ++k) header.push_back(std::to_string(k));
  TextTable table(std::move(header));
  for (int64_t label = 0; label < scores.classes(); ++label) {
    std::vector<std::string> row{class_of(evaluation, label, bytes)};
    for (int64_t k = 0; k < scores.classes(); ++k) row.push_back(std::to_string(scores.confused(label, k)));
    table.add_row(std::move(row));
  }
  return table;
}

size_t width_of(const std::string& text) {
  size_t widest = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    widest = std::max(widest, display_width(std::string_view(text).substr(begin, end - begin)));
    begin = end + 1;
  }
  return widest;
}

// The matrix, or where it is too wide the most frequent confusions.
std::string confusion(const Evaluation& evaluation, Form form) {
  const Scores& scores = evaluation.scores;
  if (scores.classes() <= most_shown) {
    std::string text = render(matrix(evaluation, longest_class), form);
    for (size_t bytes = longest_class; form == Form::text && width_of(text) > columns && bytes > 5; --bytes)
      text = matrix(evaluation, bytes - 1).text();  // shorter names may be enough
    if (form == Form::markdown || width_of(text) <= columns)
      return "Confusion matrix, images by label (rows) and prediction (columns):\n\n" + text;
  }
  const std::vector<Scores::Confusion> all = scores.confusions();
  const auto shown = std::min(all.size(), static_cast<size_t>(most_confused));
  using enum TextTable::Align;
  TextTable table({"label", "prediction", "images"}, {left, left, right});
  for (size_t i = 0; i < shown; ++i)
    table.add_row({class_of(evaluation, all[i].label), class_of(evaluation, all[i].predicted),
                   std::to_string(all[i].images)});
  return fmt::format("The {} most frequent of {} confusions:\n\n{}", shown, all.size(), render(table, form));
}

std::string report(const Evaluation& evaluation, Form form) {
  const std::string regime = evaluation.regime.empty() ? "" : fmt::format("regime {}, ", evaluation.regime);
  const std::string run = evaluation.of_run ? fmt::format("{}seed {}, step {}, {} weights: ", regime, evaluation.seed,
                                                          evaluation.step, name_of(evaluation.weights))
                                            : "";
  std::string text = fmt::format("{}{}{}{} {}\n\n", evaluation.checkpoint.string(), form == Form::text ? "\n" : ": ",
                                 run, evaluation.scores.images(), evaluation.images);
  return text + render(totals(evaluation), form) + "\n" + classes(evaluation, form) + "\n" +
         confusion(evaluation, form);
}

}  // namespace

std::string text_of(const Evaluation& evaluation) { return report(evaluation, Form::text); }
std::string markdown_of(const Evaluation& evaluation) { return report(evaluation, Form::markdown); }

Json json_of(const Evaluation& evaluation) {
  const Scores& scores = evaluation.scores;
  Json json{{"checkpoint", evaluation.checkpoint.string()},
            {"regime", evaluation.regime},
            {"seed", evaluation.of_run ? Json(evaluation.seed) : Json()},
            {"step", evaluation.of_run ? Json(evaluation.step) : Json()},
            {"weights", name_of(evaluation.weights)},
            {"data", evaluation.images},
            {"set", evaluation.set},
            {"images", scores.images()},
            {"correct", scores.correct()},
            {"accuracy", fraction(scores.correct(), scores.images())},
            {"loss", evaluation.loss}};
  if (shows_five(evaluation)) json["top5_accuracy"] = fraction(scores.correct_of_five(), scores.images());
  if (evaluation.probabilities) {
    json["calibration_error"] = scores.calibration_error();
    Json& bins = json["calibration_bins"] = Json::array();
    for (const Scores::Bin& bin : scores.bins())
      bins.push_back({{"images", bin.images},
                      {"accuracy", bin.images ? Json(fraction(bin.correct, bin.images)) : Json()},
                      {"probability", bin.images ? Json(bin.probability / static_cast<double>(bin.images)) : Json()}});
  }
  Json& classes = json["classes"] = Json::array();
  for (int64_t k = 0; k < scores.classes(); ++k)
    classes.push_back({{"name", evaluation.class_names[static_cast<size_t>(k)]},
                       {"images", scores.images(k)},
                       {"correct", scores.correct(k)}});
  if (scores.classes() <= largest_matrix) {
    Json& rows = json["confusion"] = Json::array();
    for (int64_t label = 0; label < scores.classes(); ++label) {
      Json& row = rows.emplace_back(Json::array());
      for (int64_t k = 0; k < scores.classes(); ++k) row.push_back(scores.confused(label, k));
    }
  }
  json["version"] = version();
  return json;
}

void write_predictions(const std::filesystem::path& path, const Evaluation& evaluation) {
  std::string text = std::string(predictions_header) + "\n";
  size_t index = 0;
  for (const Prediction& made : evaluation.scores.predictions())
    text += fmt::format("{},{},{},{}\n", index++, made.label, made.predicted,
                        evaluation.probabilities ? fmt::format("{:.6g}", made.probability) : "");
  write_file_atomically(path, text);
}

}  // namespace noisysgd
