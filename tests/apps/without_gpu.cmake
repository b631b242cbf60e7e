# noisysgd-train of a CUDA build on a machine without a GPU, or with hidden GPUs: --device cuda is an error of one line,
# --device auto runs on the CPU and says why. Runs in ${FOLDER}, which it creates anew.
cmake_minimum_required(VERSION 3.22)
file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})
file(WRITE ${FOLDER}/small.json [[{
  "name": "small", "data": {"type": "synthetic", "train_size": 64, "test_size": 16},
  "model": {"type": "mlp", "hidden": [8]}, "batch": {"size": 32}, "epochs": 1, "optimizer": {"learning_rate": 0.01},
  "noise": {"type": "none"}}]])
set(ENV{CUDA_VISIBLE_DEVICES} "")
set(reason "([^\n]*NVIDIA driver[^\n]*|this machine has no CUDA device[^\n]*)")

function(train device)
  execute_process(COMMAND ${PROGRAM} small.json --threads 1 --quiet --output ${device} --device ${device}
    WORKING_DIRECTORY ${FOLDER} RESULT_VARIABLE status OUTPUT_QUIET ERROR_VARIABLE error)
  set(status "${status}" PARENT_SCOPE)
  set(error "${error}" PARENT_SCOPE)
endfunction()

train(cuda)
if(status EQUAL 0 OR NOT error MATCHES "^noisysgd-train: device \"cuda\": ${reason}; --device cpu runs on the processor\n$")
  message(FATAL_ERROR "--device cuda: exit status ${status}, error:\n${error}")
endif()
train(auto)
if(NOT status EQUAL 0 OR NOT error MATCHES "^device auto: ${reason}; running on the processor\n$")
  message(FATAL_ERROR "--device auto: exit status ${status}, error:\n${error}")
endif()
if(NOT EXISTS ${FOLDER}/auto/summary.json)
  message(FATAL_ERROR "--device auto: no summary of the run")
endif()
