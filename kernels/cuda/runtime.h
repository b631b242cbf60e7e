// The CUDA runtime and cuBLAS for host code, or their emulation (docs/cuda.md), and the checks of their calls.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <nsgd_cuda.h>  // cuda_emulated

#include <noisysgd/kernels/check.h>

namespace noisysgd::kernels {

// Returns the error and clears it as CUDA's last error. Otherwise a library that reads the last error after one of its
// own calls would mistake it for an error of that call.
inline cudaError_t taken(cudaError_t error) {
  if (error != cudaSuccess) cudaGetLastError();
  return error;
}

[[noreturn]] inline void fail(bool of_memory, const std::string& message) {
  if (of_memory) throw OutOfMemory(message);
  throw Error(message);
}
}  // namespace noisysgd::kernels

// NSGD_CUDA_CHECK(cudaStreamSynchronize(stream)) throws noisysgd::Error with the call and CUDA's message, or
// OutOfMemory if the call failed for lack of memory. NSGD_CUBLAS_CHECK likewise.
#define NSGD_CUDA_CHECK(...)                                                                                     \
  do {                                                                                                           \
    if (const cudaError_t nsgd_error = (__VA_ARGS__); nsgd_error != cudaSuccess) [[unlikely]]                    \
      ::noisysgd::kernels::fail(nsgd_error == cudaErrorMemoryAllocation,                                         \
                                ::noisysgd::message("{}: {} ({})", #__VA_ARGS__, cudaGetErrorString(nsgd_error), \
                                                    cudaGetErrorName(nsgd_error)));                              \
  } while (false)

#define NSGD_CUBLAS_CHECK(...)                                                                                    \
  do {                                                                                                            \
    if (const cublasStatus_t nsgd_status = (__VA_ARGS__); nsgd_status != CUBLAS_STATUS_SUCCESS) [[unlikely]]      \
      ::noisysgd::kernels::fail(nsgd_status == CUBLAS_STATUS_ALLOC_FAILED,                                        \
                                ::noisysgd::message("{}: {}", #__VA_ARGS__, cublasGetStatusString(nsgd_status))); \
  } while (false)
