#include <noisysgd/kernels/onednn.h>

namespace noisysgd::kernels {

OnednnState::OnednnState() : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {}

}  // namespace noisysgd::kernels
