# scripts/train.sh builds the three programs, by the CUDA preset where there are a GPU and nvcc, and passes its options on.
# cmake, nvidia-smi, nvcc and python3 are stand-ins.
file(REMOVE_RECURSE ${OUTPUT})
file(COPY ${SOURCE}/scripts DESTINATION ${OUTPUT}/tree)
function(stand_in name text)
  file(WRITE ${OUTPUT}/bin/${name} "#!/usr/bin/env bash\n${text}\n")
  file(CHMOD ${OUTPUT}/bin/${name} PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
endfunction()
stand_in(cmake "echo \"cmake $*\" >>'${OUTPUT}/calls'
if [[ $1 == --build ]]; then
  mkdir -p \"$2/apps\"
  printf '#!/bin/sh\\necho trained \"$0\" \"$@\"\\n' >\"$2/apps/noisysgd-train\"
  chmod +x \"$2/apps/noisysgd-train\"
else
  echo \"CUDACXX=$CUDACXX\" >>'${OUTPUT}/calls'
fi")

function(expect said preset compiler)
  file(REMOVE ${OUTPUT}/calls)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env --unset=CUDACXX --unset=CUDA_HOME NSGD_INSTALL=0
    "PATH=${OUTPUT}/bin:/usr/bin:/bin" ${OUTPUT}/tree/scripts/train.sh config.json --set epochs=1
    OUTPUT_VARIABLE printed ERROR_VARIABLE errors RESULT_VARIABLE status)
  file(READ ${OUTPUT}/calls calls)
  set(program ${OUTPUT}/tree/build/${preset}/apps/noisysgd-train)
  string(REGEX REPLACE "[\n ]+" " " calls "${calls}")
  set(expected "cmake --preset ${preset} CUDACXX=${compiler} cmake --build ${OUTPUT}/tree/build/${preset} --parallel")
  string(FIND "${calls}" "${expected}" begins)
  string(FIND "${calls}" "--target noisysgd-train noisysgd-data noisysgd-eval" builds)
  string(FIND "${errors}" "${said}" says)
  if(NOT status EQUAL 0 OR NOT printed STREQUAL "trained ${program} config.json --set epochs=1\n" OR NOT begins EQUAL 0
      OR builds EQUAL -1 OR says EQUAL -1)
    message(FATAL_ERROR "expected ${said}\n${printed}${errors}${calls}")
  endif()
endfunction()

stand_in(python3 "exit 1")  # no package of Python can be installed
stand_in(nvidia-smi "exit 1")
stand_in(nvcc "echo 'Cuda compilation tools, release 12.8, V12.8.1'")
expect("Taking build/cpu (this machine has no NVIDIA GPU)\n" cpu "")
stand_in(nvidia-smi "echo 'GPU 0: a stand-in (UUID: 1)'")
expect("Taking build/cuda (there is a GPU, and ${OUTPUT}/bin/nvcc)\n" cuda ${OUTPUT}/bin/nvcc)
if(NOT EXISTS /usr/local/cuda/bin/nvcc AND NOT EXISTS /usr/bin/nvcc)
  stand_in(nvcc "echo 'Cuda compilation tools, release 11.8, V11.8.1'")  # too old
  expect("Taking build/cpu (there is a GPU, but no nvcc; scripts/install_cuda_toolkit.sh installs it)\n" cpu "")
endif()
