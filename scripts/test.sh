#!/usr/bin/env bash
# From a clean clone to the whole test suite: installs missing packages, builds everything and runs ctest.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  -h | --help)
    cat <<HELP
Usage: scripts/test.sh [ctest options]

Installs what is missing, builds everything and runs the test suite; -R NAME runs the tests whose names match.
The CUDA kernels are tested too, emulated on the processor, from a second build folder.
NSGD_INSTALL=0 in the environment skips the installation of system packages.
HELP
    exit 0
    ;;
esac

"$root/scripts/install_packages.sh"
configure
build "everything"
configure emulate
preset=emulate build "the CUDA kernels for the emulator" gpu_tests
# Several tests run side by side, each with its own team of threads: waiting threads must give their core away.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
status=0
ctest --test-dir "$root/build/cpu" --output-on-failure --parallel "$cores" "$@" || status=$?
ctest --test-dir "$root/build/emulate" --output-on-failure --parallel "$cores" --label-regex gpu "$@" || status=$?
exit "$status"
