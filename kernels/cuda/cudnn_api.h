// The part of cuDNN 9's graph API that the project calls, declared here with cuDNN's own values. So a build needs no
// cuDNN, and a run loads the library if it finds it. A test compares the values with cuDNN's headers where they are
// installed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <noisysgd/kernels/cuda/runtime.h>

namespace noisysgd::kernels::cudnn {

using Handle = struct Context*;
using RawDescriptor = void*;

enum class Status : int {
  success = 0,
  bad_parameter = 2000,
  not_finalized = 2004,
  not_supported = 3000,
  no_device_memory = 4004,
};

enum class Kind : int {
  convolution = 1,
  engine = 2,
  engine_config = 3,
  heuristics = 4,
  plan = 5,
  convolution_forward = 10,
  convolution_backward_filter = 11,
  convolution_backward_data = 12,
  graph = 15,
  variant_pack = 16,
  tensor = 17,
  device_properties = 38,
};

enum class Attribute : int {
  convolution_compute_type = 100,
  convolution_mode = 101,
  convolution_dilations = 102,
  convolution_strides = 103,
  convolution_post_paddings = 104,
  convolution_pre_paddings = 105,
  convolution_spatial_dimensions = 106,
  heuristics_mode = 200,
  heuristics_graph = 201,
  heuristics_results = 202,
  heuristics_device_properties = 204,
  config_engine = 300,
  plan_handle = 400,
  plan_config = 401,
  plan_workspace_bytes = 402,
  plan_device_properties = 407,
  // Attributes of the three operations forward, backward_data and backward_filter.
  forward_alpha = 700,
  forward_beta = 701,
  forward_convolution = 702,
  forward_w = 703,
  forward_x = 704,
  forward_y = 705,
  data_alpha = 706,
  data_beta = 707,
  data_convolution = 708,
  data_w = 709,
  data_x = 710,
  data_y = 711,
  filter_alpha = 712,
  filter_beta = 713,
  filter_convolution = 714,
  filter_w = 715,
  filter_x = 716,
  filter_y = 717,
  graph_handle = 800,
  graph_operations = 801,
  tensor_alignment = 900,
  tensor_data_type = 901,
  tensor_dimensions = 902,
  tensor_strides = 903,
  tensor_id = 906,
  pack_ids = 1000,
  pack_pointers = 1001,
  pack_workspace = 1003,
  engine_index = 1301,
  engine_numerical_notes = 1303,
  engine_behaviour_notes = 1305,
  device_properties_json = 2702,
};

enum class Type : int {
  handle = 0,
  data_type = 1,
  int64 = 3,
  fp32 = 4,
  pointer = 6,
  convolution_mode = 7,
  heuristics_mode = 8,
  numerical_note = 11,
  descriptor = 15,
  behaviour_note = 19,
  text = 24,
};

enum class DataType : int { fp32 = 0, fp16 = 2, bf16 = 9 };
enum class ConvolutionMode : int { cross_correlation = 1 };
enum class HeuristicsMode : int { fallback = 2, best_first = 3 };
enum class NumericalNote : int {
  tensor_core = 0,
  down_converts_inputs = 1,
  reduced_precision_reduction = 2,
  fft = 3,
  nondeterministic = 4,
  winograd = 5,
  winograd_4x4 = 6,
  winograd_6x6 = 7,
  winograd_13x13 = 8,
  strict_nan = 9,
};
enum class BehaviourNote : int { compiled_at_run_time = 0 };

struct Api {
  size_t (*version)();
  const char* (*status_name)(Status status);
  void (*last_error)(char* message, size_t capacity);
  Status (*create)(Handle* handle);
  Status (*destroy)(Handle handle);
  Status (*set_stream)(Handle handle, cudaStream_t stream);
  Status (*create_descriptor)(Kind kind, RawDescriptor* descriptor);
  Status (*destroy_descriptor)(RawDescriptor descriptor);
  Status (*finalize)(RawDescriptor descriptor);
  Status (*set_attribute)(RawDescriptor descriptor, Attribute attribute, Type type, int64_t count, const void* values);
  Status (*get_attribute)(RawDescriptor descriptor, Attribute attribute, Type type, int64_t capacity, int64_t* count,
                          void* values);
  Status (*execute)(Handle handle, RawDescriptor plan, RawDescriptor variant_pack);
};

// Loads the library from this file; it stays loaded. A name without a slash, like "libcudnn.so.9", is searched for by
// the loader. Returns null and the reason in why_not if the library cannot be used; so do the functions below.
const Api* open_library(const std::string& file, std::string& why_not);

// The library when NSGD_CUDNN is not set: libcudnn.so.9; none in the emulation.
const Api* default_library(std::string& why_not);
// The library for NSGD_CUDNN=on: libcudnn.so.9, or its emulation.
const Api* wanted_library(std::string& why_not);

// The library that the environment variable NSGD_CUDNN selects: a file, "on" or "off"; the default if it is not set.
// Throws Error if the variable requests a library and it cannot be used.
const Api* find_library(std::string& why_not);

}  // namespace noisysgd::kernels::cudnn
