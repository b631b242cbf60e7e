#include <noisysgd/apps/checkpoint.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include <noisysgd/apps/environment.h>
#include <noisysgd/apps/record.h>
#include <noisysgd/apps/version.h>

namespace noisysgd {

namespace {

constexpr const char* average_prefix = "average.";  // WeightAverage::visit_state

template <class T>
bool all_finite(std::span<const T> values) {
  if constexpr (std::is_floating_point_v<T>)
    return std::ranges::all_of(values, [](T value) { return std::isfinite(value); });
  return true;
}

// Calls `visit` with a value of the tensor's type: float or double, which must be finite, or int32_t.
template <class Visit>
void visit_type(const Tensor& tensor, Visit visit) {
  switch (tensor.dtype()) {
    case DType::f32:
      return visit(float());
    case DType::f64:
      return visit(double());
    case DType::i32:
      return visit(int32_t());
    case DType::u8:
    case DType::f16:
    case DType::bf16:
      throw Error(fmt::format("a checkpoint cannot hold {} tensors", name_of(tensor.dtype())));
  }
}

// Collects the tensors to be stored.
class Saver : public StateVisitor {
 public:
  explicit Saver(Context& context) : context_(context) {}

  void visit(const std::string& name, const Parameter& parameter, const Tensor& tensor) override {
    std::vector<float> exported(static_cast<size_t>(tensor.elements()));
    to_exported_layout(parameter, to_host<float>(context_, tensor).data(), exported.data());
    store(name, parameter.exported_shape(), exported);
  }
  void visit(const std::string& name, const Tensor& tensor) override {
    visit_type(tensor, [&]<class T>(T) { store(name, tensor.shape(), to_host<T>(context_, tensor)); });
  }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }

 private:
  template <class T>
  void store(const std::string& name, const Shape& shape, const std::vector<T>& values) {
    if (!all_finite<T>(values)) throw NonfiniteTensor(fmt::format("tensor '{}'", name));
    const auto bytes = std::as_bytes(std::span(values));
    const auto& owned = owned_.emplace_back(bytes.begin(), bytes.end());
    tensors_.push_back({name, stored_type_of<T>(), shape.extents(), owned});
  }

  Context& context_;
  std::deque<std::vector<std::byte>> owned_;  // a deque: its elements do not move
  std::vector<StoredTensor> tensors_;
};

// Overwrites the visited tensors with those of the file, whose names begin with the prefix.
class Loader : public StateVisitor {
 public:
  Loader(Context& context, const SafetensorsFile& file, std::string prefix = "")
      : context_(context), file_(file), prefix_(std::move(prefix)) {}

  void visit(const std::string& name, const Parameter& parameter, const Tensor& tensor) override {
    const auto exported = read<float>(name, parameter.exported_shape());
    std::vector<float> internal(exported.size());
    from_exported_layout(parameter, exported.data(), internal.data());
    copy_from_host<float>(context_, internal, tensor);
  }
  void visit(const std::string& name, const Tensor& tensor) override {
    visit_type(tensor, [&]<class T>(T) { copy_from_host<T>(context_, read<T>(name, tensor.shape()), tensor); });
  }
  bool has_read(const std::string& name) const { return names_.contains(name); }

 private:
  template <class T>
  std::vector<T> read(const std::string& visited, const Shape& shape) {
    const std::string name = prefix_ + visited;
    names_.insert(name);
    std::vector<T> values(static_cast<size_t>(shape.elements()));
    file_.read(name, stored_type_of<T>(), shape.extents(), std::as_writable_bytes(std::span(values)));
    NSGD_CHECK(all_finite<T>(values), "{}: tensor \"{}\" holds values that are not finite", file_.path().string(),
               name);
    return values;
  }

  Context& context_;
  const SafetensorsFile& file_;
  const std::string prefix_;
  std::set<std::string> names_;
};

}  // namespace

void save_checkpoint(const std::filesystem::path& path, Context& context, const Step& step,
                     const CheckpointRecord& record) {
  Saver saver(context);
  step.visit_state(saver);
  write_safetensors(path, saver.tensors(),
                    {{"format", "pt"},
                     {"identity", record.identity.dump()},
                     {"data", record.data.dump()},
                     {"state", record.state.dump()},
                     {"version", version()},
                     {"environment", record.environment.dump()}});
}

void save_weights(const std::filesystem::path& path, const Model& model) {
  Saver saver(model.context());
  model.visit_state(saver);
  write_safetensors(path, saver.tensors(),
                    {{"format", "pt"},
                     {"version", version()},
                     {"environment", describe_environment(model.context().queue).dump()}});
}

void copy_checkpoint(const std::filesystem::path& from, const std::filesystem::path& to, const Json& identity) {
  const SafetensorsFile file(from);
  std::deque<std::vector<std::byte>> owned;
  std::vector<StoredTensor> tensors;
  for (const auto& entry : file.entries()) {
    auto& bytes = owned.emplace_back(entry.bytes);
    file.read(entry.name, entry.type, entry.shape, bytes);
    tensors.push_back({entry.name, entry.type, entry.shape, bytes});
  }
  StoredMetadata metadata = file.metadata();
  metadata["identity"] = identity.dump();
  write_safetensors(to, tensors, metadata);
}

std::optional<Json> Checkpoint::metadata(const std::string& key) const {
  const auto found = file_.metadata().find(key);
  if (found == file_.metadata().end()) return {};
  return parse_json(found->second, fmt::format("{}: {}", file_.path().string(), key));
}

std::optional<Json> Checkpoint::identity() const { return metadata("identity"); }

std::optional<DataDescription> Checkpoint::data() const {
  const std::optional<Json> data = metadata("data");
  if (!data) return {};
  try {
    return DataDescription::from(*data);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: data: {}", file_.path().string(), error.what()));
  }
}

Json Checkpoint::state() const {
  std::optional<Json> state = metadata("state");
  NSGD_CHECK(state, "{}: holds no training state", file_.path().string());
  return std::move(*state);
}

int64_t Checkpoint::steps(int64_t most) const {
  try {
    return Record(state()).whole("step", 0, most);
  } catch (const Error& error) {
    const std::string text = error.what(), name = file_.path().string();
    throw Error(text.starts_with(name) ? text : fmt::format("{}: {}", name, text));
  }
}

void Checkpoint::load(Context& context, Step& step) const {
  Loader loader(context, file_);
  step.visit_state(loader);
  for (const auto& entry : file_.entries())
    NSGD_CHECK(loader.has_read(entry.name), "{}: tensor \"{}\" does not belong to this run", file_.path().string(),
               entry.name);
}

void Checkpoint::load(Model& model, SavedWeights weights) const {
  Loader loader(model.context(), file_, weights == SavedWeights::average ? average_prefix : "");
  model.visit_state(loader);
}

bool Checkpoint::holds(SavedWeights weights) const {
  return weights == SavedWeights::last || std::ranges::any_of(file_.entries(), [](const auto& entry) {
           return entry.name.starts_with(average_prefix);
         });
}

}  // namespace noisysgd
