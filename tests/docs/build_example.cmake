# Configures the example as the project of its own that its page shows, and compiles its main.cpp: what the headers need
# must come with the library's target. The rest of that project is built here already.
file(REMOVE_RECURSE ${OUTPUT})
execute_process(COMMAND ${CMAKE_COMMAND} -S ${EXAMPLE} -B ${OUTPUT} -G Ninja -D CMAKE_CXX_COMPILER=${COMPILER} -D NSGD_CUDA=OFF
  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${OUTPUT} --target CMakeFiles/swish-train.dir/main.cpp.o
  COMMAND_ERROR_IS_FATAL ANY)
