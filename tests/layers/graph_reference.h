// A network in inference in fp64 with exact derivatives, evaluated from the graph that it describes: one sample after
// the other, each layer as plain loops from its formula.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <noisysgd/layers/model.h>
#include "tests/compare.h"
#include "tests/reference/hyper_dual.h"

namespace noisysgd::test {

using reference::HyperDual;
using Numbers = std::vector<HyperDual>;

class GraphReference {
 public:
  explicit GraphReference(Model& model) : graph_(model.graph()) {
    Context& context = model.context();
    const auto put = [&](const std::string& name, const Tensor& tensor) {
      const std::vector<float> values = to_host<float>(context, tensor);
      values_[name] = Numbers(values.begin(), values.end());
    };
    for (const Parameter* parameter : model.parameters()) {
      names_.push_back(parameter->name);
      put(parameter->name, parameter->value);
    }
    for (const Buffer* buffer : model.buffers()) put(buffer->name, buffer->value);
  }

  // All parameters, one after the other in the order of the model.
  std::vector<HyperDual*> parameters() {
    std::vector<HyperDual*> all;
    for (const std::string& name : names_)
      for (HyperDual& number : values_.at(name)) all.push_back(&number);
    return all;
  }

  Numbers logits(const Numbers& image) const {
    std::map<std::string, Output> outputs{{"input", {graph_.input, image}}};
    std::string last = "input";
    for (const GraphNode& node : graph_.nodes) {
      if (node.name == "loss") break;
      Output y{node.output, {}};
      y.x = compute(node, outputs.at(node.inputs[0]), node.inputs.size() > 1 ? &outputs.at(node.inputs[1]) : nullptr);
      outputs[node.name] = std::move(y);
      last = node.name;
    }
    return outputs.at(last).x;
  }

 private:
  struct Output {
    Shape shape;
    Numbers x;
  };

  static int64_t whole(const GraphNode& node, const char* name) { return std::get<int64_t>(node.attribute(name)); }
  static std::array<int64_t, 2> pair(const GraphNode& node, const char* name) {
    return std::get<std::array<int64_t, 2>>(node.attribute(name));
  }

  Numbers compute(const GraphNode& node, const Output& in, const Output* other) const {
    const Numbers& x = in.x;
    Numbers y(static_cast<size_t>(node.output.elements()));
    const auto value = [&](const char* name) -> const Numbers& { return values_.at(node.name + "." + name); };
    if (node.type == "relu" || node.type == "dropout" || node.type == "add") {
      for (size_t i = 0; i < x.size(); ++i) y[i] = other ? x[i] + other->x[i] : x[i];
      if (node.type == "relu")
        for (HyperDual& number : y) number = number.value > 0 ? number : HyperDual();
    } else if (node.type == "batch_norm") {
      const size_t channels = value("weight").size();
      const double epsilon = std::get<double>(node.attribute("epsilon"));
      for (size_t i = 0; i < x.size(); ++i) {
        const size_t c = i % channels;
        const double deviation = std::sqrt(value("running_var")[c].value + epsilon);
        y[i] = value("weight")[c] * (x[i] - value("running_mean")[c]) * (1 / deviation) + value("bias")[c];
      }
    } else if (node.type == "linear") {
      for (size_t i = 0; i < y.size(); ++i) {
        if (std::get<bool>(node.attribute("bias"))) y[i] = value("bias")[i];
        for (size_t j = 0; j < x.size(); ++j) y[i] += value("weight")[i * x.size() + j] * x[j];
      }
    } else if (node.type == "flatten") {
      const size_t channels = static_cast<size_t>(in.shape[-1]), positions = x.size() / channels;
      for (size_t i = 0; i < x.size(); ++i) y[i] = x[i % positions * channels + i / positions];
    } else if (node.type == "global_average_pool") {
      const double positions = static_cast<double>(x.size() / y.size());
      for (size_t i = 0; i < x.size(); ++i) y[i % y.size()] += x[i] * (1 / positions);
    } else if (node.type == "pad_channels") {
      const int64_t stride = whole(node, "stride");
      over_output(node.output, [&](int64_t i, int64_t j, int64_t c, size_t at) {
        if (c < in.shape[2]) y[at] = at_place(in, i * stride, j * stride, c);
      });
    } else if (node.type == "conv2d") {
      convolve(node, in, y);
    } else if (node.type == "max_pool" || node.type == "average_pool") {
      pool(node, in, y);
    } else {
      throw Error("the reference does not know " + node.type);
    }
    return y;
  }

  template <class Visit>
  static void over_output(const Shape& shape, const Visit& visit) {
    size_t at = 0;
    for (int64_t i = 0; i < shape[0]; ++i)
      for (int64_t j = 0; j < shape[1]; ++j)
        for (int64_t c = 0; c < shape[2]; ++c) visit(i, j, c, at++);
  }
  static bool inside(const Output& in, int64_t i, int64_t j) {
    return i >= 0 && j >= 0 && i < in.shape[0] && j < in.shape[1];
  }
  static const HyperDual& at_place(const Output& in, int64_t i, int64_t j, int64_t c) {
    return in.x[static_cast<size_t>((i * in.shape[1] + j) * in.shape[2] + c)];
  }

  void convolve(const GraphNode& node, const Output& in, Numbers& y) const {
    const auto [height, width] = pair(node, "kernel");
    const auto [down, right] = pair(node, "stride");
    const auto [above, left] = pair(node, "padding");
    const Numbers& weight = values_.at(node.name + ".weight");
    const bool bias = std::get<bool>(node.attribute("bias"));
    over_output(node.output, [&, height = height, width = width, down = down, right = right, above = above,
                              left = left](int64_t i, int64_t j, int64_t k, size_t at) {
      if (bias) y[at] = values_.at(node.name + ".bias")[static_cast<size_t>(k)];
      for (int64_t r = 0; r < height; ++r)
        for (int64_t q = 0; q < width; ++q) {
          const int64_t row = i * down + r - above, column = j * right + q - left;
          if (!inside(in, row, column)) continue;
          for (int64_t c = 0; c < in.shape[2]; ++c)
            y[at] += weight[static_cast<size_t>(((k * height + r) * width + q) * in.shape[2] + c)] *
                     at_place(in, row, column, c);
        }
    });
  }

  void pool(const GraphNode& node, const Output& in, Numbers& y) const {
    const int64_t kernel = whole(node, "kernel"), stride = whole(node, "stride"), padding = whole(node, "padding");
    over_output(node.output, [&](int64_t i, int64_t j, int64_t c, size_t at) {
      const HyperDual* best = nullptr;
      HyperDual sum;
      for (int64_t r = 0; r < kernel; ++r)
        for (int64_t q = 0; q < kernel; ++q) {
          const int64_t row = i * stride + r - padding, column = j * stride + q - padding;
          if (!inside(in, row, column)) continue;
          const HyperDual& tap = at_place(in, row, column, c);
          if (!best || tap.value > best->value) best = &tap;
          sum += tap;
        }
      y[at] = node.type == "max_pool" ? *best : sum * (1 / static_cast<double>(kernel * kernel));
    });
  }

  Graph graph_;
  std::vector<std::string> names_;
  std::map<std::string, Numbers> values_;
};

}  // namespace noisysgd::test
