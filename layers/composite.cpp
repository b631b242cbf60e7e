#include <noisysgd/layers/composite.h>

#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/layers/deferred.h>
#include <noisysgd/layers/dual.h>
#include <noisysgd/layers/normalisation.h>

namespace noisysgd {

namespace {

template <class T>
void append(std::vector<T>& to, std::vector<T> from) {
  to.insert(to.end(), from.begin(), from.end());
}

Shape last_output(const Shape& input, const LayerList& layers) {
  return layers.empty() ? input : layers.back()->output_shape();
}

}  // namespace

Sequential::Sequential(std::string name, const Shape& input, LayerList layers)
    : Layer(std::move(name), input, last_output(input, layers)), layers_(std::move(layers)) {
  Shape shape = input;
  for (const auto& layer : layers_) {
    NSGD_CHECK(layer->input_shape() == shape, "sequential '{}': layer '{}' takes {}, but {} arrives", this->name(),
               layer->name(), layer->input_shape().text(), shape.text());
    shape = layer->output_shape();
  }
  match_stages();
}

void Sequential::match_stages() {
  stages_.clear();
  std::vector<Layer*> sequence;
  Sequential::append_to(sequence);
  for (Layer* const layer : sequence) {
    const FusibleEpilogue before = Sequential::fuses();
    if (layer->is_relu() && before.relu) {
      stages_.back().relu = true;
      continue;
    }
    if (layer->ghost_batch(1) > 0 && before.normalisation) stages_.back().normalised_by = layer;
    stages_.push_back({layer});
  }
}

void Sequential::append_to(std::vector<Layer*>& sequence) {
  for (const auto& layer : layers_) layer->append_to(sequence);
}

std::vector<Parameter*> Sequential::parameters() {
  std::vector<Parameter*> all;
  for (const auto& layer : layers_) append(all, layer->parameters());
  return all;
}

std::vector<Buffer*> Sequential::buffers() {
  std::vector<Buffer*> all;
  for (const auto& layer : layers_) append(all, layer->buffers());
  return all;
}

SampleCoupling Sequential::coupling() const {
  SampleCoupling all;
  for (const auto& layer : layers_) all += layer->coupling();
  return all;
}

FusibleEpilogue Sequential::fuses() const {
  if (stages_.empty() || stages_.back().relu) return {};
  return stages_.back().layer->fuses();
}

Variable Sequential::forward_fused(const Forward& pass, Variable x, Epilogue epilogue) {
  std::shared_ptr<Normalisation> normalisation;  // shared with the previous stage
  for (const Stage& stage : stages_) {
    const bool last = &stage == &stages_.back();
    Epilogue own = last ? std::move(epilogue) : Epilogue{};
    own.relu |= stage.relu;
    if (normalisation) own.normalisation = std::move(normalisation);
    if (stage.normalised_by)
      own.normalisation = normalisation =
          std::make_shared<Normalisation>(Normalisation{stage.normalised_by->ghost_batch(x.value.shape()[0])});
    x = stage.layer->forward(pass, std::move(x), std::move(own));
  }
  return x;
}

Dual Sequential::forward_dual(const DualForward& pass, Dual x) {
  for (const auto& layer : layers_) x = layer->forward_dual(pass, std::move(x));
  return x;
}

Layer* Sequential::fold_batch_norm(Context& context, Layer* before) {
  LayerList left;
  for (auto& layer : layers_) {
    Layer* const last = layer->fold_batch_norm(context, before);
    if (last != before) left.push_back(std::move(layer));
    before = last;
  }
  layers_ = std::move(left);
  match_stages();
  return before;
}

std::string Sequential::describe(Graph& graph, const std::string& input) const {
  std::string node = input;
  for (const auto& layer : layers_) node = layer->describe(graph, node);
  return node;
}

Residual::Residual(std::string name, std::unique_ptr<Sequential> body, std::unique_ptr<Sequential> shortcut)
    : Layer(std::move(name), body->input_shape(), body->output_shape()),
      body_(std::move(body)),
      shortcut_(std::move(shortcut)) {
  NSGD_CHECK(shortcut_->output_shape() == output_shape(), "residual '{}': the body gives {}, the shortcut {}",
             this->name(), output_shape().text(), shortcut_->output_shape().text());
}

std::vector<Parameter*> Residual::parameters() {
  std::vector<Parameter*> all = body_->parameters();
  append(all, shortcut_->parameters());
  return all;
}

std::vector<Buffer*> Residual::buffers() {
  std::vector<Buffer*> all = body_->buffers();
  append(all, shortcut_->buffers());
  return all;
}

SampleCoupling Residual::coupling() const { return body_->coupling() += shortcut_->coupling(); }

FusibleEpilogue Residual::fuses() const {
  const FusibleEpilogue of_body = body_->fuses();
  return {.relu = of_body.addend && of_body.relu};
}

Variable Residual::forward_fused(const Forward& pass, Variable x, Epilogue epilogue) {
  if (body_->fuses().addend) {
    epilogue.addend = shortcut_->forward(pass, x);
    if (epilogue.addend.deferred) epilogue.addend.deferred->wanted = true;
    return body_->forward(pass, std::move(x), std::move(epilogue));
  }
  Variable body = body_->forward(pass, x);
  return sum_of(pass, std::move(body), shortcut_->forward(pass, std::move(x)));
}

Dual Residual::forward_dual(const DualForward& pass, Dual x) {
  Dual body = body_->forward_dual(pass, x), shortcut = shortcut_->forward_dual(pass, std::move(x));
  return {sum_of(pass.values, std::move(body.value), std::move(shortcut.value)),
          sum_of(pass.tangents, std::move(body.tangent), std::move(shortcut.tangent))};
}

Layer* Residual::fold_batch_norm(Context& context, Layer*) {
  // Both read the same input.
  for (Sequential* branch : {body_.get(), shortcut_.get()}) branch->fold_batch_norm(context, nullptr);
  return this;
}

std::string Residual::describe(Graph& graph, const std::string& input) const {
  GraphNode node{name() + ".add", "add", {}, output_shape()};
  node.inputs.push_back(body_->describe(graph, input));
  node.inputs.push_back(shortcut_->describe(graph, input));
  node.flops = output_shape().elements();
  return graph.add(std::move(node));
}

}  // namespace noisysgd
