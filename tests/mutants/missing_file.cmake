# cmake -D SOURCE=… -D FOLDER=… -P: mutants of files that are missing or do not contain the quoted text are
# reported with their file, and the mutants after them are checked too.
file(REMOVE_RECURSE ${FOLDER})
file(COPY ${SOURCE}/scripts DESTINATION ${FOLDER})
file(WRITE ${FOLDER}/there.cpp "int a = 1;\n")
file(WRITE ${FOLDER}/tests/mutants/faults.txt
  "file: gone.cpp\ntest: core_test\nfrom: x = 1\nto:   x = 2\n\n"
  "file: there.cpp\ntest: core_test\nfrom: a = 1\nto:   a = 2\nfrom: b = 1\nto:   b = 2\n")
execute_process(COMMAND ${FOLDER}/scripts/mutants.sh --list
  RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE error)
set(expected "gone.cpp (cpu core_test): x = 1 -> x = 2 … DOES NOT APPLY: there is no such file
there.cpp (cpu core_test): a = 1 -> a = 2
there.cpp (cpu core_test): b = 1 -> b = 2 … DOES NOT APPLY: the original does not occur exactly once
1 mutants apply, 2 do not
")
if(NOT status EQUAL 1 OR NOT output STREQUAL expected OR NOT error STREQUAL "")
  message(FATAL_ERROR "exit status ${status}\n${output}${error}")
endif()
