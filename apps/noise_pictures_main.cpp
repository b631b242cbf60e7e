// noisysgd-noise-pictures: draws every noise structure on a problem of two parameters, one SVG each, for docs/noise.md.
// The network is a 1x2 convolution of one channel over 1x4 images; its three outputs are the logits of three classes.
#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <noisysgd/apps/analysis/figure.h>
#include <noisysgd/apps/arguments.h>
#include <noisysgd/apps/console.h>
#include <noisysgd/apps/program.h>
#include <noisysgd/core/file.h>
#include <noisysgd/core/json.h>
#include <noisysgd/kernels/random.h>
#include <noisysgd/layers/registry.h>
#include <noisysgd/optim/sgd.h>
#include <noisysgd/optim/step.h>

namespace {

using namespace noisysgd;

constexpr int64_t samples = 64, classes = 3;
constexpr int shown = 300, draws = 4000;

class Problem {
 public:
  Problem() : model_(context_, build(), classes) {
    model_.parameter_set().initialise(1);
    model_.parameters()[0]->value.f32()[0] = 0.8f;
    model_.parameters()[0]->value.f32()[1] = -0.4f;
    batch_.images = Tensor(context_, {samples, 1, 4, 1});
    batch_.labels = Tensor(context_, {samples}, DType::i32);
    const RandomStream stream{3, 0, 0, RandomPurpose::synthetic_data};
    kernels::random_normal(context_.queue, 4 * samples, 0.0f, 1.0f, stream, batch_.images.f32());
    // Neighbouring pixels are correlated, so the gradients of the two weights are correlated.
    for (int64_t i = 4 * samples - 1; i > 0; --i)
      batch_.images.f32()[i] = 0.9f * batch_.images.f32()[i] + 0.7f * batch_.images.f32()[i - 1];
    for (int64_t n = 0; n < samples; ++n)
      batch_.labels.data<int32_t>()[n] = static_cast<int32_t>(random_word({3, 1, 0, stream.purpose}, n) % classes);
  }

  // Returns draws of the noise, each in a step of its own.
  std::vector<std::array<double, 2>> draw(const Json& json) {
    Config config(json, "noise");
    Noise noise = Noise::read(config.root(), NoiseRegistry::builtin());
    config.finish();
    Sgd sgd;
    Step step(context_, model_, noise, sgd, nullptr, {.seed = 5, .keep_gradient = true});
    step.begin_noise();
    const BatchSource source = [&](const StepNumbers&, int64_t, int64_t) { return batch_; };
    std::vector<std::array<double, 2>> points;
    for (uint32_t number = 0; number < draws; ++number) {
      const StepRecipe recipe = step.recipe({.values = {.step = number}, .samples = samples, .noise = true});
      step.accumulate(recipe, source, {}, {}, number);
      const auto drawn = step.draw_noise(recipe, number);
      points.push_back({drawn[0].f32()[0], drawn[0].f32()[1]});
    }
    return points;
  }

 private:
  static std::unique_ptr<Layer> build() {
    Config config(Json{{"model",
                        {{"type", "sequential"},
                         {"layers",
                          {{{"type", "conv2d"}, {"out_channels", 1}, {"kernel", {1, 2}}, {"bias", false}},
                           {{"type", "flatten"}}}}}}},
                  "model");
    const LayerRegistry layers = LayerRegistry::builtin();
    auto network = layers.build(config.root().object("model"), {layers, "", {1, 4, 1}, classes, {}});
    config.finish();
    return network;
  }

  Context context_{{}, 1};
  Model model_;
  Batch batch_;
};

// Of points with mean 0.
Covariance2d covariance_of(const std::vector<std::array<double, 2>>& points) {
  Covariance2d c;
  const double weight = 1.0 / static_cast<double>(points.size());
  for (const auto& [x, y] : points) {
    c.xx += weight * x * x;
    c.xy += weight * x * y;
    c.yy += weight * y * y;
  }
  return c;
}

std::string picture(const std::string& name, const std::vector<std::array<double, 2>>& points,
                    const Covariance2d& fisher, double extent) {
  Series cloud{"draws", {}, {}}, reference = ellipse("full_fisher", {0, 0}, fisher);
  cloud.style = SeriesStyle::points;
  for (size_t i = 0; i < shown; ++i) {
    cloud.x.push_back(points[i][0]);
    cloud.y.push_back(points[i][1]);
  }
  reference.style = SeriesStyle::closed_dashed;
  reference.colour = 6;
  const auto axis = [&](const char* label) { return Axis{label, "", false, std::pair{-extent, extent}}; };
  const Panel panel{
      name, axis("ε₁"), axis("ε₂"), {cloud, ellipse("covariance", {0, 0}, covariance_of(points)), reference}, true};
  const std::optional<std::string> svg = draw_figure({"", {panel}, 1, false, false}, PictureFormat::svg);
  NSGD_CHECK(svg, "{}", gnuplot_missing);
  return *svg;
}

int draw_pictures(const std::string& folder) {
  const auto with_small_batch = [](const char* type) { return Json{{"type", type}, {"small_batch", 8}}; };
  const std::map<std::string, Json> structures{
      {"isotropic", {{"type", "isotropic"}, {"sigma", 1}, {"match_trace", 8}}},
      {"diagonal_fisher", with_small_batch("diagonal_fisher")},
      {"full_fisher", with_small_batch("full_fisher")},
      {"block_fisher", with_small_batch("block_fisher")},
      {"unit_fisher", with_small_batch("unit_fisher")},
      {"position_fisher", with_small_batch("position_fisher")},
      {"kfac", with_small_batch("kfac")},
      {"fisher_trace", with_small_batch("fisher_trace")},
      {"multiplicative", {{"type", "multiplicative"}, {"sigma", 1}, {"match_trace", 8}}},
      {"label", with_small_batch("label")}};
  make_folder(folder);
  Problem problem;
  const Covariance2d fisher = covariance_of(problem.draw(structures.at("full_fisher")));
  const double extent = 3.5 * std::sqrt(std::max(fisher.xx, fisher.yy));
  for (const auto& [name, json] : structures) {
    const auto points = problem.draw(json);
    const Covariance2d c = covariance_of(points);
    write_file_atomically(std::filesystem::path(folder) / (name + ".svg"), picture(name, points, fisher, extent));
    print_out("{:16} covariance {:.5f} {:.5f} {:.5f}\n", name, c.xx, c.xy, c.yy);
  }
  print_out("written to {}\n", folder);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Draws every noise structure on a problem of two parameters", "noisysgd-noise-pictures"};
  std::string folder = "docs/noise";
  noisysgd::add_path(app, "--output", folder, "Folder of the pictures")->capture_default_str();
  return noisysgd::run_program(app, argc, argv, [&] { return draw_pictures(folder); });
}
