# scripts/gpu_check.sh on the emulated device: every step is taken, and the report says what was run and what was not.
cmake_minimum_required(VERSION 3.22)
file(REMOVE_RECURSE ${FOLDER})
execute_process(COMMAND ${SOURCE}/scripts/gpu_check.sh --quick --folder ${BUILD} --report ${FOLDER}
  RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE error)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "exit status ${status}\n${output}${error}")
endif()
file(READ ${FOLDER}/report.json report)
foreach(check 0 3)  # the tests, the benchmark
  string(JSON state GET "${report}" checks ${check} state)
  if(NOT state STREQUAL "passed")
    message(FATAL_ERROR "check ${check}: ${state}\n${output}${error}")
  endif()
endforeach()
string(JSON emulated GET "${report}" benchmark machine emulated)
string(JSON bars LENGTH "${report}" benchmark bars)
string(JSON judged GET "${report}" benchmark bars 8 verdict)
file(READ ${FOLDER}/report.md tables)
if(NOT emulated STREQUAL "yes" OR bars LESS 10 OR judged MATCHES "kept|BROKEN" OR NOT tables MATCHES "emulated on the processor"
   OR NOT tables MATCHES "## Bandwidth")
  message(FATAL_ERROR "report: emulated ${emulated}, ${bars} bars, ${judged}\n${tables}")
endif()
