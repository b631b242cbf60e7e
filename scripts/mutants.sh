#!/usr/bin/env bash
# Tries every fault of tests/mutants/*.txt in a copy of the tree: the named test executable must fail with it.
# Usage: scripts/mutants.sh [PATTERN]    PATTERN (a glob) chooses among the mutants' files, as in 'optim/*'.
# Exits with 1 if a mutant survives, does not apply or does not compile.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  -h | --help)
    sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
pattern=${1:-*}
copy=$root/build/mutants
log=$copy.log

# The copy is kept: what has not changed since the last run is not built again.
refresh_copy() {
  local path
  git -C "$root" ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' path; do
    if [[ -f $root/$path ]] && ! cmp -s "$root/$path" "$copy/$path"; then
      mkdir -p "$(dirname -- "$copy/$path")"
      cp -- "$root/$path" "$copy/$path"
    fi
  done
}

make_test() { # EXECUTABLE
  cmake --build "$copy/build/cpu" --parallel "$cores" --target "$1" >"$log" 2>&1
}

# A mutant may hang; a suite that does not end has noticed it.
run_test() { # EXECUTABLE
  timeout 900 "$(find "$copy/build/cpu/tests" -name "$1" -type f -perm -u+x)" --abort >"$log" 2>&1
}

# Four parallel arrays: one mutant per index.
files=() tests=() originals=() replacements=()
while IFS= read -r line; do
  value=${line#*:}
  value=${value#"${value%%[![:space:]]*}"}
  case $line in
    file:*) files+=("$value") ;;
    test:*) tests+=("$value") ;;
    from:*) originals+=("$value") ;;
    to:*) replacements+=("$value") ;;
    '' | '#'*) ;;
    *)
      echo "tests/mutants: cannot read \"$line\"" >&2
      exit 1
      ;;
  esac
done < <(cat -- "$root"/tests/mutants/*.txt)
for count in ${#tests[@]} ${#originals[@]} ${#replacements[@]}; do
  if ((count != ${#files[@]})); then
    echo "tests/mutants: every mutant needs file, test, from and to" >&2
    exit 1
  fi
done

chosen=()
for i in "${!files[@]}"; do
  # shellcheck disable=SC2053  # the pattern is one
  if [[ ${files[i]} == $pattern ]]; then
    chosen+=("$i")
  fi
done
if ((${#chosen[@]} == 0)); then
  echo "No mutant's file matches $pattern" >&2
  exit 1
fi

refresh_copy
# Tests are run by hand here, so nothing is gained by asking each executable for its list of cases at every build.
stage "Configuring the copy" mutants-configure.log \
  env -C "$copy" cmake --preset cpu -DCMAKE_CATCH_DISCOVER_TESTS_DISCOVERY_MODE=PRE_TEST -DNSGD_WERROR=OFF

# Without a fault every executable must pass, or a failure would mean nothing.
for name in $(for i in "${chosen[@]}"; do echo "${tests[i]}"; done | sort -u); do
  printf 'Without a fault: %s … ' "$name"
  if ! make_test "$name" || ! run_test "$name"; then
    printf 'fails\n'
    tail -n 40 "$log"
    exit 1
  fi
  printf 'passes\n'
done

killed=0 survived=0 broken=0
for i in "${chosen[@]}"; do
  path=$copy/${files[i]}
  text=$(cat -- "$root/${files[i]}" && echo .)
  text=${text%.}
  without=${text//"${originals[i]}"/}
  printf '%s: %s … ' "${files[i]}" "${replacements[i]:-(removed)}"
  if (((${#text} - ${#without}) != ${#originals[i]})); then
    printf 'DOES NOT APPLY: the original does not occur exactly once\n'
    broken=$((broken + 1))
    continue
  fi
  printf '%s' "${text%%"${originals[i]}"*}${replacements[i]}${text#*"${originals[i]}"}" >"$path"
  if ! make_test "${tests[i]}"; then
    printf 'DOES NOT COMPILE\n'
    grep -m 3 'error' "$log" || true
    broken=$((broken + 1))
  elif run_test "${tests[i]}"; then
    printf 'SURVIVED %s\n' "${tests[i]}"
    survived=$((survived + 1))
  else
    printf 'killed\n'
    killed=$((killed + 1))
  fi
  cp -- "$root/${files[i]}" "$path"
done

printf '%d killed, %d survived, %d broken\n' "$killed" "$survived" "$broken"
((survived == 0 && broken == 0))
