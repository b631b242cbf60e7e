#include <noisysgd/apps/initial_values.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include <noisysgd/apps/run_folder.h>
#include <noisysgd/core/glob.h>
#include <noisysgd/core/safetensors.h>
#include <noisysgd/layers/registry.h>

namespace noisysgd {

namespace {

std::string some_of(const std::vector<std::string>& names) {
  constexpr size_t shown = 6;
  const std::vector<std::string> first(names.begin(),
                                       names.begin() + static_cast<int64_t>(std::min(names.size(), shown)));
  return fmt::format("{}{}", fmt::join(first, ", "),
                     names.size() > shown ? fmt::format(" and {} more", names.size() - shown) : "");
}

// Loads what a file has of a network.
class WeightsLoader : public StateVisitor {
 public:
  WeightsLoader(Context& context, const SafetensorsFile& file, const std::vector<std::string>& skip)
      : context_(context), file_(file), skip_(skip) {}

  void visit(const std::string& name, const Parameter& parameter, const Tensor& tensor) override {
    const std::vector<float> exported = read(name, parameter.exported_shape());
    if (exported.empty()) return;
    std::vector<float> internal(exported.size());
    from_exported_layout(parameter, exported.data(), internal.data());
    copy_from_host<float>(context_, internal, tensor);
  }
  void visit(const std::string& name, const Tensor& tensor) override {
    const std::vector<float> values = read(name, tensor.shape());
    if (!values.empty()) copy_from_host<float>(context_, values, tensor);
  }

  WeightsNote finish() const {
    const std::string path = file_.path().string();
    NSGD_CHECK(misshapen_.empty(), "{}: {}; model.skip_weights leaves tensors out", path, some_of(misshapen_));
    for (const std::string& glob : skip_)
      NSGD_CHECK(matches_some(glob), "model.skip_weights: \"{}\" matches no tensor of {}, which has {}", glob, path,
                 some_of(names_of_file()));
    NSGD_CHECK(!loaded_.empty() || skipped_.empty(),
               "{}: model.skip_weights leaves out every tensor that the network has", path);
    NSGD_CHECK(!loaded_.empty(), "{}: holds none of the network's tensors (it has {}; the network has {})", path,
               some_of(unused()), some_of(missing_));
    WeightsNote note = fmt::format("model.weights: {}: {} tensors loaded", path, loaded_.size());
    if (!missing_.empty()) note += fmt::format("; not there, so initialised: {}", some_of(missing_));
    if (!skipped_.empty()) note += fmt::format("; skipped, so initialised: {}", some_of(skipped_));
    if (const auto names = unused(); !names.empty()) note += fmt::format("; not used: {}", some_of(names));
    return note;
  }

 private:
  bool is_skipped(const std::string& name) const {
    return std::ranges::any_of(skip_, [&](const std::string& glob) { return matches_glob(glob, name); });
  }

  std::vector<std::string> names_of_file() const {
    std::vector<std::string> names;
    for (const auto& entry : file_.entries()) names.push_back(entry.name);
    return names;
  }

  // Of the file or of the network: a glob may name what only the network has.
  bool matches_some(const std::string& glob) const {
    const auto matches = [&](const std::string& name) { return matches_glob(glob, name); };
    return std::ranges::any_of(names_of_file(), matches) || std::ranges::any_of(missing_, matches);
  }

  // Empty if the file has no such tensor.
  std::vector<float> read(const std::string& name, const Shape& shape) {
    if (!file_.contains(name) || is_skipped(name)) {
      (file_.contains(name) ? skipped_ : missing_).push_back(name);
      return {};
    }
    const SafetensorsFile::Entry& entry = file_.entry(name);
    if (entry.shape != shape.extents()) {
      misshapen_.push_back(
          fmt::format("\"{}\" has shape {}, expected {}", name, Shape(entry.shape).text(), shape.text()));
      return {};
    }
    NSGD_CHECK(entry.type == StoredType::f32 || entry.type == StoredType::f64,
               "{}: \"{}\" has type {}, expected F32 or F64", file_.path().string(), name, name_of(entry.type));
    std::vector<float> values;
    if (entry.type == StoredType::f32) {
      values = file_.values<float>(name);
    } else {
      for (const double value : file_.values<double>(name)) values.push_back(static_cast<float>(value));
    }
    NSGD_CHECK(std::ranges::all_of(values, [](float value) { return std::isfinite(value); }),
               "{}: \"{}\" holds values that are not finite", file_.path().string(), name);
    loaded_.insert(name);
    return values;
  }

  // Without what the file holds beside a network: PyTorch's counters, and the rest of a training state.
  std::vector<std::string> unused() const {
    std::vector<std::string> names;
    for (const auto& [name, type, shape, begin, bytes] : file_.entries()) {
      const std::string scope = name.substr(0, name.find('.'));
      const bool of_training = std::ranges::find(checkpoint_scopes, scope) != std::end(checkpoint_scopes);
      if (!loaded_.contains(name) && !of_training && !name.ends_with("num_batches_tracked") && !is_skipped(name))
        names.push_back(name);
    }
    return names;
  }

  Context& context_;
  const SafetensorsFile& file_;
  const std::vector<std::string>& skip_;
  std::set<std::string> loaded_;
  std::vector<std::string> missing_, skipped_, misshapen_;  // skipped_: the file has them
};

WeightsNote load(Model& model, const ModelStart& start) {
  try {
    const SafetensorsFile file(checkpoint_of(start.weights));
    WeightsLoader loader(model.context(), file, start.skip_weights);
    model.visit_state(loader);
    return loader.finish();
  } catch (const Error& error) {
    throw Error(fmt::format("model.weights: {}", error.what()));
  }
}

}  // namespace

WeightsNote set_initial_values(Model& model, const Regime& regime, uint64_t seed) {
  model.parameter_set().initialise(seed);
  const ModelStart start = regime.model_start();
  if (start.weights.empty()) return {};
  return at_place(regime, [&] { return load(model, start); });
}

void check_initial_values(Model& model, const Regime& regime) {
  if (!regime.model_start().weights.empty()) set_initial_values(model, regime, 1);
}

}  // namespace noisysgd
