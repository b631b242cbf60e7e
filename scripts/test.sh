#!/usr/bin/env bash
# Builds everything from a clean clone and runs the whole test suite; installs missing packages first.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  -h | --help)
    cat <<HELP
Usage: scripts/test.sh [ctest options]

Installs what is missing, builds everything and runs the test suite; -R NAME runs the tests whose names match.
The CUDA backend is also tested, emulated on the processor, in a second build folder, and its kernels again under the
emulation's race checker in a third. nvcc compiles the backend in a fourth; if there is no nvcc,
scripts/install_cuda_toolkit.sh installs one in build/. NSGD_NVCC=0 skips that build.
Without options the Debian packages are also tried in a bare chroot (scripts/package_check.sh), where the machine allows
it. NSGD_PACKAGE=0 skips that.
NSGD_INSTALL=0 in the environment skips the installation of system packages.
HELP
    exit 0
    ;;
esac

try_packages=0
if (($# == 0)) && [[ ${NSGD_PACKAGE:-1} != 0 ]]; then try_packages=1; fi
if ((try_packages && EUID == 0)); then
  "$root/scripts/install_packages.sh" debootstrap dpkg-dev file
else
  "$root/scripts/install_packages.sh"
fi
configure
build "everything"
configure emulate
preset=emulate build "the CUDA kernels for the emulator" gpu_tests
configure emulate-race
preset=emulate-race build "the CUDA kernels for the race checker" gpu_tests
if [[ ${NSGD_NVCC:-1} != 0 ]]; then
  CUDACXX=$("$root/scripts/install_cuda_toolkit.sh")
  export CUDACXX
  configure cuda-check
  preset=cuda-check build "the CUDA backend by nvcc" apps/all bench/all gpu_tests
fi
# Tests run in parallel, each with its own threads, so waiting threads must release their cores.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
status=0
ctest --test-dir "$root/build/cpu" --output-on-failure --parallel "$cores" "$@" || status=$?
ctest --test-dir "$root/build/emulate" --output-on-failure --parallel "$cores" --label-regex gpu "$@" || status=$?
ctest --test-dir "$root/build/emulate-race" --output-on-failure --parallel "$cores" --label-regex gpu \
  --exclude-regex 'batch norm.* of many' "$@" || status=$?
if [[ ${NSGD_NVCC:-1} != 0 ]]; then
  ctest --test-dir "$root/build/cuda-check" --output-on-failure --label-regex cuda_build "$@" || status=$?
fi
if ((try_packages)); then
  package_status=0
  "$root/scripts/package_check.sh" || package_status=$?
  # 77: the machine does not allow it, which package_check.sh has said.
  if ((package_status != 0 && package_status != 77)); then status=$package_status; fi
fi
exit "$status"
