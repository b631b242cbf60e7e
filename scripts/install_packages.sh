#!/usr/bin/env bash
# Installs the system packages that the build needs and that are missing (Debian, Ubuntu and derivatives). Does not use
# the network if none is missing. NSGD_INSTALL=0 skips this step. Arguments: further packages.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# a|b: either is enough; a is installed if both are missing. OpenBLAS is the OpenMP variant, which shares oneDNN's
# threads: the pthread variant would keep a second pool of spinning threads.
packages=(
  g++ cmake ninja-build ccache ca-certificates
  libdnnl-dev libopenblas-openmp-dev
  'libcurl4-openssl-dev|libcurl4-gnutls-dev|libcurl4-nss-dev' zlib1g-dev
  libstb-dev libpng-dev libjpeg-dev
  libfmt-dev nlohmann-json3-dev libcli11-dev
  libeigen3-dev libspectra-dev gnuplot-nox
  catch2 librapidcheck-dev python3-numpy python3-jsonschema
  "$@"
)

if [[ ${NSGD_INSTALL:-1} == 0 ]]; then
  exit 0
fi

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  echo "apt is not available: install your system's packages for ${packages[*]%%|*}, then run again with NSGD_INSTALL=0." >&2
  exit 1
fi

installed() {
  [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

missing=()
for alternatives in "${packages[@]}"; do
  for package in ${alternatives//|/ }; do
    if installed "$package"; then
      continue 2
    fi
  done
  missing+=("${alternatives%%|*}")
done

if ((${#missing[@]} == 0)); then
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "Missing packages, and neither root nor sudo to install them. As root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
  sudo -v # asks for the password here, not in the middle of a stage
fi

apt_install() {
  "${as_root[@]}" apt-get update &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"
}
stage "Installing ${missing[*]}" install.log apt_install
