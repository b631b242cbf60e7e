#include "apps/checkpoint.h"

#include <deque>

#include "core/safetensors.h"

namespace noisysgd {

namespace {

constexpr const char* momentum_prefix = "momentum.";

void load(Context& context, const SafetensorsFile& file, const std::string& name, const Parameter& parameter,
          const Tensor& destination) {
  std::vector<float> exported(static_cast<size_t>(parameter.shape.elements())), internal(exported.size());
  file.read(name, StoredType::f32, parameter.exported_shape().extents(), std::as_writable_bytes(std::span(exported)));
  from_exported_layout(parameter, exported.data(), internal.data());
  copy_from_host<float>(context, internal, destination);
}

void load_values(const SafetensorsFile& file, Model& model) {
  for (const Parameter* parameter : model.parameters())
    load(model.context(), file, parameter->name, *parameter, parameter->value);
  for (const Buffer* buffer : model.buffers()) {
    std::vector<float> values(static_cast<size_t>(buffer->shape.elements()));
    file.read(buffer->name, StoredType::f32, buffer->shape.extents(), std::as_writable_bytes(std::span(values)));
    copy_from_host<float>(model.context(), values, buffer->value);
  }
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const Model& model, const Json& state) {
  std::deque<std::vector<float>> exported;  // a deque: what it holds does not move
  std::vector<StoredTensor> tensors;
  const auto add = [&](std::string name, const Parameter& parameter, const Tensor& tensor) {
    exported.emplace_back(static_cast<size_t>(tensor.elements()));
    to_exported_layout(parameter, to_host<float>(model.context(), tensor).data(), exported.back().data());
    tensors.push_back(stored_tensor<float>(std::move(name), parameter.exported_shape().extents(), exported.back()));
  };
  for (const Parameter* parameter : model.parameters()) add(parameter->name, *parameter, parameter->value);
  for (const Buffer* buffer : model.buffers()) {
    exported.push_back(to_host<float>(model.context(), buffer->value));
    tensors.push_back(stored_tensor<float>(buffer->name, buffer->shape.extents(), exported.back()));
  }
  for (const Parameter* parameter : model.parameters())
    add(momentum_prefix + parameter->name, *parameter, parameter->velocity);
  write_safetensors(path, tensors, {{"format", "pt"}, {"state", state.dump()}, {"version", NSGD_VERSION}});
}

Json load_checkpoint(const std::filesystem::path& path, Model& model) {
  const SafetensorsFile file(path);
  const auto state = file.metadata().find("state");
  NSGD_CHECK(state != file.metadata().end(), "{}: holds no training state", path.string());
  load_values(file, model);
  for (const Parameter* parameter : model.parameters())
    load(model.context(), file, momentum_prefix + parameter->name, *parameter, parameter->velocity);
  return parse_json(state->second, path.string());
}

void load_weights(const std::filesystem::path& path, Model& model) { load_values(SafetensorsFile(path), model); }

}  // namespace noisysgd
