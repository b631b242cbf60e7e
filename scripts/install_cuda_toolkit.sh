#!/usr/bin/env bash
# Prints the path of an nvcc of CUDA 12.3 or later: the machine's ($CUDACXX, in the PATH, in $CUDA_HOME or /usr/local/cuda),
# or else one that it installs into build/cuda-toolkit with all that the CUDA build needs of the toolkit, from NVIDIA's own
# packages for Python. Neither a GPU nor a driver is needed to build with it.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# One release of the toolkit, so that its parts fit together.
packages=(
  nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-cccl==13.0.85
  nvidia-cuda-runtime==13.0.96 nvidia-cublas==13.1.0.3 nvidia-curand==10.4.0.35
  nvidia-cusolver==12.0.4.66 nvidia-cusparse==12.6.3.3 nvidia-nvjitlink==13.0.88
  nvidia-cudnn-cu13==9.19.0.56
)
folder=$root/build/cuda-toolkit
toolkit=$folder/nvidia/cu13

# 12.3 as 1203; 0 for a program that does not say it.
version_of() {
  local major=0 minor=0
  read -r major minor < <("$1" --version 2>/dev/null | sed -nE 's/.*release ([0-9]+)\.([0-9]+).*/\1 \2/p') || true
  echo $((major * 100 + minor))
}

for nvcc in "${CUDACXX:-}" "$(command -v nvcc || true)" "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" /usr/local/cuda/bin/nvcc; do
  if [[ -n $nvcc && -x $nvcc ]] && (($(version_of "$nvcc") >= 1203)); then
    echo "$nvcc"
    exit 0
  fi
done

if [[ $(cat "$folder/complete" 2>/dev/null) != "${packages[*]}" ]]; then
  if ! python3 -m pip --version >/dev/null 2>&1; then
    "$root/scripts/install_packages.sh" python3-pip
  fi
  rm -rf "$folder"
  # --no-deps: the list is whole, and a wheel's loose wish for its neighbours would bring another release of them.
  stage "Installing the CUDA toolkit's packages" install-cuda.log \
    python3 -m pip install --target "$folder" --no-deps --no-compile --no-cache-dir "${packages[@]}"

  # cuDNN unpacks beside the others. nvcc and CMake look for the folders of an installed toolkit, the linker for
  # libcublas.so where the packages hold libcublas.so.13 alone.
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
echo "$toolkit/bin/nvcc"
