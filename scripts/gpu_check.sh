#!/usr/bin/env bash
# Runs all checks for a machine with a GPU within ten minutes (without --pytorch), and writes a report in JSON and Markdown.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

folder='' report=$root/build/gpu_check quick=0 pytorch=0
usage() {
  cat <<HELP
Usage: scripts/gpu_check.sh [--folder BUILD] [--report FOLDER] [--pytorch] [--quick]

Builds the cuda preset, or uses the build folder BUILD of this tree (for machines without nvcc). Then runs all tests
with the label gpu, none of which may be skipped, compute-sanitizer's memcheck and racecheck on the kernel tests, and
noisysgd-bench on the device at tf32 and half against the bars of bench/program/cuda_bars.json. If ncu is installed, also
compares a replayed step with the times of its kernels. Writes report.json, report.md and the logs to FOLDER
[build/gpu_check]. --pytorch also times the steps of scripts/pytorch_steps.py, with a python3 that has PyTorch, for at
most 20 minutes, and compares. --quick measures only small networks; a test of this script uses it on the emulated
device.
Exit status: 0 if all passed, 1 if not, 2 if only a bar was broken.
HELP
}
while (($#)); do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --folder) folder=$(cd -- "${2:?--folder needs a build folder}" && pwd) && shift 2 ;;
    --report) report=${2:?--report needs a folder} && shift 2 ;;
    --pytorch) pytorch=1 && shift ;;
    --quick) quick=1 && shift ;;
    *) usage >&2 && exit 1 ;;
  esac
done
mkdir -p "$report"
report=$(cd -- "$report" && pwd)
rm -f "$report"/*.log "$report"/report.* "$report"/bench*.{json,md} "$report"/{tests.xml,kernels.json,pytorch.json,ncu.csv}

if [[ -z $folder ]]; then
  "$root/scripts/install_packages.sh"
  CUDACXX=$("$root/scripts/install_cuda_toolkit.sh")
  export CUDACXX
  configure cuda
  preset=cuda build "the CUDA backend" apps/all bench/all gpu_tests
  folder=$root/build/cuda
fi

# results: one line per check, "name<TAB>state<TAB>remark". State: passed, failed, not run, broken or not judged.
results=()
failed=0
result() { # NAME STATE REMARK
  results+=("$1"$'\t'"$2"$'\t'"$3")
  printf '%-28s %-8s %s\n' "$1" "$2" "$3"
  if [[ $2 == failed ]]; then
    failed=1
  fi
}

# Called at every exit; reports the results so far.
write_report() {
  local gpu commit
  gpu=$(nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit --format=csv,noheader 2>/dev/null | head -n 1 || true)
  commit=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)
  "$root/scripts/gpu_report.py" "$report" "$commit" "$gpu" <(printf '%s\n' "${results[@]}")
  echo "The report is $report/report.md and report.json"
}
trap write_report EXIT
trap 'exit 1' INT TERM

# The tests, including the trainings on both devices ("apps on cuda").
status=0
only=()
if ((quick)); then
  only=(--tests-regex '^emulator on cuda:.*(shuffles|votes)')
fi
ctest --test-dir "$folder" --label-regex '^gpu$' "${only[@]}" --parallel 6 \
  --output-junit "$report/tests.xml" --output-on-failure >"$report/tests.log" 2>&1 || status=$?
count() { sed -nE "s/^[[:space:]]*$1=\"([0-9]+)\".*/\1/p" "$report/tests.xml" 2>/dev/null | head -n 1; }
tests=$(count tests) failures=$(count failures) disabled=$(count disabled) skipped=$(count skipped)
left_out=$((${skipped:-0} + ${disabled:-0}))
counts="${tests:-0} run, ${failures:-?} failed, $left_out skipped"
if ((status == 0 && ${tests:-0} > 0 && left_out == 0)); then
  result "gpu tests" passed "$counts"
else
  result "gpu tests" failed "$counts"
fi

# The names of the kernel tests, as Catch reads them, in eight lines, one for each process: under the sanitizers a
# process mostly waits for one launch after another. racecheck leaves out the test of all plans of cuDNN: it does not
# finish in time, and the kernels of cuDNN are not part of this tree.
kernel_tests() { # TOOL
  local without='^$'
  [[ $1 != racecheck ]] || without='convolutions by cuDNN'
  ctest --test-dir "$folder" --tests-regex '^kernels on cuda:' --exclude-regex "$without" --show-only=json-v1 | python3 -c '
import json, sys
names = [test["command"][1] for test in json.load(sys.stdin)["tests"] if len(test.get("command", [])) == 2]
print("\n".join(filter(None, (",".join(names[share::8]) for share in range(8)))))'
}

# Runs the sanitizers in parallel, each with one process per line of tests. Writes TOOL.log, and to worst[TOOL] the exit
# status, 124 if a process timed out.
declare -A worst=() processes=()
run_sanitizers() { # TOOL…
  local tool share shares status
  local -A running=()
  for tool in "$@"; do
    mapfile -t shares < <(kernel_tests "$tool")
    processes[$tool]=${#shares[@]}
    for share in "${!shares[@]}"; do
      timeout 150 compute-sanitizer --tool "$tool" "$folder/tests/kernels/kernels_gpu_test" "${shares[share]}" \
        >"$report/$tool.log.$share" 2>&1 &
      running[$tool $share]=$!
    done
  done
  for tool in "$@"; do
    worst[$tool]=0
    : >"$report/$tool.log"
    for ((share = 0; share < processes[$tool]; ++share)); do
      status=0
      wait "${running[$tool $share]}" || status=$?
      if ((worst[$tool] != 124 && status != 0)); then
        worst[$tool]=$status
      fi
      cat "$report/$tool.log.$share" >>"$report/$tool.log"
      rm "$report/$tool.log.$share"
    done
  done
}

# The findings of the tool are one check, and tests that failed during its run another: both can make compute-sanitizer
# fail.
judge_sanitizer() { # TOOL
  local log=$report/$1.log found failures clean
  # One summary per process: "0 errors", "0 hazards displayed (0 errors, 0 warnings)".
  found=$(sed -nE 's/^=+ (ERROR|RACECHECK) SUMMARY: ([0-9]+) ([a-z]+).*/\2 \3/p' "$log" |
    awk '{ count += $1; what = $2 } END { if (NR > 0) print NR, count, what }')
  failures=$(grep -E '^(test cases|assertions):.* failed' "$log" | tail -n 1 || true)
  clean=0
  if [[ $found == "${processes[$1]} 0 "* ]]; then
    clean=1
    result "compute-sanitizer $1" passed "${found#* } in ${processes[$1]} processes"
  elif ((worst[$1] == 124)); then
    result "compute-sanitizer $1" failed "not done in 150 s${found:+; processes that ended, and what they found: $found}"
  else
    result "compute-sanitizer $1" failed "${found:+processes that ended, and what they found: }${found:-$(tail -n 1 "$log")}"
  fi
  if [[ -n $failures ]] && ((worst[$1] != 124)); then # after a timeout they would include stopped tests
    result "tests under $1" failed "$failures"
  elif ((clean && worst[$1] != 0)); then
    result "tests under $1" failed "exit status ${worst[$1]}"
  fi
}
if command -v compute-sanitizer >/dev/null; then
  run_sanitizers memcheck racecheck
fi
for tool in memcheck racecheck; do
  if command -v compute-sanitizer >/dev/null; then
    judge_sanitizer "$tool"
  else
    result "compute-sanitizer $tool" "not run" "compute-sanitizer is not on this machine"
  fi
done

# bench PRECISION NAME OPTION…: writes NAME.json, NAME.md and NAME.log; sets bars to 1 if a bar was broken.
bars=0
bench() {
  local precision=$1 name=$2 status=0
  shift 2
  "$folder/apps/noisysgd-bench" --device cuda --precision "$precision" "$@" --markdown --bars "$root/bench/program/cuda_bars.json" \
    --json "$report/$name.json" >"$report/$name.md" 2>"$report/$name.log" || status=$?
  case $status in
    0) result "noisysgd-bench, $precision" passed "" ;;
    2) bars=1 && result "bars, $precision" broken "$(tail -n 1 "$report/$name.log")" ;;
    *) result "noisysgd-bench, $precision" failed "$(tail -n 1 "$report/$name.log")" ;;
  esac
}
exact="diag-F exact + noise" spatial="diag-F spatial + noise"
if ((quick)); then
  profiled=mlp batch=2
  bench tf32 bench --ceilings --bandwidth --layers mlp --layer-batch 2 --steps mlp --batch 2 --rounds 9 --variants "$exact" "$spatial"
  bench half bench_half --steps mlp --batch 2 --rounds 1 --variants plain
else
  profiled=resnet44 batch=4096
  bench tf32 bench --ceilings --bandwidth --layers resnet44 vgg16 --layer-batch 4096 --rounds 11 \
    --steps mlp lenet alexnet resnet44 vgg16 --batch 4096 --variants "$exact" "$spatial"
  bench half bench_half --rounds 9 --steps alexnet resnet44 vgg16 --batch 4096 --variants "$exact"
fi

# Compares the replayed step with the sum of its kernels' times. They are profiled while the step is issued op by op:
# the same kernels on the same memory. The third step is the second of its kind, like the step from which a graph is
# recorded.
at_most=1.10
profile() {
  local status=0 remark state=passed
  NSGD_GRAPH=0 timeout 60 ncu --metrics gpu__time_duration.sum --clock-control none --cache-control none --csv \
    --log-file "$report/ncu.csv" "$folder/apps/noisysgd-bench" --device cuda --precision tf32 --steps "$profiled" \
    --batch "$batch" --variants plain --only-steps 3 >"$report/ncu.log" 2>&1 || status=$?
  if grep -qs ERR_NVGPUCTRPERM "$report/ncu.csv" "$report/ncu.log"; then
    result "step over its kernels" "not run" "ncu may not read this GPU's counters (ERR_NVGPUCTRPERM)"
  elif ((status == 124)); then
    result "step over its kernels" "not run" "ncu was not done in 60 s"
  elif ((status != 0)); then
    result "step over its kernels" failed "ncu: exit status $status, $(tail -qn 1 "$report/ncu.log" "$report/ncu.csv" 2>/dev/null | tail -n 1)"
  elif ! remark=$("$root/scripts/kernel_times.py" "$report/ncu.csv" 3 "$report/bench.json" "$profiled" "$report/kernels.json" 2>&1); then
    result "step over its kernels" failed "$(tail -n 1 <<<"$remark")"
  else
    if grep -q '"emulated": "yes"' "$report/bench.json"; then
      state='not judged'
    elif ! awk -v ratio="${remark##* }" -v bar="$at_most" 'BEGIN { exit !(ratio <= bar) }'; then
      state=broken bars=1
    fi
    result "step over its kernels" "$state" "$remark (bar: $at_most)"
  fi
}
if command -v ncu >/dev/null; then
  profile
else
  result "step over its kernels" "not run" "ncu is not on this machine"
fi
if ((pytorch)); then
  status=0 steps=(--networks resnet44 vgg16 --batch 4096 --precisions tf32 bf16 --rounds 9)
  if ((quick)); then
    steps=(--networks mlp --batch 2 --precisions tf32 --modes eager --rounds 1 --device cpu)
  fi
  timeout 1200 "$root/scripts/pytorch_steps.py" --program "$folder/apps/noisysgd-bench" "${steps[@]}" --json "$report/pytorch.json" \
    >"$report/pytorch.log" 2>&1 || status=$?
  if ((status == 0)); then
    result "steps in PyTorch" passed "$(head -n 1 "$report/pytorch.log")"
  else
    result "steps in PyTorch" failed "exit status $status, $(tail -n 1 "$report/pytorch.log")"
  fi
fi
# A test counts the waits between two reads of the log.
waits='a steady step makes the host wait for nothing and asks for no memory'
absent=failed
((quick == 0)) || absent='not run'
case $(grep -F "$waits\"" "$report/tests.xml" 2>/dev/null | sed -E 's/.* status="([a-z]*)".*/\1/') in
  run) result "host waits of steady steps" passed "0, by the test \"$waits\"" ;;
  '') result "host waits of steady steps" "$absent" "\"$waits\" is not among the tests that were run" ;;
  *) result "host waits of steady steps" failed "the test \"$waits\"" ;;
esac

((failed == 0)) || exit 1
((bars == 0)) || exit 2
