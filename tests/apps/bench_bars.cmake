# noisysgd-bench judges measured ratios by a file of bars: one that is kept, one that is always broken (exit status 2),
# one that was not measured, and a file that it cannot read.
cmake_minimum_required(VERSION 3.22)
file(MAKE_DIRECTORY ${FOLDER})
function(bench bar)
  file(WRITE ${FOLDER}/bars.json "{\"bars\": [${bar}]}")
  execute_process(COMMAND ${PROGRAM} --steps mlp --batch 2 --rounds 9 --threads 1 --variants "diag-F exact + noise"
      ${ARGN} --bars ${FOLDER}/bars.json --json ${FOLDER}/report.json
    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE error)
  set(status "${status}" PARENT_SCOPE)
  set(output "${output}" PARENT_SCOPE)
  set(error "${error}" PARENT_SCOPE)
endfunction()
set(steps "\"goal\": \"G4\", \"section\": \"steps\", \"variant\": \"diag-F exact + noise\"")

bench("{${steps}, \"network\": \"mlp\", \"at_most\": 1000}, {${steps}, \"network\": \"vgg16\", \"at_most\": 1}")
file(READ ${FOLDER}/report.json report)
string(JSON kept GET "${report}" bars 0 verdict)
string(JSON absent GET "${report}" bars 1 verdict)
string(JSON value TYPE "${report}" bars 1 value)
if(NOT status EQUAL 0 OR NOT kept STREQUAL "kept" OR NOT absent STREQUAL "not measured" OR NOT value STREQUAL "NULL")
  message(FATAL_ERROR "kept bar: exit status ${status}, ${kept}, ${absent}, ${value}\n${output}${error}")
endif()
bench("{${steps}, \"network\": \"mlp\", \"at_most\": 0.001}")
if(NOT status EQUAL 2 OR NOT output MATCHES "BROKEN" OR NOT error MATCHES "1 of the bars broken")
  message(FATAL_ERROR "broken bar: exit status ${status}\n${output}${error}")
endif()
bench("{\"goal\": \"G4\", \"section\": \"step\", \"at_most\": 1}")
if(NOT status EQUAL 1 OR NOT error MATCHES "bars\\[0\\].section: expected one of \"layers\", \"steps\", \"curvature\", \"bandwidth\", got"
   OR output MATCHES "Training step")  # before anything is measured
  message(FATAL_ERROR "wrong bar: exit status ${status}\n${output}${error}")
endif()
bench("{\"goal\": \"G1\", \"section\": \"layers\", \"operation\": \"forward\", \"over\": \"oneDNN\", \"at_most\": 1}" --layers convnet --layer-batch 1)
if(NOT status EQUAL 1 OR NOT error MATCHES "bars\\[0\\].over: expected one of \"plain\", \"cudnn\", got")
  message(FATAL_ERROR "wrong rival: exit status ${status}\n${output}${error}")
endif()

# Products with curvature matrices over a gradient, in time and memory.
set(curvature "\"goal\": \"product\", \"section\": \"curvature\", \"network\": \"lenet\", \"variant\": \"Hessian product\"")
bench("{${curvature}, \"quantity\": \"memory\", \"at_most\": 2.5}, {${curvature}, \"at_most\": 1000}" --curvature lenet)
file(READ ${FOLDER}/report.json report)
string(JSON memory GET "${report}" bars 0 value)
string(JSON time GET "${report}" bars 1 value)
if(NOT status EQUAL 0 OR NOT memory GREATER 1 OR NOT time GREATER 0 OR NOT output MATCHES "Hessian product, memory")
  message(FATAL_ERROR "curvature: exit status ${status}, ${memory}, ${time}\n${output}${error}")
endif()

# A second moment over cuDNN's weight gradient: not measured without cuDNN.
set(cudnn "{\"goal\": \"G2\", \"section\": \"layers\", \"operation\": \"with second moment, exact\", \"over\": \"cudnn\", \"at_most\": 1000}")
bench("${cudnn}" --layers convnet --layer-batch 1)
file(READ ${FOLDER}/report.json report)
string(JSON absent GET "${report}" bars 0 verdict)
if(NOT absent STREQUAL "not measured" OR output MATCHES "weight gradient, cuDNN")
  message(FATAL_ERROR "without cuDNN: ${absent}\n${output}${error}")
endif()
if(CUDNN)  # the emulated one
  set(ENV{NSGD_CUDNN} on)
  set(ENV{NSGD_CACHE} ${FOLDER}/plans)
  bench("${cudnn}" --layers convnet --layer-batch 1 --device cuda)
  file(READ ${FOLDER}/report.json report)
  string(JSON judged GET "${report}" bars 0 verdict)
  string(JSON worst GET "${report}" bars 0 value)
  string(JSON ratio GET "${report}" layers 0 layers 1 operations "with second moment, exact" ratio_to_cudnn)
  if(NOT judged STREQUAL "emulated: not judged" OR ratio LESS_EQUAL 0 OR worst LESS ratio
     OR NOT output MATCHES "weight gradient, cuDNN")
    message(FATAL_ERROR "by cuDNN: ${judged}, ${worst}, ${ratio}\n${output}${error}")
  endif()
endif()
