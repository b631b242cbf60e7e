#!/usr/bin/env bash
# Builds noisysgd-train from a clean clone and runs it; installs missing packages first.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

program=$root/build/cpu/apps/noisysgd-train
config=$root/apps/configs/quickstart.json

case ${1:-} in
  -h | --help)
    cat <<HELP
Usage: scripts/train.sh [CONFIG] [options]

Installs what is missing, builds noisysgd-train and runs it with CONFIG and all options.
CONFIG defaults to apps/configs/quickstart.json: synthetic data, nothing to download.
NSGD_INSTALL=0 in the environment skips the installation of system packages.
HELP
    if [[ -x $program ]]; then
      printf '\nOptions of noisysgd-train:\n\n'
      exec "$program" --help
    fi
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
configure
build noisysgd-train noisysgd-train
exec "$program" "$config" "$@"
