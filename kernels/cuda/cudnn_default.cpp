// Default in a build for GPUs: cuDNN is used if it is found.
#include <noisysgd/kernels/cuda/cudnn_api.h>

namespace noisysgd::kernels::cudnn {

const Api* wanted_library(std::string& why_not) { return open_library("libcudnn.so.9", why_not); }
const Api* default_library(std::string& why_not) { return wanted_library(why_not); }

}  // namespace noisysgd::kernels::cudnn
