#!/usr/bin/env bash
# Prints the path of an nvcc of CUDA 12.3 or later. Looks for one in $CUDACXX, the PATH, $CUDA_HOME and /usr/local/cuda. If
# there is none, installs the parts of the toolkit that the CUDA build needs into build/cuda-toolkit, from NVIDIA's own
# packages for Python. Building with it needs neither a GPU nor a driver. Also installs the headers of cudnn-frontend, into
# build/cudnn-frontend. With --find it installs nothing, and fails if there is no nvcc.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# The versions belong to one release of the toolkit, so its parts fit together.
packages=(
  nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-cccl==13.0.85
  nvidia-cuda-runtime==13.0.96 nvidia-cublas==13.1.0.3 nvidia-curand==10.4.0.35
  nvidia-cusolver==12.0.4.66 nvidia-cusparse==12.6.3.3 nvidia-nvjitlink==13.0.88
  nvidia-cudnn-cu13==9.19.0.56
)
folder=$root/build/cuda-toolkit
toolkit=$folder/nvidia/cu13
frontend=nvidia-cudnn-frontend==1.18.0

# The version as a number, 1203 for 12.3; 0 if the program does not print one.
version_of() {
  local major=0 minor=0
  read -r major minor < <("$1" --version 2>/dev/null | sed -nE 's/.*release ([0-9]+)\.([0-9]+).*/\1 \2/p') || true
  echo $((major * 100 + minor))
}

find_nvcc() {
  local nvcc
  for nvcc in "${CUDACXX:-}" "$(command -v nvcc || true)" "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" /usr/local/cuda/bin/nvcc; do
    if [[ -n $nvcc && -x $nvcc ]] && (($(version_of "$nvcc") >= 1203)); then
      echo "$nvcc"
      return
    fi
  done
}

holds() { # FOLDER PACKAGE…: whether the folder holds exactly these packages
  [[ $(cat "$1/complete" 2>/dev/null) == "${*:2}" ]]
}

unpack() { # FOLDER TITLE LOG PACKAGE…
  if ! python3 -m pip --version >/dev/null 2>&1; then
    "$root/scripts/install_packages.sh" python3-pip
  fi
  rm -rf "$1"
  # --no-deps: the lists are complete, and the wheels' own requirements would install parts of other releases.
  stage "$2" "$3" \
    python3 -m pip install --target "$1" --no-deps --no-compile --no-cache-dir --retries 2 "${@:4}"
}

nvcc=$(find_nvcc)
if [[ -z $nvcc ]]; then
  nvcc=$toolkit/bin/nvcc
  if ! holds "$folder" "${packages[@]}"; then
    if [[ ${1:-} == --find ]]; then
      exit 1
    fi
    unpack "$folder" "Installing the CUDA toolkit's packages" install-cuda.log "${packages[@]}"

    # cuDNN is unpacked next to the other packages. nvcc and CMake expect the folders of an installed toolkit, and the
    # linker expects libcublas.so, but the packages hold only libcublas.so.13.
    ln -s ../../cudnn/include/* "$toolkit/include"
    ln -s ../../cudnn/lib/*.so.* "$toolkit/lib"
    ln -s lib "$toolkit/lib64"
    mkdir -p "$toolkit/targets/$(uname -m)-linux"
    ln -s ../../include ../../lib "$toolkit/targets/$(uname -m)-linux"
    for library in "$toolkit/lib"/*.so.*; do
      name=${library##*/}
      ln -sf "$name" "$toolkit/lib/${name%%.so.*}.so"
    done
    echo "${packages[*]}" >"$folder/complete"
  fi
fi

if [[ ${1:-} != --find ]] && ! holds "$root/build/cudnn-frontend" "$frontend"; then
  if unpack "$root/build/cudnn-frontend" "Installing the headers of cudnn-frontend" install-cudnn.log "$frontend"; then
    echo "$frontend" >"$root/build/cudnn-frontend/complete"
  else
    echo "Without these headers the build does not use cuDNN." >&2
  fi
fi
echo "$nvcc"
