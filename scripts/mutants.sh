#!/usr/bin/env bash
# Tries the faults of tests/mutants/*.txt in a copy of the tree: the named test executable must fail with each of them.
# Usage: scripts/mutants.sh [--list] [PATTERN]
# PATTERN (a glob) chooses among the mutants' files, as in 'optim/*'; --list only shows what would be tried.
# Exits with 1 if a mutant survives, does not apply or does not compile.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

list=0
case ${1:-} in
  -h | --help)
    sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
  --list)
    list=1
    shift
    ;;
esac
pattern=${1:-*}
copy=$root/build/mutants
log=$copy.log

# The copy is kept, so files that have not changed since the last run are not built again.
refresh_copy() {
  local path
  git -C "$root" ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' path; do
    if [[ -f $root/$path ]] && ! cmp -s "$root/$path" "$copy/$path"; then
      mkdir -p "$(dirname -- "$copy/$path")"
      cp -- "$root/$path" "$copy/$path"
    fi
  done
  # Files that the tree has lost: CMake would find them.
  find "$copy" -path "$copy/build" -prune -o -type f -printf '%P\0' | while IFS= read -r -d '' path; do
    [[ -e $root/$path ]] || rm -- "$copy/$path"
  done
}

make_test() { # PRESET EXECUTABLE
  cmake --build "$copy/build/$1" --parallel "$cores" --target "$2" >"$log" 2>&1
}

# A mutant may hang: a test that times out has failed.
run_test() { # PRESET EXECUTABLE CASES
  timeout 900 "$(find "$copy/build/$1/tests" -name "$2" -type f -perm -u+x)" ${3:+"$3"} --abort >"$log" 2>&1
}

# Six parallel arrays: one mutant per index.
files=() tests=() presets=() cases=() originals=() replacements=()
file='' test='' preset='' filter='' from=''
for source in "$root"/tests/mutants/*.txt; do
  while IFS= read -r line; do
    value=${line#*:}
    value=${value#"${value%%[![:space:]]*}"}
    case $line in
      file:*) file=$value test='' preset='' filter='' ;;
      test:*) test=$value ;;
      preset:*) preset=$value ;;
      cases:*) filter=$value ;;
      from:*) from=${value//'\n'/$'\n'} ;;
      to:*)
        if [[ -z $file || -z $test || -z $from ]]; then
          echo "$source: \"$line\" lacks its file, test or from" >&2
          exit 1
        fi
        default=cpu
        [[ $test != *_gpu_test ]] || default=emulate
        files+=("$file") tests+=("$test") presets+=("${preset:-$default}") cases+=("$filter")
        originals+=("$from") replacements+=("$value")
        from=''
        ;;
      '' | '#'* | kernel:*) ;; # kernel: tests/mutants/every_kernel.cmake
      *)
        echo "$source: cannot read \"$line\"" >&2
        exit 1
        ;;
    esac
  done <"$source"
done

is_switched() { [[ ${originals[$1]} == *«*»* ]]; } # I

# Reads the file of mutant I, without the fault, into `text`.
read_file() { # I
  text=$(cat -- "$root/${files[$1]}" && echo .)
  text=${text%.}
}

# Plants mutant I in `text`, which may already hold others. Fails if its original does not occur exactly once. The text
# between « » becomes a choice at run time.
plant() { # I
  local original=${originals[$1]} to=${replacements[$1]}
  if is_switched "$1"; then
    local before=${original%%«*} piece=${original#*«} after=${original##*»}
    piece=${piece%%»*}
    if [[ $piece == *';' ]]; then
      to="if (planted_fault == $1) { $to } else { $piece }"
    else
      to="(planted_fault == $1 ? ($to) : ($piece))"
    fi
    original=$before$piece$after to=$before$to$after
  fi
  local without=${text//"$original"/} start=${text%%"$original"*}
  ((${#text} - ${#without} == ${#original})) || return 1
  text=$start$to${text:${#start}+${#original}}
}
choice='#include <cstdlib>
inline const int planted_fault = std::getenv("NSGD_PLANTED_FAULT") ? std::atoi(std::getenv("NSGD_PLANTED_FAULT")) : -1;
'

title() { # I
  local original=${originals[$1]//$'\n'/ }
  printf '%s (%s %s): %s -> %s' "${files[$1]}" "${presets[$1]}" "${tests[$1]}" "$original" \
    "${replacements[$1]:-(nothing)}"
}

remaining=() broken=0
for i in "${!files[@]}"; do
  # shellcheck disable=SC2053  # the pattern is one
  [[ ${files[i]} == $pattern ]] || continue
  problem=''
  if [[ ! -f $root/${files[i]} ]]; then
    problem='there is no such file'
  else
    read_file "$i"
    plant "$i" || problem='the original does not occur exactly once'
  fi
  if [[ -n $problem ]]; then
    printf '%s … DOES NOT APPLY: %s\n' "$(title "$i")" "$problem"
    broken=$((broken + 1))
  else
    remaining+=("$i")
    ((list == 0)) || printf '%s\n' "$(title "$i")"
  fi
done
if ((list == 1)); then
  printf '%d mutants apply, %d do not\n' ${#remaining[@]} "$broken"
  exit $((broken > 0))
fi
if ((${#remaining[@]} == 0)); then
  echo "No mutant's file matches $pattern" >&2
  exit 1
fi

refresh_copy
# The tests are run directly below, so listing the cases of each executable at every build would only take time.
for preset in $(for i in "${remaining[@]}"; do echo "${presets[i]}"; done | sort -u); do
  stage "Configuring the copy ($preset)" mutants-configure.log \
    env -C "$copy" cmake --preset "$preset" -DCMAKE_CATCH_DISCOVER_TESTS_DISCOVERY_MODE=PRE_TEST -DNSGD_WERROR=OFF
done

declare -A passes=()
# Without a fault the same cases must pass, or a failure would mean nothing.
expect_pass() { # KEY PRESET EXECUTABLE CASES
  [[ -z ${passes[$1]:-} ]] || return 0
  if ! make_test "$2" "$3" || ! run_test "$2" "$3" "$4" || grep -q '^No test' "$log"; then
    printf 'Without a fault: %s %s %s … fails\n' "$2" "$3" "$4"
    tail -n 40 "$log"
    exit 1
  fi
  passes[$1]=1
}
for i in "${remaining[@]}"; do
  is_switched "$i" || expect_pass "${presets[i]} ${tests[i]} ${cases[i]}" "${presets[i]}" "${tests[i]}" "${cases[i]}"
done

killed=0 survived=0
while ((${#remaining[@]} > 0)); do
  # One mutant, or all mutants of a file that fit into one build.
  first=${remaining[0]} batch=() later=()
  read_file "$first"
  ! is_switched "$first" || text=$choice$text
  for i in "${remaining[@]}"; do
    if ((i == first)) || {
      is_switched "$first" && is_switched "$i" &&
        [[ "${files[i]} ${presets[i]} ${tests[i]}" == "${files[first]} ${presets[first]} ${tests[first]}" ]]
    } && plant "$i"; then
      batch+=("$i")
    else
      later+=("$i")
    fi
  done
  remaining=("${later[@]}")
  path=${files[first]} preset=${presets[first]} test=${tests[first]}
  printf '%s' "$text" >"$copy/$path"
  if ! make_test "$preset" "$test"; then
    printf '%s … DOES NOT COMPILE\n' "$(title "$first")"
    grep -m 3 'error' "$log" || true
    broken=$((broken + ${#batch[@]}))
    batch=()
  fi
  for i in "${batch[@]}"; do
    ! is_switched "$i" || expect_pass "$first: $preset $test ${cases[i]}" "$preset" "$test" "${cases[i]}"
    printf '%s … ' "$(title "$i")"
    if NSGD_PLANTED_FAULT=$i run_test "$preset" "$test" "${cases[i]}"; then
      printf 'SURVIVED\n'
      survived=$((survived + 1))
    else
      printf 'killed\n'
      killed=$((killed + 1))
    fi
  done
  cp -- "$root/$path" "$copy/$path"
done

printf '%d killed, %d survived, %d broken\n' "$killed" "$survived" "$broken"
((survived == 0 && broken == 0))
