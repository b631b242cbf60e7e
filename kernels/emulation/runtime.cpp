#include <cuda_runtime_api.h>

#include <chrono>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/emulation/calls.h>
#include <noisysgd/kernels/emulation/device_memory.h>
#include <noisysgd/kernels/emulation/emulated_device.h>
#include <noisysgd/kernels/emulation/scheduler.h>
#include <noisysgd/kernels/emulation/stream.h>

using noisysgd::emulation::device_seconds;
using noisysgd::emulation::DeviceMode;
using noisysgd::emulation::submit;
using Work = std::function<void()>;

struct CUgraph_st {
  std::vector<Work> work;
};
struct CUgraphExec_st {
  std::shared_ptr<const std::vector<Work>> work;
};
struct CUstream_st {
  std::deque<Work> queued;
  unsigned long long submitted = 0, executed = 0;
  cudaGraph_t graph = nullptr;  // the graph that the capture records into; null: no capture
  bool capture_origin = false;
  bool blocking = true;  // ordered with the null stream
};
struct CUevent_st {
  cudaStream_t stream = nullptr;
  unsigned long long ticket = 0;  // covers the stream's work up to this number
  cudaGraph_t graph = nullptr;    // recorded during this capture
  std::chrono::duration<double> time{};
};

namespace {

struct Runtime {
  CUstream_st null_stream;
  std::vector<cudaStream_t> streams;
  int captures = 0;
  cudaError_t last_error = cudaSuccess;
  std::exception_ptr fault;  // the first of the work done since throw_fault()
};
Runtime& runtime() {
  static Runtime& instance = *new Runtime;  // never destroyed: static tensors may be freed after it
  return instance;
}

cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess) runtime().last_error = error;
  return error;
}

cudaStream_t resolve(cudaStream_t stream) { return stream ? stream : &runtime().null_stream; }

cudaError_t refuse_while_capturing() {
  return result(runtime().captures > 0 ? cudaErrorStreamCaptureUnsupported : cudaSuccess);
}

// Does not throw: the calls that free and destroy also wait for work, and destructors make them.
void drain(cudaStream_t stream, unsigned long long ticket) {
  while (stream->executed < ticket && !stream->queued.empty()) {
    Work work = std::move(stream->queued.front());
    stream->queued.pop_front();
    ++stream->executed;
    DeviceMode device_mode;
    try {
      work();
    } catch (...) {
      if (!runtime().fault) runtime().fault = std::current_exception();
    }
  }
}
// Called by every function that starts or awaits work.
void throw_fault() {
  if (runtime().fault) std::rethrow_exception(std::exchange(runtime().fault, nullptr));
}
void drain(cudaStream_t stream) { drain(stream, stream->submitted); }
void drain_all() {
  drain(&runtime().null_stream);
  // The newest stream first, so that code fails if it relies on an order of streams without an event.
  for (size_t i = runtime().streams.size(); i-- > 0;) drain(runtime().streams[i]);
}

void copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  using noisysgd::emulation::is_device_pointer;
  bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind == cudaMemcpyDefault) {
    to_device = is_device_pointer(to);
    from_device = is_device_pointer(from);
  }
  noisysgd::emulation::check_range(to, bytes, to_device, "cudaMemcpy: destination");
  noisysgd::emulation::check_range(from, bytes, from_device, "cudaMemcpy: source");
  if (bytes > 0) std::memcpy(to, from, bytes);
}

}  // namespace

namespace noisysgd::emulation {

Calls& calls() {
  static Calls instance;
  return instance;
}

cudaError_t submit(cudaStream_t stream_or_null, Work work) {
  throw_fault();
  const cudaStream_t stream = resolve(stream_or_null);
  if (stream->graph) {
    stream->graph->work.push_back(std::move(work));
    return cudaSuccess;
  }
  ++calls().launches;
  if (stream == &runtime().null_stream) {
    if (runtime().captures > 0) return result(cudaErrorStreamCaptureImplicit);
    for (cudaStream_t other : runtime().streams)
      if (other->blocking) drain(other);
  } else if (stream->blocking) {
    drain(&runtime().null_stream);
  }
  stream->queued.push_back(std::move(work));
  ++stream->submitted;
  if (!options().deferred) drain(stream);
  throw_fault();
  return cudaSuccess;
}

}  // namespace noisysgd::emulation

static cudaError_t allocate(void** pointer, size_t bytes, bool on_device) {
  if (const cudaError_t error = refuse_while_capturing()) return error;
  ++noisysgd::emulation::calls().allocations;
  *pointer = noisysgd::emulation::allocate(bytes, on_device);
  return *pointer ? cudaSuccess : result(cudaErrorMemoryAllocation);
}
static cudaError_t release(void* pointer, bool on_device) {
  if (const cudaError_t error = refuse_while_capturing()) return error;
  ++noisysgd::emulation::calls().allocations;
  drain_all();
  if (!pointer) return cudaSuccess;
  return result(noisysgd::emulation::release(pointer, on_device) ? cudaSuccess : cudaErrorInvalidValue);
}
cudaError_t cudaMalloc(void** pointer, size_t bytes) { return allocate(pointer, bytes, true); }
cudaError_t cudaFree(void* pointer) { return release(pointer, true); }
cudaError_t cudaMallocHost(void** pointer, size_t bytes) { return allocate(pointer, bytes, false); }
cudaError_t cudaFreeHost(void* pointer) { return release(pointer, false); }
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = noisysgd::emulation::emulated_device().memory_bytes;
  *free = *total - noisysgd::emulation::device_bytes_held();
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (resolve(stream)->graph) {  // a replay would copy whatever the memory contains by then
    const bool pinned = noisysgd::emulation::find_allocation(from) && noisysgd::emulation::find_allocation(to);
    NSGD_CHECK(pinned, "cudaMemcpyAsync: a copy of pageable memory is recorded into a graph");
  }
  // Pageable memory may be read as late as pinned memory: only cudaMemcpy guarantees that it has been read on return.
  return submit(stream, [=] { copy(to, from, bytes, kind); });
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t error = refuse_while_capturing()) return error;
  ++noisysgd::emulation::calls().waits;
  // From pageable memory, the call returns when that memory has been read; the device may receive the copy later.
  if (!noisysgd::emulation::find_allocation(from) && noisysgd::emulation::is_device_pointer(to)) {
    const auto* begin = static_cast<const char*>(from);
    auto staged = std::make_shared<std::vector<char>>(begin, begin + bytes);
    return submit(nullptr, [=] { copy(to, staged->data(), bytes, kind); });
  }
  if (const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr)) return error;
  drain(&runtime().null_stream);
  throw_fault();
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  runtime().streams.push_back(*stream = new CUstream_st);
  (*stream)->blocking = (flags & cudaStreamNonBlocking) == 0;
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  drain(stream);
  std::erase(runtime().streams, stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (resolve(stream)->graph) return result(cudaErrorStreamCaptureUnsupported);
  ++noisysgd::emulation::calls().waits;
  if (!stream) {
    drain_all();
  } else {
    drain(stream);
  }
  throw_fault();
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event->stream) drain(event->stream, event->ticket);  // queued work writes its time
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream_or_null) {
  const cudaStream_t stream = resolve(stream_or_null);
  event->graph = stream->graph;
  if (stream->graph) return cudaSuccess;
  const cudaError_t error = submit(stream, [event] {
    const std::chrono::duration<double> host = std::chrono::steady_clock::now().time_since_epoch();
    event->time = host + std::chrono::duration<double>(device_seconds());
  });
  event->stream = stream;
  event->ticket = stream->submitted;
  return error;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream_or_null, cudaEvent_t event, unsigned) {
  const cudaStream_t stream = resolve(stream_or_null);
  if (event->graph) {  // the stream joins the capture
    if (!stream->graph) stream->graph = event->graph;
    return cudaSuccess;
  }
  if (!event->stream) return cudaSuccess;
  return submit(stream, [from = event->stream, ticket = event->ticket] { drain(from, ticket); });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  ++noisysgd::emulation::calls().waits;
  if (event->stream) drain(event->stream, event->ticket);
  throw_fault();
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return !event->stream || event->stream->executed >= event->ticket ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (!stream || stream->graph) return result(cudaErrorStreamCaptureUnsupported);
  stream->graph = new CUgraph_st;
  stream->capture_origin = true;
  ++runtime().captures;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!stream->graph || !stream->capture_origin) return result(cudaErrorIllegalState);
  *graph = stream->graph;
  --runtime().captures;
  stream->capture_origin = false;
  for (cudaStream_t other : runtime().streams) {
    if (other->graph == *graph) other->graph = nullptr;
  }
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = resolve(stream)->graph ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  if (noisysgd::emulation::no_room_to_launch()) return result(cudaErrorMemoryAllocation);
  *executable = new CUgraphExec_st{std::make_shared<const std::vector<Work>>(graph->work)};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  ++noisysgd::emulation::calls().graph_launches;
  return submit(stream, [steps = executable->work] {
    for (const Work& step : *steps) step();
  });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  const auto& device = noisysgd::emulation::emulated_device();
  *count = device.driver == cudaSuccess ? device.count : 0;
  return result(device.driver);
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = noisysgd::emulation::emulated_device().driver_version;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = noisysgd::emulation::emulated_device().runtime_version;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return result(cudaErrorInvalidDevice);
  const auto& emulated = noisysgd::emulation::emulated_device();
  *properties = {"Emulated GPU", emulated.memory_bytes, emulated.major, emulated.minor, 4};
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return result(device == 0 ? cudaSuccess : cudaErrorInvalidDevice); }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device != 0) return result(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(noisysgd::emulation::emulated_device().block_shared_bytes);
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = noisysgd::emulation::emulated_device().major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = noisysgd::emulation::emulated_device().minor;
      break;
  }
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return std::exchange(runtime().last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return runtime().last_error; }

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorIllegalState:
      return "cudaErrorIllegalState";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureImplicit:
      return "cudaErrorStreamCaptureImplicit";
  }
  return "unrecognized error code";
}
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorIllegalState:
      return "the operation cannot be performed in the present state";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureImplicit:
      return "operation would make the legacy stream depend on a capturing stream";
  }
  return "unrecognized error code";
}
