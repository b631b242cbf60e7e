// A library in front of cuDNN: passes calls on, records what a convolution consists of, and executes nothing. So the
// calls that need a GPU can be tested without one.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace noisysgd::test {

struct CudnnTensor {
  std::vector<int64_t> dimensions, strides;
  int type;  // cudnnDataType_t
  int64_t alignment;
  const void* address = nullptr;  // in the last execution
};

struct CudnnCalls {
  std::map<int64_t, CudnnTensor> tensors = {};  // by identifier
  const void* workspace = nullptr;              // of the last execution
  // The device has too little memory for a handle, for descriptors of this kind (cudnnBackendDescriptorType_t), or for
  // an execution.
  bool no_handle = false, no_execution = false;
  int none_of_kind = -1;
};
CudnnCalls& cudnn_calls();

}  // namespace noisysgd::test
