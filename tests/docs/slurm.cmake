# Runs the Slurm scripts without Slurm: two tasks of an array and the table; a task that gets SIGTERM is queued again,
# with a checkpoint.
get_filename_component(folder ${PROGRAM} DIRECTORY)
file(REMOVE_RECURSE ${OUTPUT})
file(WRITE ${OUTPUT}/bin/scontrol "#!/bin/sh\necho \"$@\" >${OUTPUT}/requeued\n")
file(CHMOD ${OUTPUT}/bin/scontrol PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
set(ENV{PATH} "${OUTPUT}/bin:${folder}:$ENV{PATH}")
set(ENV{NSGD_DEVICE} cpu)
set(ENV{SLURM_CPUS_PER_TASK} 1)
set(ENV{SLURM_ARRAY_JOB_ID} 77)
file(WRITE ${OUTPUT}/config.json "{\"name\": \"array\", \"seeds\": [1, 2], \"epochs\": 1, \"batch\": {\"size\": 64},
  \"data\": {\"type\": \"synthetic\", \"train_size\": 128, \"test_size\": 32}, \"model\": {\"type\": \"mlp\", \"hidden\": [8]}}")
foreach(seed 1 2)
  set(ENV{SLURM_ARRAY_TASK_ID} ${seed})
  execute_process(COMMAND ${SCRIPTS}/seeds.sh ${OUTPUT}/config.json ${OUTPUT}/suite COMMAND_ERROR_IS_FATAL ANY)
endforeach()
execute_process(COMMAND ${SCRIPTS}/table.sh ${OUTPUT}/suite OUTPUT_VARIABLE table COMMAND_ERROR_IS_FATAL ANY)
if(NOT table MATCHES "2 seeds" OR EXISTS ${OUTPUT}/requeued)
  message(FATAL_ERROR "${table}")
endif()

set(ENV{SLURM_ARRAY_TASK_ID} 2)
file(READ ${OUTPUT}/config.json config)
string(REPLACE "\"epochs\": 1" "\"epochs\": 100000" config "${config}")
file(WRITE ${OUTPUT}/long.json "${config}")
execute_process(COMMAND bash -c "'${SCRIPTS}/seeds.sh' '${OUTPUT}/long.json' '${OUTPUT}/long' & task=$!
  until find '${OUTPUT}/long' -name checkpoint.safetensors 2>/dev/null | grep -q .; do kill -0 $task || exit 1; sleep 0.1; done
  kill -TERM $task
  wait $task" RESULT_VARIABLE status)
if(NOT status EQUAL 143 OR NOT EXISTS ${OUTPUT}/requeued)
  message(FATAL_ERROR "exit status ${status}")
endif()
file(READ ${OUTPUT}/requeued requeued)
if(NOT requeued STREQUAL "requeue 77_2\n")
  message(FATAL_ERROR "scontrol ${requeued}")
endif()
