#include <noisysgd/kernels/cuda/device.h>

#include <fmt/format.h>

#include <fstream>
#include <regex>
#include <string>

#include <noisysgd/kernels/cuda/state.h>

namespace noisysgd::kernels::cuda {

namespace {

constexpr int least_major = 8;  // compute capability: asynchronous copies, tf32 and bf16 on tensor cores

// CUDA's number 12040 as "12.4".
std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

std::string cublas_version() {
  int major = 0, minor = 0, patch = 0;
  NSGD_CUBLAS_CHECK(cublasGetProperty(MAJOR_VERSION, &major));
  NSGD_CUBLAS_CHECK(cublasGetProperty(MINOR_VERSION, &minor));
  NSGD_CUBLAS_CHECK(cublasGetProperty(PATCH_LEVEL, &patch));
  return fmt::format("{}.{}.{}", major, minor, patch);
}

// The kernel module's version, "580.95.05"; cudaDriverGetVersion tells only the newest CUDA that the driver knows.
std::string nvidia_driver() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string line;
  std::getline(file, line);
  const std::regex number(R"(\b\d+\.\d+(\.\d+)?\b)");
  std::smatch found;
  return std::regex_search(line, found, number) ? found.str() : "unknown";
}

std::string about_driver() {
  int driver = 0, runtime = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return "this machine has no NVIDIA driver";
  NSGD_CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
  return fmt::format("the NVIDIA driver knows CUDA up to {}, this build is one of CUDA {}: a newer driver is needed",
                     version_text(driver), version_text(runtime));
}

}  // namespace

std::string why_unusable(int device_index) {
  int count = 0;
  const cudaError_t error = taken(cudaGetDeviceCount(&count));
  if (error == cudaErrorInsufficientDriver) return about_driver();
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) return "this machine has no CUDA device";
  if (error != cudaSuccess) return cudaGetErrorString(error);
  if (device_index < 0 || device_index >= count)
    return fmt::format("this machine has {} CUDA device{}, numbered from 0", count, count == 1 ? "" : "s");
  int major = 0, minor = 0;
  NSGD_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device_index));
  NSGD_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device_index));
  if (major >= least_major) return {};
  return fmt::format("its compute capability is {}.{}, and {}.0 is the least that the kernels run on", major, minor,
                     least_major);
}

std::shared_ptr<CudaState> make_state(int device_index) { return std::make_shared<CudaState>(device_index); }

std::vector<std::pair<std::string, std::string>> describe_device(int device_index) {
  cudaDeviceProp properties{};
  NSGD_CUDA_CHECK(cudaGetDeviceProperties(&properties, device_index));
  int runtime = 0, driver = 0;
  NSGD_CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
  NSGD_CUDA_CHECK(cudaDriverGetVersion(&driver));
  return {{"gpu", properties.name},
          {"compute_capability", fmt::format("{}.{}", properties.major, properties.minor)},
          {"multiprocessors", std::to_string(properties.multiProcessorCount)},
          {"gpu_memory_mib", std::to_string(properties.totalGlobalMem >> 20)},
          {"cuda_runtime", version_text(runtime)},
          {"cuda_driver", version_text(driver)},
          {"nvidia_driver", nvidia_driver()},
          {"cublas", cublas_version()},
          {"emulated", cuda_emulated ? "yes" : "no"}};
}

std::string convolutions(const CudaState& state) { return state.convolutions(); }

void synchronize(CudaState& state) { state.wait(); }
int64_t waits(const CudaState& state) { return state.waits(); }

bool recording(const CudaState& state) {
  cudaStreamCaptureStatus status;
  NSGD_CUDA_CHECK(cudaStreamIsCapturing(state.stream(), &status));
  return status != cudaStreamCaptureStatusNone;
}

void* allocate(int device_index, size_t bytes) {
  NSGD_CUDA_CHECK(cudaSetDevice(device_index));
  void* pointer = nullptr;
  const cudaError_t error = taken(cudaMalloc(&pointer, bytes));
  if (error == cudaErrorMemoryAllocation) return nullptr;
  NSGD_CUDA_CHECK(error);
  return pointer;
}

void release(int device_index, void* pointer) noexcept {
  cudaSetDevice(device_index);
  cudaFree(pointer);
}

}  // namespace noisysgd::kernels::cuda
