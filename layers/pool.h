// Max, average and global average pooling over [N,H,W,C].
#pragma once

#include <noisysgd/kernels/pool.h>
#include <noisysgd/layers/layer.h>

namespace noisysgd {

struct PoolOptions {
  int64_t kernel = 2;
  int64_t stride = 2;
  int64_t padding = 0;
};

// Saves one byte per output: which element of the window was the maximum.
class MaxPool : public Layer {
 public:
  MaxPool(std::string name, const Shape& input, const PoolOptions& options);
  Dual forward_dual(const DualForward& pass, Dual x) override;
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override;
  Variable maxima(const Forward& pass, const Variable& x, const Tensor& index);
  // y with the backward pass of the maxima, or of their tangents.
  Variable record(const Forward& pass, Tensor y, const Variable& x, const Tensor& index);
  kernels::PoolShape shape_;
};

// Divides by the whole window, padding included.
class AveragePool : public Layer {
 public:
  AveragePool(std::string name, const Shape& input, const PoolOptions& options);
  bool is_linear() const override { return true; }
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override;
  kernels::PoolShape shape_;
};

// [N,H,W,C] -> [N,C]
class GlobalAveragePool : public Layer {
 public:
  GlobalAveragePool(std::string name, const Shape& input);
  bool is_linear() const override { return true; }
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override;
};

}  // namespace noisysgd
