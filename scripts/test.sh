#!/usr/bin/env bash
# From a clean clone to the whole test suite: installs missing packages, builds everything and runs ctest.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  -h | --help)
    cat <<HELP
Usage: scripts/test.sh [ctest options]

Installs what is missing, builds everything and runs the test suite; -R NAME runs the tests whose names match.
NSGD_INSTALL=0 in the environment skips the installation of system packages.
HELP
    exit 0
    ;;
esac

"$root/scripts/install_packages.sh"
configure
build "everything"
# Several tests run side by side, each with its own team of threads: waiting threads must give their core away.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
exec ctest --test-dir "$root/build/cpu" --output-on-failure --parallel "$cores" "$@"
