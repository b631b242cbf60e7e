#!/usr/bin/env bash
# Everything there is to check on a machine with a GPU, within ten minutes, and a report of it in JSON and Markdown.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

folder='' report=$root/build/gpu_check quick=0
usage() {
  cat <<HELP
Usage: scripts/gpu_check.sh [--folder BUILD] [--report FOLDER] [--quick]

Builds the cuda preset, or takes the built folder BUILD (of this tree, for machines without nvcc); then runs all tests
of the label gpu, of which none may be skipped, compute-sanitizer's memcheck and racecheck on the kernel tests, and
noisysgd-bench on the device against the bars of apps/bench/cuda_bars.json. Writes report.json, report.md and the logs to FOLDER
[build/gpu_check]. --quick measures small networks alone, as a test of this script does on the emulated device.
Exit status: 0 if all passed, 1 if not, 2 if only a bar was broken.
HELP
}
while (($#)); do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --folder) folder=$(cd -- "${2:?--folder needs a build folder}" && pwd) && shift 2 ;;
    --report) report=${2:?--report needs a folder} && shift 2 ;;
    --quick) quick=1 && shift ;;
    *) usage >&2 && exit 1 ;;
  esac
done
mkdir -p "$report"
report=$(cd -- "$report" && pwd)
rm -f "$report"/*.log "$report"/report.* "$report"/bench.* "$report"/tests.xml

if [[ -z $folder ]]; then
  "$root/scripts/install_packages.sh"
  CUDACXX=$("$root/scripts/install_cuda_toolkit.sh")
  export CUDACXX
  configure cuda
  preset=cuda build "the CUDA backend" apps/all gpu_tests
  folder=$root/build/cuda
fi

# results: one line per check, "name<TAB>passed|failed|not run<TAB>what is to be said".
results=()
failed=0
result() { # NAME STATE REMARK
  results+=("$1"$'\t'"$2"$'\t'"$3")
  printf '%-28s %-8s %s\n' "$1" "$2" "$3"
  if [[ $2 == failed ]]; then
    failed=1
  fi
}

# The tests, among them the trainings on both devices ("apps on cuda").
status=0
only=()
if ((quick)); then
  only=(--tests-regex '^emulator on cuda:.*(shuffles|votes)')
fi
ctest --test-dir "$folder" --label-regex '^gpu$' "${only[@]}" --parallel 4 \
  --output-junit "$report/tests.xml" --output-on-failure >"$report/tests.log" 2>&1 || status=$?
count() { sed -nE "s/^[[:space:]]*$1=\"([0-9]+)\".*/\1/p" "$report/tests.xml" 2>/dev/null | head -n 1; }
tests=$(count tests) failures=$(count failures) disabled=$(count disabled) skipped=$(count skipped)
left_out=$((${skipped:-0} + ${disabled:-0}))
said="${tests:-0} run, ${failures:-?} failed, $left_out skipped"
if ((status == 0 && ${tests:-0} > 0 && left_out == 0)); then
  result "gpu tests" passed "$said"
else
  result "gpu tests" failed "$said"
fi

# What the tool found is one check, tests that failed in its run another: both can make compute-sanitizer fail.
sanitize() { # TOOL
  local log=$report/$1.log status=0 found failures
  timeout 150 compute-sanitizer --tool "$1" "$folder/tests/kernels/kernels_gpu_test" >"$log" 2>&1 || status=$?
  found=$(sed -nE 's/^=+ (ERROR|RACECHECK) SUMMARY: ([0-9]+ .*)/\2/p' "$log" | tail -n 1)
  failures=$(grep -E '^(test cases|assertions):.* failed' "$log" | tail -n 1 || true)
  if [[ $found == '0 '* ]]; then
    result "compute-sanitizer $1" passed "$found"
  elif ((status == 124)); then
    result "compute-sanitizer $1" failed "not done in 150 s"
  else
    result "compute-sanitizer $1" failed "${found:-$(tail -n 1 "$log")}"
  fi
  if [[ -n $failures ]]; then
    result "tests under $1" failed "$failures"
  elif [[ $found == '0 '* ]] && ((status != 0)); then
    result "tests under $1" failed "exit status $status"
  fi
}
for tool in memcheck racecheck; do
  if command -v compute-sanitizer >/dev/null; then
    sanitize "$tool"
  else
    result "compute-sanitizer $tool" "not run" "compute-sanitizer is not on this machine"
  fi
done

if ((quick)); then
  what=(--layers mlp --layer-batch 2 --steps mlp --batch 2 --rounds 9)
else
  what=(--layers resnet44 vgg16 --layer-batch 1024 --steps mlp lenet alexnet resnet44 vgg16 --batch 4096 --rounds 15)
fi
status=0
"$folder/apps/noisysgd-bench" --device cuda --ceilings --bandwidth "${what[@]}" --markdown \
  --variants "diag-F exact + noise" "diag-F spatial + noise" --bars "$root/apps/bench/cuda_bars.json" \
  --json "$report/bench.json" >"$report/bench.md" 2>"$report/bench.log" || status=$?
case $status in
  0) result "noisysgd-bench" passed "" ;;
  2) result "bars" broken "$(tail -n 1 "$report/bench.log")" ;;
  *) result "noisysgd-bench" failed "$(tail -n 1 "$report/bench.log")" ;;
esac

gpu=$(nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit --format=csv,noheader 2>/dev/null | head -n 1 || true)
commit=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)
python3 - "$report" "$commit" "$gpu" <(printf '%s\n' "${results[@]}") <<'PYTHON'
import json, pathlib, sys

folder, commit, gpu, results = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
checks = [dict(zip(("check", "state", "remark"), line.rstrip("\n").split("\t"))) for line in open(results)]
bench = folder / "bench.json"
report = {"commit": commit, "nvidia_smi": gpu or None, "checks": checks,
          "benchmark": json.loads(bench.read_text()) if bench.exists() else None}
(folder / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
lines = ["# GPU check", "", f"- commit: {commit}",
         f"- GPU, driver, SM clock, its maximum, memory clock, power limit: {gpu or 'nvidia-smi does not say'}", "",
         "| check | state | remark |", "|---|---|---|"]
lines += [f"| {c['check']} | {c['state']} | {c['remark']} |" for c in checks]
tables = folder / "bench.md"
(folder / "report.md").write_text("\n".join(lines) + "\n\n" + (tables.read_text() if tables.exists() else ""))
PYTHON
echo "The report is $report/report.md and report.json"
((failed == 0)) || exit 1
((status == 0)) || exit 2
