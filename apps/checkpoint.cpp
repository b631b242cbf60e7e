#include "apps/checkpoint.h"

#include <deque>

#include "core/safetensors.h"

namespace noisysgd {

namespace {

constexpr const char* momentum_prefix = "momentum.";

void load(const SafetensorsFile& file, const std::string& name, const Parameter& parameter, const Tensor& destination) {
  std::vector<float> exported(static_cast<size_t>(parameter.shape.elements()));
  file.read(name, StoredType::f32, parameter.exported_shape().extents(), std::as_writable_bytes(std::span(exported)));
  from_exported_layout(parameter, exported.data(), destination.f32());
}

void load_values(const SafetensorsFile& file, Model& model) {
  for (const Parameter* parameter : model.parameters()) load(file, parameter->name, *parameter, parameter->value);
  for (const Buffer* buffer : model.buffers())
    file.read(buffer->name, StoredType::f32, buffer->shape.extents(),
              std::as_writable_bytes(buffer->value.span<float>()));
}

// What the noise keeps from step to step, by the name it has in the file.
std::vector<std::pair<std::string, Tensor>> noise_state(const Model& model) {
  std::vector<std::pair<std::string, Tensor>> state;
  for (const Parameter* parameter : model.parameters()) {
    if (parameter->fisher_average.defined()) state.emplace_back("fisher." + parameter->name, parameter->fisher_average);
    const KroneckerFactors* factors = parameter->kronecker;
    if (!factors || factors->weight != parameter || !factors->input_root.defined()) continue;
    state.emplace_back("kfac.input." + parameter->name, factors->input_root);
    state.emplace_back("kfac.output." + parameter->name, factors->output_root);
  }
  return state;
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const Model& model, const Json& state) {
  std::deque<std::vector<float>> exported;  // a deque: what it holds does not move
  std::vector<StoredTensor> tensors;
  const auto add = [&](std::string name, const Parameter& parameter, const Tensor& tensor) {
    exported.emplace_back(static_cast<size_t>(tensor.elements()));
    to_exported_layout(parameter, tensor.f32(), exported.back().data());
    tensors.push_back(stored_tensor<float>(std::move(name), parameter.exported_shape().extents(), exported.back()));
  };
  for (const Parameter* parameter : model.parameters()) add(parameter->name, *parameter, parameter->value);
  for (const Buffer* buffer : model.buffers())
    tensors.push_back(stored_tensor<float>(buffer->name, buffer->shape.extents(),
                                           std::span<const float>(buffer->value.span<float>())));
  for (const Parameter* parameter : model.parameters())
    add(momentum_prefix + parameter->name, *parameter, parameter->velocity);
  for (const auto& [name, tensor] : noise_state(model))  // in memory order: no other program reads them
    tensors.push_back(
        stored_tensor<float>(name, tensor.shape().extents(), std::span<const float>(tensor.span<float>())));
  write_safetensors(path, tensors, {{"format", "pt"}, {"state", state.dump()}, {"version", NSGD_VERSION}});
}

Json load_checkpoint(const std::filesystem::path& path, Model& model) {
  const SafetensorsFile file(path);
  const auto state = file.metadata().find("state");
  NSGD_CHECK(state != file.metadata().end(), "{}: holds no training state", path.string());
  load_values(file, model);
  for (const Parameter* parameter : model.parameters())
    load(file, momentum_prefix + parameter->name, *parameter, parameter->velocity);
  for (const auto& [name, tensor] : noise_state(model))
    file.read(name, StoredType::f32, tensor.shape().extents(), std::as_writable_bytes(tensor.span<float>()));
  return parse_json(state->second, path.string());
}

void load_weights(const std::filesystem::path& path, Model& model) { load_values(SafetensorsFile(path), model); }

}  // namespace noisysgd
