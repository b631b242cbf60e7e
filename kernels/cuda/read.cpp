#include <noisysgd/kernels/cuda/device.h>
#include <noisysgd/kernels/cuda/state.h>
#include <noisysgd/kernels/queue.h>

namespace noisysgd::kernels {

struct CudaRead::Parts {
  Parts(Queue& queue, size_t bytes) : queue(queue), bytes(bytes) {
    NSGD_CUDA_CHECK(cudaMallocHost(&pinned, bytes));
    NSGD_CUDA_CHECK(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
  }
  ~Parts() {
    if (done) cudaEventDestroy(done);
    if (pinned) cudaFreeHost(pinned);
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  Queue& queue;
  size_t bytes;
  void* pinned = nullptr;
  cudaEvent_t done = nullptr;
};

CudaRead::CudaRead(Queue& queue, size_t bytes) : parts_(std::make_unique<Parts>(queue, bytes)) {}
CudaRead::~CudaRead() = default;

void CudaRead::issue(const void* from) {
  const cudaStream_t stream = parts_->queue.cuda().stream();
  NSGD_CUDA_CHECK(cudaMemcpyAsync(parts_->pinned, from, parts_->bytes, cudaMemcpyDeviceToHost, stream));
  NSGD_CUDA_CHECK(cudaEventRecord(parts_->done, stream));
}

bool CudaRead::ready() const {
  const cudaError_t state = cudaEventQuery(parts_->done);
  if (state != cudaErrorNotReady) NSGD_CUDA_CHECK(state);
  return state == cudaSuccess;
}

const void* CudaRead::wait() {
  if (!ready()) parts_->queue.cuda().wait(parts_->done);
  return parts_->pinned;
}

}  // namespace noisysgd::kernels
