# Configures the example as a separate project, as its page shows, and compiles its sources: the library's targets must
# provide everything that the headers need. The rest of that project is part of this build.
file(REMOVE_RECURSE ${OUTPUT})
execute_process(COMMAND ${CMAKE_COMMAND} -S ${EXAMPLE} -B ${OUTPUT} -G Ninja -D CMAKE_CXX_COMPILER=${COMPILER} -D NSGD_CUDA=OFF
    -D CMAKE_DISABLE_FIND_PACKAGE_noisysgd=ON
  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${OUTPUT} --target CMakeFiles/swish-train.dir/main.cpp.o
  CMakeFiles/swish-ops.dir/swish_op.cpp.o CMakeFiles/swish-bench.dir/swish_bench.cpp.o CMakeFiles/swish-test.dir/swish_test.cpp.o
  COMMAND_ERROR_IS_FATAL ANY)
