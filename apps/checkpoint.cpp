#include "apps/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <deque>

#include "core/safetensors.h"

namespace noisysgd {

namespace {

constexpr const char* momentum_prefix = "momentum.";
constexpr const char* average_prefix = "average.";

bool all_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

void read(const SafetensorsFile& file, const std::string& name, const Shape& shape, std::span<float> values) {
  file.read(name, StoredType::f32, shape.extents(), std::as_writable_bytes(values));
  NSGD_CHECK(all_finite(values), "{}: tensor \"{}\" holds values that are not finite", file.path().string(), name);
}

void load(Context& context, const SafetensorsFile& file, const std::string& name, const Parameter& parameter,
          const Tensor& destination) {
  std::vector<float> exported(static_cast<size_t>(parameter.shape.elements())), internal(exported.size());
  read(file, name, parameter.exported_shape(), exported);
  from_exported_layout(parameter, exported.data(), internal.data());
  copy_from_host<float>(context, internal, destination);
}

void load(Context& context, const SafetensorsFile& file, const std::string& name, const Shape& shape,
          const Tensor& destination) {
  std::vector<float> values(static_cast<size_t>(shape.elements()));
  read(file, name, shape, values);
  copy_from_host<float>(context, values, destination);
}

void load_values(const SafetensorsFile& file, Model& model) {
  Context& context = model.context();
  for (const Parameter* parameter : model.parameters())
    load(context, file, parameter->name, *parameter, parameter->value);
  for (const Buffer* buffer : model.buffers()) load(context, file, buffer->name, buffer->shape, buffer->value);
}

// What the noise keeps from step to step, by the name it has in the file.
std::vector<std::pair<std::string, Tensor>> noise_state(const Model& model) {
  std::vector<std::pair<std::string, Tensor>> state;
  for (const Parameter* parameter : model.parameters()) {
    if (parameter->fisher_average.defined()) state.emplace_back("fisher." + parameter->name, parameter->fisher_average);
    const KroneckerFactors* factors = parameter->kronecker;
    if (!factors || factors->weight != parameter || !factors->output_root.defined()) continue;
    if (factors->input_root.defined()) state.emplace_back("kfac.input." + parameter->name, factors->input_root);
    state.emplace_back("kfac.output." + parameter->name, factors->output_root);
  }
  return state;
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const Model& model, const WeightAverage* average,
                     const Json& state) {
  std::deque<std::vector<float>> exported;  // a deque: what it holds does not move
  std::vector<StoredTensor> tensors;
  const auto store = [&](std::string name, const Shape& shape) {
    if (!all_finite(exported.back())) throw NonfiniteTensor(fmt::format("tensor '{}'", name));
    tensors.push_back(stored_tensor<float>(std::move(name), shape.extents(), exported.back()));
  };
  const auto add = [&](std::string name, const Parameter& parameter, const Tensor& tensor) {
    exported.emplace_back(static_cast<size_t>(tensor.elements()));
    to_exported_layout(parameter, to_host<float>(model.context(), tensor).data(), exported.back().data());
    store(std::move(name), parameter.exported_shape());
  };
  const auto add_buffer = [&](std::string name, const Tensor& tensor) {
    exported.push_back(to_host<float>(model.context(), tensor));
    store(std::move(name), tensor.shape());
  };
  for (const Parameter* parameter : model.parameters()) add(parameter->name, *parameter, parameter->value);
  for (const Buffer* buffer : model.buffers()) add_buffer(buffer->name, buffer->value);
  for (const Parameter* parameter : model.parameters())
    add(momentum_prefix + parameter->name, *parameter, parameter->velocity);
  for (size_t i = 0; average && i < model.parameters().size(); ++i)
    add(average_prefix + model.parameters()[i]->name, *model.parameters()[i], average->averages()[i]);
  for (size_t i = 0; average && i < model.buffers().size(); ++i)
    add_buffer(average_prefix + model.buffers()[i]->name, average->buffer_averages()[i]);
  for (const auto& [name, tensor] : noise_state(model)) add_buffer(name, tensor);  // no other program reads them
  write_safetensors(path, tensors, {{"format", "pt"}, {"state", state.dump()}, {"version", NSGD_VERSION}});
}

Json load_checkpoint(const std::filesystem::path& path, Model& model, WeightAverage* average) {
  const SafetensorsFile file(path);
  const auto state = file.metadata().find("state");
  NSGD_CHECK(state != file.metadata().end(), "{}: holds no training state", path.string());
  load_values(file, model);
  Context& context = model.context();
  for (const Parameter* parameter : model.parameters())
    load(context, file, momentum_prefix + parameter->name, *parameter, parameter->velocity);
  for (size_t i = 0; average && i < model.parameters().size(); ++i)
    load(context, file, average_prefix + model.parameters()[i]->name, *model.parameters()[i], average->averages()[i]);
  for (size_t i = 0; average && i < model.buffers().size(); ++i)
    load(context, file, average_prefix + model.buffers()[i]->name, model.buffers()[i]->shape,
         average->buffer_averages()[i]);
  for (const auto& [name, tensor] : noise_state(model)) load(context, file, name, tensor.shape(), tensor);
  return parse_json(state->second, path.string());
}

void load_weights(const std::filesystem::path& path, Model& model) { load_values(SafetensorsFile(path), model); }

}  // namespace noisysgd
