// Builds a sequence of layers, passes shapes along and numbers the names of each prefix: conv1, relu1, conv2, …
//
//   NetworkBuilder net("", {28, 28, 1});
//   net.add<Conv2d>("conv", Conv2dOptions{.out_channels = 20, .kernel = {5, 5}}).add<Relu>("relu");
#pragma once

#include <map>

#include <noisysgd/layers/composite.h>

namespace noisysgd {

class NetworkBuilder {
 public:
  // scope: prefix of every name, "" or "block1.".
  NetworkBuilder(std::string scope, Shape input) : scope_(std::move(scope)), input_(input), shape_(std::move(input)) {}

  template <class LayerType, class... Options>
  NetworkBuilder& add(const std::string& kind, Options&&... options) {
    return append(std::make_unique<LayerType>(next_name(kind), shape_, std::forward<Options>(options)...));
  }
  // Adds a layer named scope + name, without a number.
  template <class LayerType, class... Options>
  NetworkBuilder& add_named(const std::string& name, Options&&... options) {
    return append(std::make_unique<LayerType>(scope_ + name, shape_, std::forward<Options>(options)...));
  }
  NetworkBuilder& append(std::unique_ptr<Layer> layer) {
    shape_ = layer->output_shape();
    layers_.push_back(std::move(layer));
    return *this;
  }

  const Shape& shape() const { return shape_; }  // output of the layers added so far
  std::string next_name(const std::string& kind) { return scope_ + kind + std::to_string(++counts_[kind]); }
  const std::string& scope() const { return scope_; }

  // Adds a flatten layer if the shape has more than one axis.
  NetworkBuilder& flatten();
  // Adds a dropout layer unless the probability is 0.
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
