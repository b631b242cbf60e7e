#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <vector>

#include <noisysgd/kernels/emulation/device_memory.h>
#include <noisysgd/kernels/emulation/launches.h>
#include <noisysgd/kernels/emulation/rounding.h>
#include <noisysgd/kernels/emulation/stream.h>

struct cublasContext {
  cudaStream_t stream = nullptr;
  bool has_workspace = false;
};

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  handle->has_workspace = false;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void* workspace, size_t bytes) {
  noisysgd::emulation::check_range(workspace, bytes, true, "cublasSetWorkspace");
  handle->has_workspace = bytes > 0;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetProperty(libraryPropertyType, int* value) {
  *value = 0;
  return CUBLAS_STATUS_SUCCESS;
}

const char* cublasGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "unknown cuBLAS status";
}

static int operand_fraction(cublasComputeType_t compute) {
  using namespace noisysgd::emulation;
  return compute == CUBLAS_COMPUTE_32F_FAST_TF32   ? tf32_fraction
         : compute == CUBLAS_COMPUTE_32F_FAST_16BF ? bf16_fraction
                                                   : fp32_fraction;
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m, int n, int k,
                            const void* alpha, const void* a, cudaDataType_t a_type, int lda, const void* b,
                            cudaDataType_t b_type, int ldb, const void* beta, void* c, cudaDataType_t c_type, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  const bool transposed_a = op_a != CUBLAS_OP_N, transposed_b = op_b != CUBLAS_OP_N;
  if (m < 0 || n < 0 || k < 0 || lda < std::max(1, transposed_a ? k : m) || ldb < std::max(1, transposed_b ? n : k) ||
      ldc < std::max(1, m)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (a_type != CUDA_R_32F || b_type != CUDA_R_32F || c_type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  cudaStreamIsCapturing(handle->stream, &capture);
  if (capture != cudaStreamCaptureStatusNone && !handle->has_workspace) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (noisysgd::emulation::no_room_to_launch()) return CUBLAS_STATUS_ALLOC_FAILED;
  const float scale = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  const int fraction = operand_fraction(compute);
  noisysgd::emulation::submit(handle->stream, [=, a = static_cast<const float*>(a), b = static_cast<const float*>(b),
                                               c = static_cast<float*>(c)] {
    noisysgd::emulation::count_library_call("cuBLAS");
    std::vector<float> left(size_t(m) * k), right(size_t(n) * k);  // [m,k], [n,k]
    for (int p = 0; p < k; ++p) {
      for (int i = 0; i < m; ++i)
        left[size_t(i) * k + p] = noisysgd::emulation::round_to_fraction(
            a[transposed_a ? size_t(i) * lda + p : size_t(p) * lda + i], fraction);
      for (int j = 0; j < n; ++j)
        right[size_t(j) * k + p] = noisysgd::emulation::round_to_fraction(
            b[transposed_b ? size_t(p) * ldb + j : size_t(j) * ldb + p], fraction);
    }
    for (int j = 0; j < n; ++j) {
      for (int i = 0; i < m; ++i) {
        float sum = 0;
        for (int p = 0; p < k; ++p) sum += left[size_t(i) * k + p] * right[size_t(j) * k + p];
        float& element = c[size_t(j) * ldc + i];
        element = scale * sum + (keep == 0.0f ? 0.0f : keep * element);
      }
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}
