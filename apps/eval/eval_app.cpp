#include <noisysgd/apps/eval/eval_app.h>

#include <noisysgd/apps/arguments.h>
#include <noisysgd/apps/console.h>
#include <noisysgd/apps/eval/logits.h>
#include <noisysgd/apps/eval/render.h>
#include <noisysgd/apps/program.h>
#include <noisysgd/core/file.h>

namespace noisysgd {

namespace {

std::filesystem::path absolute_path(const std::filesystem::path& path) {
  return std::filesystem::weakly_canonical(std::filesystem::absolute(path));
}

}  // namespace

int eval_main(int argc, char** argv, const Extensions& extensions) {
  CLI::App app("Evaluates the network in a checkpoint, which needs no configuration, or weights alone by --config.",
               "noisysgd-eval");
  EvaluationRequest request;
  std::string format = "text", weights;
  std::filesystem::path predictions, logits;
  add_path(app, "CHECKPOINT", request.source, "checkpoint, weights, or folder of a run: its last checkpoint")
      ->required();
  add_path(app, "--config", request.config, "of weights without metadata: the configuration of their network and data");
  app.add_option("--data", request.data,
                 "another data set of the same shape: its type, or {\"type\": …} as in a configuration");
  add_repeated(app, "--set", request.assignments,
               "path=value: changes data, evaluation or precision, as in --set data.root=FOLDER");
  app.add_option("--weights", weights, "last or average; the ones that training evaluates if not given")
      ->check(CLI::IsMember({"last", "average"}));
  app.add_option("--format", format, "text, markdown or json")->check(CLI::IsMember({"text", "markdown", "json"}));
  add_path(app, "--predictions", predictions, "CSV file to write: index, label, prediction, probability");
  add_path(app, "--logits", logits, "file to write: .npy, float32 [images, classes]; or .csv");
  app.add_option("--device", request.device, "auto, cpu, cuda or cuda:N");
  app.add_option("--threads", request.threads, "processor threads; 0: all")->transform(whole_number(0, most_threads));
  return run_program(app, argc, argv, [&] {
    if (!weights.empty()) request.weights = weights == "average" ? SavedWeights::average : SavedWeights::last;
    if (!predictions.empty()) check_replaceable(predictions, predictions_header, "a file of predictions");
    if (!logits.empty()) check_logits_file(logits);
    NSGD_CHECK(logits.empty() || predictions.empty() || absolute_path(logits) != absolute_path(predictions),
               "--logits and --predictions are one file, {}; expected two", logits.string());
    request.keeps_logits = !logits.empty();
    const Evaluation evaluation = evaluate_checkpoint(request, extensions);
    if (!predictions.empty()) write_predictions(predictions, evaluation);
    if (!logits.empty()) write_logits(logits, evaluation);
    print_out("{}", format == "json"       ? json_of(evaluation).dump(2) + "\n"
                    : format == "markdown" ? markdown_of(evaluation)
                                           : text_of(evaluation));
    return 0;
  });
}

}  // namespace noisysgd
