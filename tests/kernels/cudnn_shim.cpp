#include "tests/kernels/cudnn_shim.h"

#include <cudnn.h>
#include <dlfcn.h>

#include <algorithm>

namespace noisysgd::test {

namespace {

constexpr cudnnStatus_t no_memory = CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;

CudnnCalls calls;

struct Content {
  cudnnBackendDescriptorType_t kind;
  std::map<cudnnBackendAttributeName_t, std::vector<int64_t>> values;
};
std::map<cudnnBackendDescriptor_t, Content> contents;

// cuDNN's own function of the same name and type.
template <class Function>
Function* real(Function*, const char* name) {
  static void* const library = dlopen("libcudnn.so.9", RTLD_NOW);
  return reinterpret_cast<Function*>(dlsym(library, name));
}

}  // namespace

CudnnCalls& cudnn_calls() { return calls; }

}  // namespace noisysgd::test

using namespace noisysgd::test;

extern "C" {

cudnnStatus_t cudnnCreate(cudnnHandle_t*) { return calls.no_handle ? no_memory : CUDNN_STATUS_NOT_INITIALIZED; }

cudnnStatus_t cudnnGetStream(cudnnHandle_t, cudaStream_t* stream) {
  *stream = nullptr;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t kind, cudnnBackendDescriptor_t* descriptor) {
  const cudnnStatus_t status = real(cudnnBackendCreateDescriptor, "cudnnBackendCreateDescriptor")(kind, descriptor);
  contents[*descriptor] = {kind, {}};
  return status;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void* values) {
  std::vector<int64_t>& kept = contents[descriptor].values[name];
  if (type == CUDNN_TYPE_INT64 || type == CUDNN_TYPE_VOID_PTR)
    kept.assign(static_cast<const int64_t*>(values), static_cast<const int64_t*>(values) + count);
  if (type == CUDNN_TYPE_DATA_TYPE) kept.assign(1, *static_cast<const cudnnDataType_t*>(values));
  return real(cudnnBackendSetAttribute, "cudnnBackendSetAttribute")(descriptor, name, type, count, values);
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  Content& content = contents[descriptor];
  if (content.kind == calls.none_of_kind) return no_memory;
  if (content.kind == CUDNN_BACKEND_TENSOR_DESCRIPTOR)
    calls.tensors[content.values[CUDNN_ATTR_TENSOR_UNIQUE_ID].at(0)] = {
        content.values[CUDNN_ATTR_TENSOR_DIMENSIONS], content.values[CUDNN_ATTR_TENSOR_STRIDES],
        static_cast<int>(content.values[CUDNN_ATTR_TENSOR_DATA_TYPE].at(0)),
        content.values[CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT].at(0)};
  return real(cudnnBackendFinalize, "cudnnBackendFinalize")(descriptor);
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t, cudnnBackendDescriptor_t, cudnnBackendDescriptor_t pack) {
  if (calls.no_execution) return no_memory;
  auto& values = contents[pack].values;
  const std::vector<int64_t>& ids = values[CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS];
  for (size_t i = 0; i < ids.size(); ++i)
    calls.tensors.at(ids[i]).address =
        reinterpret_cast<const void*>(values[CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS].at(i));
  calls.workspace = reinterpret_cast<const void*>(values[CUDNN_ATTR_VARIANT_PACK_WORKSPACE].at(0));
  return CUDNN_STATUS_SUCCESS;
}

}  // extern "C"
