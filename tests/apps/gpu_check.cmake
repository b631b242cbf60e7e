# scripts/gpu_check.sh on the emulated device: it makes every step, and the report lists the checks that were run and
# those that were not. ncu is a substitute that runs its command and reports three steps, the last of 3.5 microseconds;
# compute-sanitizer is one that runs its tests and reports no error.
cmake_minimum_required(VERSION 3.22)
file(REMOVE_RECURSE ${FOLDER})
file(WRITE ${FOLDER}/bin/ncu [=[#!/usr/bin/env bash
while [[ $1 == --* ]]; do
  case $1 in
    --csv) shift ;;
    --log-file) log=$2 && shift 2 ;;
    *) shift 2 ;;
  esac
done
"$@" && cat >"$log" <<'CSV'
==PROF== Connected to process 1 (noisysgd-bench)
"ID","Process ID","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","1","fill_kernel(long, float, float *)","gpu__time_duration.sum","ns","50,000"
"1","1","noisysgd::<unnamed>::set_step_values_kernel(StepValues, StepValues *)","gpu__time_duration.sum","us","2"
"2","1","void product<4>(long, float *)","gpu__time_duration.sum","us","7"
"2","1","noisysgd::<unnamed>::set_step_values_kernel(StepValues, StepValues *)","gpu__time_duration.sum","us","2"
"3","1","noisysgd::<unnamed>::set_step_values_kernel(StepValues, StepValues *)","gpu__time_duration.sum","ns","500"
"4","1","void product<4>(long, float *)","gpu__time_duration.sum","ns","1,000"
"5","1","void product<4>(long, float *)","gpu__time_duration.sum","us","2"
CSV
]=])
file(WRITE ${FOLDER}/bin/compute-sanitizer [=[#!/usr/bin/env bash
"$3" --list-tests "$4" | grep -q '^[1-9][0-9]* matching test case' || exit 3
case $2 in
  memcheck) echo "========= ERROR SUMMARY: 0 errors" ;;
  racecheck) echo "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)" ;;
esac
]=])
execute_process(COMMAND chmod +x ${FOLDER}/bin/ncu ${FOLDER}/bin/compute-sanitizer)
execute_process(COMMAND ${CMAKE_COMMAND} -E env "PATH=${FOLDER}/bin:$ENV{PATH}" ${SOURCE}/scripts/gpu_check.sh --quick --folder ${BUILD} --report ${FOLDER}
  RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE error)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "exit status ${status}\n${output}${error}")
endif()
file(READ ${FOLDER}/report.json report)
foreach(check 0 1 2 3 4)  # the tests, memcheck, racecheck, the benchmarks
  string(JSON state GET "${report}" checks ${check} state)
  if(NOT state STREQUAL "passed")
    message(FATAL_ERROR "check ${check}: ${state}\n${output}${error}")
  endif()
endforeach()
string(JSON emulated GET "${report}" benchmark machine emulated)
string(JSON bars LENGTH "${report}" benchmark bars)
string(JSON judged GET "${report}" benchmark bars 8 verdict)
file(READ ${FOLDER}/report.md tables)
string(JSON found GET "${report}" checks 2 remark)
if(NOT found STREQUAL "0 hazards in 8 processes")
  message(FATAL_ERROR "racecheck: ${found}")
endif()
string(JSON profile GET "${report}" checks 5 state)
string(JSON kernels GET "${report}" kernels kernels)
string(JSON seconds GET "${report}" kernels kernel_seconds)
string(JSON longest GET "${report}" kernels longest 0 calls)
string(JSON replayed GET "${report}" kernels replayed_step_seconds)
string(JSON step GET "${report}" benchmark steps 0 variants 0 seconds median)
string(JSON graphs GET "${report}" benchmark steps 0 variants 0 steps replayed)
string(JSON peaks LENGTH "${report}" memory_peaks)
string(JSON waits GET "${report}" checks 6 state)
if(NOT profile STREQUAL "not judged" OR NOT kernels EQUAL 3 OR NOT seconds MATCHES "^3\\.(5(0000+[0-9])?|49999+[0-9]*)e-06$"
   OR NOT longest EQUAL 2 OR NOT replayed STREQUAL step OR graphs LESS 9 OR NOT peaks EQUAL 4 OR NOT waits STREQUAL "not run"
   OR NOT tables MATCHES "the largest peak is [1-9]" OR NOT tables MATCHES "product<4>.* \\| 2 \\| 0.003 \\| 85.7")
  message(FATAL_ERROR "report: profile ${profile}, ${kernels} kernels, ${seconds} s, ${longest} launches, ${replayed} and ${step} s, "
    "${graphs} replayed, ${peaks} peaks, waits ${waits}\n${tables}")
endif()
if(NOT emulated STREQUAL "yes" OR bars LESS 10 OR judged MATCHES "kept|BROKEN" OR NOT tables MATCHES "emulated on the processor"
   OR NOT tables MATCHES "## Bandwidth")
  message(FATAL_ERROR "report: emulated ${emulated}, ${bars} bars, ${judged}\n${tables}")
endif()
# Times of PyTorch, as scripts/pytorch_steps.py writes them: the report sets ours against the fastest way.
file(WRITE ${FOLDER}/pytorch.json [=[{"torch": "9.9", "device": "cuda", "steps": [
  {"network": "mlp", "precision": "tf32", "variant": "plain", "mode": "eager", "batch": 2, "seconds": 1e-9},
  {"network": "mlp", "precision": "tf32", "variant": "plain", "mode": "compiled", "batch": 2, "seconds": 1e6},
  {"network": "mlp", "precision": "tf32", "variant": "unfold", "mode": "eager", "batch": 2, "seconds": 2e6},
  {"network": "mlp", "precision": "tf32", "variant": "grouped", "mode": "eager", "batch": 2, "error": "OutOfMemoryError: "}]}
]=])
file(WRITE ${FOLDER}/results "one check\tpassed\t\n")
execute_process(COMMAND ${SOURCE}/scripts/gpu_report.py ${FOLDER} abc "a GPU" ${FOLDER}/results RESULT_VARIABLE status ERROR_VARIABLE error)
file(READ ${FOLDER}/report.json report)
file(READ ${FOLDER}/report.md tables)
string(JSON compared LENGTH "${report}" pytorch)
if(NOT status EQUAL 0 OR NOT compared EQUAL 2
   OR NOT tables MATCHES "mlp \\| plain \\| tf32 \\| 2 \\| [0-9.]+ \\| eager 0.00; compiled 1000000000.00 \\| 0.000"
   OR NOT tables MATCHES "mlp \\| diag-F exact \\+ noise \\| tf32 \\| 2 \\| [0-9.]+ \\| unfold, eager 2000000000.00; grouped, eager - \\| 0.000")
  message(FATAL_ERROR "comparison with PyTorch: exit status ${status}, ${compared} entries\n${tables}\n${error}")
endif()
execute_process(COMMAND ${SOURCE}/scripts/kernel_times.py ${FOLDER}/ncu.csv 2 ${FOLDER}/bench.json mlp ${FOLDER}/kernels.json
  RESULT_VARIABLE status ERROR_VARIABLE error)
if(NOT status EQUAL 1 OR NOT error MATCHES "the profile of 7 kernels holds 3 beginnings of steps, expected 2")
  message(FATAL_ERROR "a step too many: exit status ${status}\n${error}")
endif()
