# Configuring without a package that the build needs ends with its name and the script that installs it.
file(REMOVE_RECURSE ${OUTPUT})
execute_process(COMMAND ${CMAKE_COMMAND} -S ${SOURCE} -B ${OUTPUT} -G Ninja -D CMAKE_CXX_COMPILER=${COMPILER}
    -D NSGD_CUDA=OFF -D CMAKE_DISABLE_FIND_PACKAGE_JPEG=ON
  RESULT_VARIABLE status OUTPUT_QUIET ERROR_VARIABLE error)
string(REGEX REPLACE "[ \n]+" " " error "${error}")
if(status EQUAL 0 OR NOT error MATCHES "JPEG is not found: [^ ]*scripts/install_packages.sh installs")
  message(FATAL_ERROR "exit status ${status}, error:\n${error}")
endif()
