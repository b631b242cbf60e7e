#include <noisysgd/kernels/memory.h>

#include <noisysgd/kernels/cuda/state.h>

namespace noisysgd::kernels::cuda {

void copy_from_host(Queue& queue, size_t bytes, const void* from, void* to) {
  if (bytes == 0) return;
  NSGD_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, queue.cuda().stream()));
  queue.cuda().wait();  // CUDA does not guarantee that `from`, even if pageable, has been read by now
}

void copy_to_host(Queue& queue, size_t bytes, const void* from, void* to) {
  if (bytes > 0) NSGD_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, queue.cuda().stream()));
  queue.cuda().wait();
}

void copy(Queue& queue, size_t bytes, const void* from, void* to) {
  if (bytes == 0) return;
  NSGD_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, queue.cuda().stream()));
}

}  // namespace noisysgd::kernels::cuda
