// The oneDNN objects of a queue: engine, stream, and primitives, which are created once per op and shape and reused in
// every training step. Internal to the CPU backend.
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

  struct Prepared {  // base of the objects that an op caches: primitives, memory descriptors, scratch sizes
    virtual ~Prepared() = default;
  };

  OnednnState();

  const dnnl::engine& engine() const { return engine_; }
  dnnl::stream& stream() { return stream_; }

  // Returns the object for this key; calls `make` to create it the first time.
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
