// Instead of cuDNN in a build without the headers of cudnn-frontend: no library is found, so nothing else is called.
#include <noisysgd/kernels/cuda/cudnn_graph.h>

namespace noisysgd::kernels::cudnn {

bool open_library(const std::string&, std::string& why_not) {
  why_not = "this build has no cuDNN";
  return false;
}
size_t version() { return 0; }
Handle make_handle(cudaStream_t) { return {}; }

struct Convolution::Graph {};
Convolution::Convolution(const Handle&, const Problem&, const PlanLimits&) {}
Convolution::~Convolution() = default;
void Convolution::execute(const Plan&, const void*, const void*, const void*, void*) const {}

}  // namespace noisysgd::kernels::cudnn
