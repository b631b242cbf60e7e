#!/usr/bin/env bash
# Builds the programs from a clean clone and runs noisysgd-train; installs missing packages first.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

config=$root/apps/configs/quickstart.json

# Prints the preset to build and why: cuda where there are an NVIDIA GPU and an nvcc that is new enough, cpu otherwise.
choose() {
  local nvcc
  if ! nvidia-smi --list-gpus 2>/dev/null | grep -q GPU; then
    echo 'cpu: this machine has no NVIDIA GPU'
  elif ! nvcc=$("$root/scripts/install_cuda_toolkit.sh" --find); then
    echo 'cpu: there is a GPU, but no nvcc; scripts/install_cuda_toolkit.sh installs it'
  else
    echo "cuda: there is a GPU, and $nvcc"
  fi
}

case ${1:-} in
  -h | --help)
    cat <<HELP
Usage: scripts/train.sh [CONFIG] [options]

Installs what is missing, builds noisysgd-train, noisysgd-data and noisysgd-eval,
and runs noisysgd-train with CONFIG and all options. With a GPU and nvcc it takes
the CUDA build (build/cuda), otherwise build/cpu, and says which.
CONFIG defaults to apps/configs/quickstart.json: synthetic data, nothing to download.
NSGD_INSTALL=0 in the environment skips the installation of system packages.
HELP
    for preset in cuda cpu; do
      program=$root/build/$preset/apps/noisysgd-train
      [[ -x $program ]] || continue
      printf '\nOptions of noisysgd-train:\n\n'
      "$program" --help
      exit 0
    done
    printf '\nOnce built, this also lists the options of noisysgd-train.\n'
    exit 0
    ;;
  '' | -*) ;;
  *)
    config=$1
    shift
    ;;
esac

"$root/scripts/install_packages.sh"
choice=$(choose)
preset=${choice%%:*}
printf 'Taking build/%s (%s)\n' "$preset" "${choice#*: }" >&2
if [[ $preset == cuda ]]; then
  CUDACXX=$("$root/scripts/install_cuda_toolkit.sh")
  export CUDACXX
fi
configure "$preset"
build "the programs" noisysgd-train noisysgd-data noisysgd-eval
exec "$root/build/$preset/apps/noisysgd-train" "$config" "$@"
