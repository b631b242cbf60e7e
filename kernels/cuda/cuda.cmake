# How the .cu files are compiled: by nvcc, by the host compiler against kernels/emulation, or not at all.
if(NOT NSGD_CUDA MATCHES "^(AUTO|ON|OFF|EMULATE)$")
  message(FATAL_ERROR "NSGD_CUDA is \"${NSGD_CUDA}\", expected AUTO, ON, OFF or EMULATE")
endif()
if(NSGD_RACE_CHECK AND NOT NSGD_CUDA STREQUAL "EMULATE")
  message(FATAL_ERROR "NSGD_RACE_CHECK needs NSGD_CUDA=EMULATE")
endif()

set(NSGD_WITH_CUDA OFF)
set(NSGD_CUDA_EMULATED OFF)
if(NSGD_CUDA STREQUAL "EMULATE")
  set(NSGD_WITH_CUDA ON)
  set(NSGD_CUDA_EMULATED ON)
elseif(NSGD_WITH_NVCC)
  set(NSGD_WITH_CUDA ON)
  add_library(nsgd_cuda_flags INTERFACE)
  target_compile_options(nsgd_cuda_flags INTERFACE
    # The device pass's warnings, and those of the host compiler that nvcc calls.
    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>"
    "$<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${NSGD_WERROR}>>:-Werror=all-warnings;-Xcompiler=-Werror>")
endif()

# Compiles .cu files of the current directory into `target` with the host compiler, through a .cpp that includes each.
function(nsgd_emulate_kernels target)
  foreach(source ${ARGN})
    get_filename_component(name ${source} NAME_WE)
    set(wrapper ${CMAKE_CURRENT_BINARY_DIR}/${target}_emulated/${name}.cpp)
    file(GENERATE OUTPUT ${wrapper} CONTENT "#include \"${CMAKE_CURRENT_SOURCE_DIR}/${source}\"\n")
    target_sources(${target} PRIVATE ${wrapper})
    set_source_files_properties(${wrapper} TARGET_DIRECTORY ${target} PROPERTIES GENERATED ON
      COMPILE_OPTIONS "-fno-strict-aliasing;-Wno-unknown-pragmas;$<$<BOOL:${NSGD_RACE_CHECK}>:-fsanitize=thread;-gdwarf-4>")
  endforeach()
endfunction()

# nsgd_cuda_sources(target a.cu …) adds .cu files to a target of this project, with its warnings, in builds with CUDA.
macro(nsgd_cuda_sources target)
  noisysgd_cuda_sources(${target} ${ARGN})
  if(NOT NSGD_CUDA_EMULATED)
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:nsgd_cuda_flags>)
  endif()
endmacro()
