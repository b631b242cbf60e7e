// Builds a sequence of layers, passing shapes along and numbering names by kind: conv1, relu1, conv2, …
//
//   NetworkBuilder net("", {28, 28, 1});
//   net.add<Conv2d>("conv", Conv2dOptions{.out_channels = 20, .kernel = {5, 5}}).add<Relu>("relu");
#pragma once

#include <map>

#include <noisysgd/layers/composite.h>

namespace noisysgd {

class NetworkBuilder {
 public:
  // scope: put before every name, "" or "block1.".
  NetworkBuilder(std::string scope, Shape input) : scope_(std::move(scope)), input_(input), shape_(std::move(input)) {}

  template <class LayerType, class... Options>
  NetworkBuilder& add(const std::string& kind, Options&&... options) {
    return append(std::make_unique<LayerType>(next_name(kind), shape_, std::forward<Options>(options)...));
  }
  // A layer whose name does not count: the scope with `name` behind it.
  template <class LayerType, class... Options>
  NetworkBuilder& add_named(const std::string& name, Options&&... options) {
    return append(std::make_unique<LayerType>(scope_ + name, shape_, std::forward<Options>(options)...));
  }
  NetworkBuilder& append(std::unique_ptr<Layer> layer) {
    shape_ = layer->output_shape();
    layers_.push_back(std::move(layer));
    return *this;
  }

  const Shape& shape() const { return shape_; }  // of what is built so far
  std::string next_name(const std::string& kind) { return scope_ + kind + std::to_string(++counts_[kind]); }
  const std::string& scope() const { return scope_; }

  // Flattens first if there is more than one axis left.
  NetworkBuilder& flatten();
  // Nothing if the probability is 0.
  NetworkBuilder& dropout(float probability);

  std::unique_ptr<Sequential> build() {
    return std::make_unique<Sequential>(scope_ + "sequential", input_, std::move(layers_));
  }

 private:
  std::string scope_;
  Shape input_, shape_;
  LayerList layers_;
  std::map<std::string, int> counts_;
};

}  // namespace noisysgd
