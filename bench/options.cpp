#include <noisysgd/bench/options.h>

#include <noisysgd/apps/arguments.h>
#include <noisysgd/apps/train_app.h>
#include <noisysgd/core/file.h>

namespace noisysgd::bench {

namespace {

kernels::Precision precision_of(const std::string& name, const Device& device) {
  NSGD_CHECK(name.empty() || device.backend == Backend::cuda, "--precision {}: the processor computes in fp32", name);
  if (device.backend == Backend::cpu) return kernels::Precision::fp32;
  for (const kernels::Precision precision : kernels::precisions)
    if (name == name_of(precision)) return precision;
  return kernels::Precision::tf32;
}

}  // namespace

void Options::add_to(CLI::App& app) {
  app.add_option("--device", device_name, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--precision", precision_name, "On a CUDA device: fp32, tf32 or half [tf32]")
      ->check(CLI::IsMember({"fp32", "tf32", "half"}));
  app.add_option("--rounds", rounds, "Alternating rounds that medians are taken over")
      ->capture_default_str()
      ->transform(whole_number(1, 100000));
  app.add_option("--threads", threads, "Threads [all cores]")->transform(whole_number(1, most_threads));
  add_path(app, "--json", json, "Also write every figure to this file");
  app.add_flag("--markdown", markdown, "Print Markdown tables");
}

void Options::check() {
  device = parse_device(device_name);
  precision = precision_of(precision_name, device);
  if (!json.empty()) check_replaceable(json, "{\n  \"machine\": {", "the figures of a benchmark");
}

}  // namespace noisysgd::bench
