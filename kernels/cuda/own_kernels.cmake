# .cu files in C++20, for this project and for projects that use an installed NoisySGD.

# Must be called in the file scope of a CMakeLists.txt, like enable_language.
macro(nsgd_enable_cuda)
  enable_language(CUDA)
  if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.26 does not know that nvcc has C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  set(CMAKE_CUDA_STANDARD 20)
endmacro()

# noisysgd_cuda_sources(target a.cu …), after the target links noisysgd::kernels or a room that uses it: adds the CUDA
# twins of the target's ops if NoisySGD was built with the CUDA backend. They are compiled for its architectures unless
# CMAKE_CUDA_ARCHITECTURES is set, and by the host compiler if its CUDA is emulated. Must be called in file scope.
macro(noisysgd_cuda_sources target)
  get_target_property(_nsgd_definitions noisysgd::kernels INTERFACE_COMPILE_DEFINITIONS)
  if(TARGET nsgd_emulation)
    nsgd_emulate_kernels(${target} ${ARGN})
  elseif("${_nsgd_definitions}" MATCHES "NSGD_WITH_CUDA")
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      get_target_property(CMAKE_CUDA_ARCHITECTURES noisysgd::kernels CUDA_ARCHITECTURES)
    endif()
    nsgd_enable_cuda()
    target_sources(${target} PRIVATE ${ARGN})
    set_target_properties(${target} PROPERTIES CUDA_STANDARD 20 CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}")
    # Kernels share the constexpr functions of headers (Philox).
    target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr>")
  endif()
endmacro()
