// The command-line options that all benchmarks have.
#pragma once

#include <string>

#include <noisysgd/apps/program.h>
#include <noisysgd/kernels/queue.h>

namespace noisysgd::bench {

struct Options {
  std::string device_name = "cpu", precision_name, json;
  int threads = 0, rounds = 15;
  bool markdown = false;
  // Set by check().
  Device device;
  kernels::Precision precision = kernels::Precision::fp32;

  void add_to(CLI::App& app);  // must outlive the parsing
  // Before anything is measured: throws Error if the device cannot be used, or if the JSON file cannot be written.
  void check();
};

}  // namespace noisysgd::bench
