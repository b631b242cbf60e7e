#!/usr/bin/env bash
# Looks for inputs that break a parser: runs every fuzz target under libFuzzer and the sanitizers for some seconds.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  -h | --help)
    cat <<HELP
Usage: scripts/fuzz.sh [SECONDS [TARGET…]]

Builds the fuzz targets with clang and runs each for SECONDS (60), starting from the inputs in tests/fuzz/corpus. Prints
how many inputs each target tried. New inputs are kept in build/fuzz/corpus. An input that breaks a target is written to
build/fuzz/found, and the exit status is then 1. Once the fault is fixed, add this input to tests/fuzz/corpus.
NSGD_INSTALL=0 in the environment skips the installation of system packages.
HELP
    exit 0
    ;;
esac
seconds=${1:-60}
shift || true

"$root/scripts/install_packages.sh" clang-19 libclang-rt-19-dev libomp-19-dev
configure fuzz
preset=fuzz build "the fuzz targets" fuzz_targets
folder=$root/build/fuzz
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cd "$root/tests/fuzz/corpus" && ls)
status=0
for target in "${targets[@]}"; do
  new=$folder/corpus/$target found=$folder/found/$target log=$folder/$target.log
  mkdir -p "$new" "$found"
  if "$folder/tests/fuzz/fuzz_$target" "$new" "$root/tests/fuzz/corpus/$target" -max_total_time="$seconds" -timeout=10 \
    -rss_limit_mb=2048 -malloc_limit_mb=512 -max_len=65536 -print_final_stats=1 -artifact_prefix="$found/" >"$log" 2>&1; then
    printf '%-14s %s inputs in %s s\n' "$target" "$(awk '/number_of_executed_units/ {print $2}' "$log")" "$seconds"
  else
    status=1
    printf '%-14s FAULT, see %s and %s\n' "$target" "$log" "$found"
  fi
done
exit "$status"
