#include <noisysgd/kernels/number.h>

#include <noisysgd/kernels/check.h>

namespace noisysgd {

namespace {

thread_local bool hidden = false;

}  // namespace

HiddenNumbers::HiddenNumbers(bool hide) : before_(hidden) { hidden = hide; }
HiddenNumbers::~HiddenNumbers() { hidden = before_; }
bool HiddenNumbers::active() { return hidden; }

void HiddenNumbers::refuse() {
  throw Error(
      "the host reads a number that changes from step to step, in a step that is recorded and replayed. Decide before "
      "the step, in NoiseStructure::collects; read the number in a kernel; or set NoiseCapabilities::needs_host, so "
      "that every step is issued anew");
}

}  // namespace noisysgd
