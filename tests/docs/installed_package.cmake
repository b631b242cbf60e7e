# Installs the package and moves it. Then: the example builds against it, starts and passes its test; so do a program
# that uses one room and one that uses pkg-config; another version is refused; a package that is missing is named.
file(REMOVE_RECURSE ${OUTPUT})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --component development --prefix ${OUTPUT}/first OUTPUT_QUIET
  COMMAND_ERROR_IS_FATAL ANY)
file(RENAME ${OUTPUT}/first ${OUTPUT}/prefix)
set(configure -G Ninja -D CMAKE_CXX_COMPILER=${COMPILER} -D CMAKE_PREFIX_PATH=${OUTPUT}/prefix)

execute_process(COMMAND ${CMAKE_COMMAND} -S ${EXAMPLE} -B ${OUTPUT}/example ${configure} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${OUTPUT}/example COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${OUTPUT}/example/swish-train ${EXAMPLE}/experiment.json --describe --device cpu OUTPUT_VARIABLE layers
  COMMAND_ERROR_IS_FATAL ANY)
if(NOT layers MATCHES "swish1")
  message(FATAL_ERROR "The example does not list its layer:\n${layers}")
endif()

execute_process(COMMAND ${CMAKE_CTEST_COMMAND} --test-dir ${OUTPUT}/example --output-on-failure COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${OUTPUT}/example/swish-bench --check --bars OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)

# A project with these lines after project().
function(configure_project name lines)
  file(WRITE ${OUTPUT}/${name}/CMakeLists.txt "cmake_minimum_required(VERSION 3.22)\nproject(user LANGUAGES CXX)\n${lines}")
  execute_process(COMMAND ${CMAKE_COMMAND} -S ${OUTPUT}/${name} -B ${OUTPUT}/${name}/build ${configure} ${ARGN}
    RESULT_VARIABLE status OUTPUT_QUIET ERROR_VARIABLE error)
  string(REGEX REPLACE "[ \n]+" " " error "${error}")
  set(status "${status}" PARENT_SCOPE)
  set(error "${error}" PARENT_SCOPE)
endfunction()
file(WRITE ${OUTPUT}/room/main.cpp "#include <noisysgd/kernels/queue.h>
int main() { return noisysgd::kernels::Queue({}, 1).threads() - 1; }
")
configure_project(room "find_package(noisysgd ${VERSION} CONFIG REQUIRED COMPONENTS kernels)
add_executable(user main.cpp)
target_link_libraries(user PRIVATE noisysgd::kernels)
if(TARGET noisysgd::core)
  message(FATAL_ERROR \"More is found than was wanted\")
endif()
" -D CMAKE_DISABLE_FIND_PACKAGE_CURL=ON)
if(status)
  message(FATAL_ERROR "${error}")
endif()
execute_process(COMMAND ${CMAKE_COMMAND} --build ${OUTPUT}/room/build COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${OUTPUT}/room/build/user COMMAND_ERROR_IS_FATAL ANY)

configure_project(missing "find_package(noisysgd CONFIG REQUIRED)\n" -D CMAKE_DISABLE_FIND_PACKAGE_CURL=ON)
if(NOT status OR NOT error MATCHES "needs packages that are not found: CURL")
  message(FATAL_ERROR "exit status ${status}, error:\n${error}")
endif()
configure_project(newer "find_package(noisysgd 9 CONFIG REQUIRED)\n")
if(NOT status OR NOT error MATCHES "version: ${VERSION}")
  message(FATAL_ERROR "exit status ${status}, error:\n${error}")
endif()
configure_project(unknown "find_package(noisysgd CONFIG REQUIRED COMPONENTS core paint)\n")
if(NOT status OR NOT error MATCHES "this NoisySGD has no component paint")
  message(FATAL_ERROR "exit status ${status}, error:\n${error}")
endif()

find_program(PKG_CONFIG pkg-config)
if(PKG_CONFIG)
  file(WRITE ${OUTPUT}/pc/main.cpp "#include <noisysgd/apps/train_app.h>
int main(int argc, char** argv) { return noisysgd::train_main(argc, argv); }
")
  file(GLOB_RECURSE pc ${OUTPUT}/prefix/*/noisysgd.pc)
  get_filename_component(folder ${pc} DIRECTORY)
  set(ENV{PKG_CONFIG_PATH} ${folder})
  execute_process(COMMAND ${PKG_CONFIG} --cflags --libs noisysgd OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE
    COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  execute_process(COMMAND ${COMPILER} ${OUTPUT}/pc/main.cpp ${flags} -o ${OUTPUT}/pc/user COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND ${OUTPUT}/pc/user --version OUTPUT_VARIABLE printed COMMAND_ERROR_IS_FATAL ANY)
  if(NOT printed MATCHES "^${VERSION}, commit ")
    message(FATAL_ERROR "--version printed ${printed}")
  endif()
endif()
