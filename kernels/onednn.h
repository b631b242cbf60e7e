// oneDNN's side of a queue: engine, stream, and every primitive prepared once per op and shape, so that a training step
// creates nothing. Internal to the CPU backend.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>

namespace noisysgd::kernels {

class OnednnState {
 public:
  using Key = std::array<int64_t, 16>;  // op kind, then its shape, then zeros; the kind determines the prepared type

  struct Prepared {  // base of what an op keeps: primitives, memory descriptors, scratch sizes
    virtual ~Prepared() = default;
  };

  OnednnState();

  const dnnl::engine& engine() const { return engine_; }
  dnnl::stream& stream() { return stream_; }

  // What `make` returned the first time that this key was asked for.
  template <class T, class Make>
  T& prepared(const Key& key, const Make& make) {
    std::unique_ptr<Prepared>& entry = prepared_[key];
    if (!entry) entry = make();
    return static_cast<T&>(*entry);
  }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::map<Key, std::unique_ptr<Prepared>> prepared_;
};

}  // namespace noisysgd::kernels
