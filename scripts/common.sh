# Sourced by the other scripts: the root of the tree, and functions that print one line per stage.
# shellcheck shell=bash

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cores=$(nproc)

# stage TITLE LOG COMMAND…: runs the command with its output in build/LOG, which is shown only if it fails.
stage() {
  local title=$1 log=$root/build/$2 start=$SECONDS status=0
  shift 2
  mkdir -p "$root/build"
  printf '%s … ' "$title" >&2
  "$@" >"$log" 2>&1 || status=$?
  if ((status != 0)); then
    printf 'failed\n' >&2
    cat "$log" >&2
    printf '%s failed (exit status %d); the log above is %s\n' "$title" "$status" "$log" >&2
    return "$status"
  fi
  printf 'done in %d s\n' $((SECONDS - start)) >&2
}

# configure [PRESET]
configure() {
  stage "Configuring${1:+ ($1)}" configure.log env -C "$root" cmake --preset "${1:-cpu}"
}

# build WHAT [TARGET…], in the folder of the preset in $preset (cpu if unset)
build() {
  local what=$1
  shift
  stage "Building $what" build.log cmake --build "$root/build/${preset:-cpu}" --parallel "$cores" ${1:+--target "$@"}
}
