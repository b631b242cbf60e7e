# No CUDA kernel and no header up to optim/ reads fmt or the definition of JSON documents, which cost every file that
# includes them a second or more. INCLUDES is the include path; CUDA's headers are those of its emulation.
cmake_minimum_required(VERSION 3.22)
set(path -I ${SOURCE}/kernels/emulation/include)
foreach(folder ${INCLUDES})
  list(APPEND path -I ${folder})
endforeach()
file(MAKE_DIRECTORY ${FOLDER})

function(check name)  # source…
  list(TRANSFORM ARGN REPLACE "(.+)" "#include \"${SOURCE}/\\1\"\n")
  list(JOIN ARGN "" text)
  file(WRITE ${FOLDER}/${name}.cpp "${text}")
  execute_process(COMMAND ${COMPILER} -std=c++20 -M -DNSGD_WITH_CUDA ${path} ${FOLDER}/${name}.cpp
    RESULT_VARIABLE status OUTPUT_VARIABLE read ERROR_VARIABLE error)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${name}:\n${error}")
  endif()
  if(NOT read MATCHES "kernels/check\\.h")
    message(FATAL_ERROR "${name}: the compiler does not list what it reads:\n${read}")
  endif()
  string(REGEX MATCHALL "[^ \n]*(/fmt/|nlohmann/json\\.hpp)[^ \n]*" heavy "${read}")
  if(heavy)
    message(FATAL_ERROR "${name}: some of these read ${heavy}:\n${text}")
  endif()
endfunction()

file(GLOB_RECURSE kernels RELATIVE ${SOURCE} ${SOURCE}/kernels/*.cu)
check(kernels ${kernels})
foreach(room kernels core layers optim)
  file(GLOB_RECURSE headers RELATIVE ${SOURCE} ${SOURCE}/${room}/*.h)
  # core/config_node.h is for core/config*.cpp alone.
  list(FILTER headers EXCLUDE REGEX "^kernels/(emulation|onednn|cuda/nvcc)|^core/(json|config_node)\\.h")
  check(${room} ${headers})
endforeach()
