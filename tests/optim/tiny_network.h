// A small convolutional network through Model, and the gradient of every sample and position of it in double precision,
// written from the formulas. The covariance of each noise structure is computed from them.
#pragma once

#include <string>
#include <vector>

#include "tests/layers/network.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"

namespace noisysgd::test {

using reference::Vector;

// conv 2x2 (1 -> 2 channels, stride 1, with bias), ReLU, flatten, linear (8 -> 3) on 3x3 images: parameters
// [conv.weight 8, conv.bias 2, linear.weight 24, linear.bias 3].
struct TinyNetwork {
  static constexpr int64_t samples = 8, classes = 3, positions = 4, channels = 2, features = 8, taps = 4;
  static constexpr size_t size = 37;

  TinyNetwork()
      : model(context,
              network_from(R"({"type": "sequential", "layers": [
                {"type": "conv2d", "out_channels": 2, "kernel": 2}, {"type": "relu"}, {"type": "flatten"},
                {"type": "linear"}]})",
                           {3, 3, 1}, classes),
              classes),
        batch{Tensor(context, {samples, 3, 3, 1}), Tensor(context, {samples}, DType::i32)} {
    model.parameter_set().initialise(7);
    uint32_t stream = 100;
    for (const Parameter* parameter : model.parameters()) fill(parameter->value, ++stream, 0.8f);
    fill(batch.images, ++stream, 1.5f);
    const auto labels = random_integers(samples, ++stream, classes);
    std::copy(labels.begin(), labels.end(), batch.labels.data<int32_t>());
  }

  static void fill(const Tensor& tensor, uint32_t stream, float scale) {
    const auto values = random_tensor(tensor.elements(), stream, 0, scale);
    std::copy(values.begin(), values.end(), tensor.f32());
  }

  Vector values(size_t parameter) const {
    const auto span = model.parameters()[parameter]->value.span<float>();
    return {span.begin(), span.end()};
  }

  // p - y of sample n for this label, or for label -1: p - 1/K.
  Vector logit_gradient(int64_t n, int32_t label) const {
    const Forward forward = forward_pass(n);
    Vector gradient = reference::softmax(1, classes, forward.logits);
    for (size_t k = 0; k < gradient.size(); ++k)
      gradient[k] -= label < 0 ? 1.0 / static_cast<double>(classes) : static_cast<int32_t>(k) == label ? 1 : 0;
    return gradient;
  }
  Vector probabilities(int64_t n) const { return reference::softmax(1, classes, forward_pass(n).logits); }

  // The parts of a sample's gradient for this gradient of its logits: conv layer at each position, then linear layer;
  // each a vector over all parameters.
  std::vector<Vector> parts(int64_t n, const Vector& logit_gradient) const {
    const Forward forward = forward_pass(n);
    const Vector weight = values(2);
    std::vector<Vector> parts(positions + 1, Vector(size));
    Vector& linear = parts[positions];
    for (int64_t k = 0; k < classes; ++k) {
      for (int64_t j = 0; j < features; ++j) linear[10 + k * features + j] = logit_gradient[k] * forward.hidden[j];
      linear[34 + k] = logit_gradient[k];
    }
    const float* image = batch.images.f32() + n * 9;
    for (int64_t t = 0; t < positions; ++t)
      for (int64_t i = 0; i < channels; ++i) {
        double delta = 0;  // flatten is channel by channel
        for (int64_t k = 0; k < classes; ++k) delta += logit_gradient[k] * weight[k * features + i * positions + t];
        if (forward.hidden[i * positions + t] <= 0) delta = 0;
        for (int64_t tap = 0; tap < taps; ++tap)
          parts[t][i * taps + tap] = delta * image[(t / 2 + tap / 2) * 3 + t % 2 + tap % 2];
        parts[t][8 + i] = delta;
      }
    return parts;
  }
  std::vector<Vector> parts(int64_t n) const { return parts(n, logit_gradient(n, batch.labels.data<int32_t>()[n])); }

  // The gradient of sample n.
  Vector gradient(int64_t n, const Vector& logit_gradient) const {
    Vector sum(size);
    for (const Vector& part : parts(n, logit_gradient))
      for (size_t i = 0; i < size; ++i) sum[i] += part[i];
    return sum;
  }
  Vector gradient(int64_t n) const { return gradient(n, logit_gradient(n, batch.labels.data<int32_t>()[n])); }

  // Inputs [positions][5] (with the constant) and pre-activation gradients [positions][2] of the conv layer.
  std::vector<Vector> patches(int64_t n) const {
    std::vector<Vector> rows;
    for (int64_t t = 0; t < positions; ++t) {
      Vector row;
      for (int64_t tap = 0; tap < taps; ++tap)
        row.push_back(batch.images.f32()[n * 9 + (t / 2 + tap / 2) * 3 + t % 2 + tap % 2]);
      row.push_back(1);
      rows.push_back(row);
    }
    return rows;
  }
  Vector hidden(int64_t n) const { return forward_pass(n).hidden; }

  static size_t layer_of(size_t i) { return i < 10 ? 0 : 1; }
  static size_t unit_of(size_t i) {  // output channel, numbered over both layers
    return i < 8 ? i / taps : i < 10 ? i - 8 : i < 34 ? 2 + (i - 10) / features : 2 + (i - 34);
  }

  Context context{{}, 1};  // one thread: every op here is small
  Model model;
  Batch batch;
  int64_t ghost_size = 0;  // passed to the noise; nothing here couples samples

 private:
  struct Forward {
    Vector hidden, logits;  // hidden: after ReLU, in the order of flatten
  };
  Forward forward_pass(int64_t n) const {
    const Vector w = values(0), b = values(1), v = values(2), c = values(3);
    const float* image = batch.images.f32() + n * 9;
    Forward forward{Vector(features), Vector(classes)};
    for (int64_t i = 0; i < channels; ++i)
      for (int64_t t = 0; t < positions; ++t) {
        double z = b[i];
        for (int64_t tap = 0; tap < taps; ++tap)
          z += w[i * taps + tap] * image[(t / 2 + tap / 2) * 3 + t % 2 + tap % 2];
        forward.hidden[i * positions + t] = std::max(0.0, z);
      }
    for (int64_t k = 0; k < classes; ++k) {
      forward.logits[k] = c[k];
      for (int64_t j = 0; j < features; ++j) forward.logits[k] += v[k * features + j] * forward.hidden[j];
    }
    return forward;
  }
};

// A symmetric matrix over all parameters.
class Covariance {
 public:
  void add(const Vector& v, double weight) {
    add(v, weight, [](size_t, size_t) { return true; });
  }
  template <class Keep>
  void add(const Vector& v, double weight, Keep keep) {
    for (size_t i = 0; i < v.size(); ++i)
      for (size_t j = 0; j < v.size(); ++j)
        if (keep(i, j)) at(i, j) += weight * v[i] * v[j];
  }
  double& at(size_t i, size_t j) { return values[i * TinyNetwork::size + j]; }
  double at(size_t i, size_t j) const { return values[i * TinyNetwork::size + j]; }
  double trace() const {
    double sum = 0;
    for (size_t i = 0; i < TinyNetwork::size; ++i) sum += at(i, i);
    return sum;
  }

  Vector values = Vector(TinyNetwork::size * TinyNetwork::size);
};

}  // namespace noisysgd::test
