#include <noisysgd/optim/layer_measurement.h>

#include <noisysgd/core/json.h>

namespace noisysgd {

std::shared_ptr<Measurement> LayerMeasurement::read(const ConfigReader& json) {
  const bool per_layer = json.boolean("per_layer", false);
  const auto groups = json.optional_integer("groups", {.at_least = 2, .at_most = 1024});
  if (groups && !per_layer) json.error("groups", "needs \"per_layer\": true");
  return per_layer ? std::make_shared<LayerMeasurement>(groups) : nullptr;
}

void LayerMeasurement::begin(Context& context, Model& model, const FisherOptions& fisher, Sums& sums) {
  model_ = &model;
  fisher_ = fisher.of_one_batch();
  if (groups_) SampleGroups(model, fisher_, *groups_, *groups_);  // throws for a network that has none
  if (!sums.second_moment.defined()) sums.second_moment = Block(context, model.parameter_set());
  const auto layers = static_cast<int64_t>(layer_names(model.parameter_set().trained()).size());
  sums_ = Tensor(context, {layers, 2}, DType::f64);
  if (groups_) group_products_ = Tensor(context, {layers, 2, *groups_, *groups_});
}

class LayerMeasurement::Step : public StepMeasurement {
 public:
  Step(const LayerMeasurement& of, const Sums& sums, int64_t samples) : of_(of), sums_(sums), samples_(samples) {
    Model& model = *of.model_;
    if (of.groups_) groups_.emplace(model.context(), model, SampleGroups(model, of.fisher_, samples, *of.groups_));
  }

  int64_t end_of_pass(int64_t begin, int64_t end) const override {
    return groups_ ? groups_->end_of_piece(begin, end) : end;
  }
  void begin_pass(int64_t begin, BackwardJob&, std::vector<BackwardJob>& jobs) override {
    const Block draw = groups_ ? groups_->begin_piece(begin, sums_.gradient) : Block();
    if (!draw.defined()) return;
    jobs.push_back({.loss = {of_.fisher_.labels, {}},
                    .collect = {.signs = {kernels::SignGrain::sample}},
                    .into = {.signed_sum = draw}});
  }
  void end_pass(int64_t end) override {
    if (groups_) groups_->end_piece(end, sums_.gradient);
  }
  void end() override {
    if (groups_) groups_->multiply(of_.group_products_);
    layer_fisher(of_.model_->context(), {of_.fisher_, sums_, samples_, {}}, of_.model_->parameter_set().trained(),
                 of_.sums_);
  }

 private:
  const LayerMeasurement& of_;
  const Sums& sums_;
  int64_t samples_;
  std::optional<GroupStatistics> groups_;
};

std::unique_ptr<StepMeasurement> LayerMeasurement::begin_step(const Sums& sums, int64_t samples) {
  return std::make_unique<Step>(*this, sums, samples);
}

std::vector<Tensor> LayerMeasurement::results() const {
  if (groups_) return {sums_, group_products_};
  return {sums_};
}

std::vector<LayerFisher> LayerMeasurement::layers(std::span<const void* const> copies, int64_t samples) const {
  const std::vector<Parameter*> parameters = model_->parameter_set().trained();
  std::vector<LayerFisher> layers = read_layer_fisher(parameters, static_cast<const double*>(copies[0]));
  if (groups_)
    measure_groups(SampleGroups(*model_, fisher_, samples, *groups_), parameters, static_cast<const float*>(copies[1]),
                   layers);
  return layers;
}

void LayerMeasurement::write(std::span<const void* const> copies, int64_t samples, Json& fields) const {
  const auto or_null = [](const std::optional<double>& value) { return value ? Json(*value) : Json(); };
  Json& json = fields["layers"];
  for (const LayerFisher& layer : layers(copies, samples)) {
    Json& entry = json[layer.layer];
    entry = {{"fisher_trace", layer.trace}, {"fisher_diagonal_norm", layer.diagonal_norm}};
    if (!groups_) continue;
    entry["variance_ratio"] = or_null(layer.variance_ratio);
    entry["effective_rank"] = or_null(layer.effective_rank);
  }
}

}  // namespace noisysgd
