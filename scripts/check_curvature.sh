#!/usr/bin/env bash
# Compares the largest eigenvalues of an analysis of type `hessian` with those that curvlinops finds in PyTorch.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  -h | --help)
    cat <<HELP
Usage: scripts/check_curvature.sh [FOLDER]

FOLDER is that of a finished analysis of type hessian, whose data are MNIST, Fashion-MNIST or other IDX files. Its
relative paths start at the current folder, as when it was made. Without FOLDER small networks are trained and analysed
first. Exits with 0 if all eigenvalues agree to 1e-3.
Builds the programs, and installs PyTorch and curvlinops with pip in build/curvature: once, 6 GB and several minutes.
NSGD_INSTALL=0 in the environment skips the installation of system packages.
HELP
    exit 0
    ;;
esac

packages=(torch==2.15.0 curvlinops-for-pytorch==3.0.1 scipy==1.17.1 numpy==2.4.6)
environment=$root/build/curvature

install_curvlinops() {
  python3 -m venv "$environment" && "$environment/bin/pip" install "${packages[@]}"
}

"$root/scripts/install_packages.sh"
configure
build "the programs" noisysgd-inspect noisysgd-analyze
if ! "$environment/bin/python" -W ignore -c "import curvlinops, scipy" 2>/dev/null; then
  if ! python3 -c "import ensurepip" 2>/dev/null; then
    "$root/scripts/install_packages.sh" python3-venv
  fi
  stage "Installing ${packages[*]}" curvature_install.log install_curvlinops
fi

check() {
  "$environment/bin/python" -B -W ignore::FutureWarning "$root/tests/interop/check_curvature.py" \
    --inspect "$root/build/cpu/apps/noisysgd-inspect" "$@"
}

if (($#)); then
  check "$1"
  exit
fi
for network in lenet residual; do
  for matrix in hessian gauss_newton fisher; do
    check --analyze "$root/build/cpu/apps/noisysgd-analyze" --bound 1e-4 --set analysis.matrix=$matrix \
      "$root/tests/interop/curvature_$network.json"
  done
done
