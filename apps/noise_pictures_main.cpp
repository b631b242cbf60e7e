// noisysgd-noise-pictures: draws every noise structure on a problem of two parameters, one SVG each, for docs/noise.md.
// The network is a 1x2 convolution of one channel over 1x4 images; its three outputs are the logits of three classes.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <numbers>
#include <string>
#include <vector>

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

struct Moments {  // of two coordinates with mean 0
  double xx = 0, xy = 0, yy = 0;
  void add(double x, double y, double weight) {
    xx += weight * x * x;
    xy += weight * x * y;
    yy += weight * y * y;
  }
};

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

Moments moments(const std::vector<std::array<double, 2>>& points) {
  Moments m;
  for (const auto& [x, y] : points) m.add(x, y, 1.0 / static_cast<double>(points.size()));
  return m;
}

// The ellipse at two standard deviations, in a picture of 220 x 220 pixels that spans 2 extent in each direction.
std::string ellipse(const Moments& m, double extent, const std::string& style) {
  const double mean = (m.xx + m.yy) / 2, half = std::hypot((m.xx - m.yy) / 2, m.xy), scale = 110 / extent;
  const double angle = 0.5 * std::atan2(2 * m.xy, m.xx - m.yy) * 180 / std::numbers::pi;
  return fmt::format("<ellipse rx=\"{:.1f}\" ry=\"{:.1f}\" transform=\"rotate({:.1f})\" {}/>\n",
                     2 * std::sqrt(mean + half) * scale, 2 * std::sqrt(std::max(0.0, mean - half)) * scale, -angle,
                     style);
}

std::string picture(const std::vector<std::array<double, 2>>& points, const Moments& fisher, double extent) {
  std::string svg =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"220\" height=\"220\" viewBox=\"-110 -110 220 220\">\n"
      "<rect x=\"-110\" y=\"-110\" width=\"220\" height=\"220\" fill=\"white\"/>\n"
      "<path d=\"M-110 0H110M0-110V110\" stroke=\"#ccc\"/>\n<g fill=\"#4878a8\" fill-opacity=\"0.45\">\n";
  for (size_t i = 0; i < shown; ++i)
    svg += fmt::format("<circle r=\"1.3\" cx=\"{:.1f}\" cy=\"{:.1f}\"/>\n", points[i][0] / extent * 110,
                       -points[i][1] / extent * 110);
  svg += "</g>\n<g fill=\"none\" stroke-width=\"1.5\">\n";
  svg += ellipse(fisher, extent, "stroke=\"#888\" stroke-dasharray=\"4 3\"");
  svg += ellipse(moments(points), extent, "stroke=\"#c03020\"");
  return svg + "</g>\n</svg>\n";
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
  const Moments fisher = moments(problem.draw(structures.at("full_fisher")));
  const double extent = 3.5 * std::sqrt(std::max(fisher.xx, fisher.yy));
  for (const auto& [name, json] : structures) {
    const auto points = problem.draw(json);
    const Moments m = moments(points);
    write_file_atomically(std::filesystem::path(folder) / (name + ".svg"), picture(points, fisher, extent));
    print_out("{:16} covariance {:.5f} {:.5f} {:.5f}\n", name, m.xx, m.xy, m.yy);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Draws every noise structure on a problem of two parameters", "noisysgd-noise-pictures"};
  app.set_version_flag("--version", NSGD_VERSION);
  std::string folder = "docs/noise";
  noisysgd::add_path(app, "--output", folder, "Folder of the pictures")->capture_default_str();
  return noisysgd::run_program(app, argc, argv, [&] { return draw_pictures(folder); });
}
