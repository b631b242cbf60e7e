# nsgd_find_for(data) finds what that room's library links. The build reads this file, and so does the installed
# package. Both define nsgd_need(FOUND NAME), which says what is missing. These are macros because results of
# find_package in a function are not visible outside it.
macro(nsgd_find name)
  find_package(${name} QUIET)
  nsgd_need(${name}_FOUND ${name})
endmacro()

# nsgd_package(onednn LIBRARY INCLUDE_FOLDER): adds nsgd::onednn for a library that has no imported target of its own.
macro(nsgd_package name library include)
  if(NOT TARGET nsgd::${name})
    add_library(nsgd::${name} INTERFACE IMPORTED)
    set_target_properties(nsgd::${name} PROPERTIES
      INTERFACE_INCLUDE_DIRECTORIES "${include}" INTERFACE_LINK_LIBRARIES "${library}")
  endif()
endmacro()

macro(nsgd_find_for room)
  if("${room}" STREQUAL "kernels")
    nsgd_find(OpenMP)
    nsgd_find(Threads)
    nsgd_find(fmt)
    # Does not use oneDNN's own package file: Debian's needs the OpenCL headers, but the CPU engine does not.
    find_library(NSGD_ONEDNN dnnl)
    find_path(NSGD_ONEDNN_INCLUDE oneapi/dnnl/dnnl.hpp)
    nsgd_need(NSGD_ONEDNN oneDNN)
    nsgd_need(NSGD_ONEDNN_INCLUDE oneDNN)
    nsgd_package(onednn "${NSGD_ONEDNN}" "${NSGD_ONEDNN_INCLUDE}")
    # OpenBLAS must share oneDNN's OpenMP threads: the pthread variant would keep a second pool of spinning threads.
    find_library(NSGD_OPENBLAS NAMES openblas PATH_SUFFIXES openblas-openmp openblas)
    find_path(NSGD_CBLAS_INCLUDE cblas.h PATH_SUFFIXES openblas-openmp ${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp openblas)
    nsgd_need(NSGD_OPENBLAS OpenBLAS)
    nsgd_need(NSGD_CBLAS_INCLUDE OpenBLAS)
    nsgd_package(openblas "${NSGD_OPENBLAS}" "${NSGD_CBLAS_INCLUDE}")
  elseif("${room}" STREQUAL "core")
    nsgd_find(nlohmann_json)
  elseif("${room}" STREQUAL "data")
    nsgd_find(ZLIB)
    nsgd_find(PNG)
    nsgd_find(JPEG)
    nsgd_find(CURL)
  elseif("${room}" STREQUAL "apps")
    nsgd_find(CLI11)
  endif()
endmacro()
