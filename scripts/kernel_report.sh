#!/usr/bin/env bash
# Prints the resources of every CUDA kernel as nvcc compiles it, as a Markdown table: registers, spilled bytes (stores +
# loads), static shared memory and, if cuobjdump is found ($CUOBJDUMP, in the PATH, next to nvcc), the number of its
# tensor-core instructions (HMMA, HGMMA). Exits with 1 if a kernel spills more than 64 bytes, if a kernel of
# kernels/cuda/conv_{window,pairs,gather,block,wgmma}* has no tensor-core instruction, or if ptxas makes asynchronous products
# wait for each other, for any of its reasons (C7510, C7514, ...).
# Usage: scripts/kernel_report.sh [ARCHITECTURE] [FILE.cu …]    by default sm_90a, and all of kernels/
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  -h | --help)
    sed -n '2,7s/^# //p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
architecture=${1:-sm_90a}
shift || true
nvcc=$("$root/scripts/install_cuda_toolkit.sh")
cuobjdump=${CUOBJDUMP:-$(command -v cuobjdump || echo "$(dirname -- "$nvcc")/cuobjdump")}
cd "$root"
sources=("$@")
if ((${#sources[@]} == 0)); then
  sources=(kernels/*.cu kernels/cuda/*.cu)
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ln -s "$root" "$work/noisysgd"  # makes <noisysgd/kernels/…> found

printf '%s, %s\n\n' "$("$nvcc" --version | sed -nE 's/.*, (V[0-9.]+).*/nvcc \1/p')" "$architecture"
printf '| kernel | registers | spilled bytes | shared memory | HMMA |\n|---|---|---|---|---|\n'
failed=0
for source in "${sources[@]}"; do
  "$nvcc" -std=c++20 -arch="$architecture" --expt-relaxed-constexpr -DNSGD_WITH_CUDA \
    -I"$work" -Ikernels/cuda/nvcc -Werror all-warnings -Xptxas -v -cubin "$source" -o "$work/kernel.cubin" 2>"$work/log" || {
    cat "$work/log" >&2
    exit 1
  }
  if grep 'wgmma.mma_async instructions are serialized' "$work/log" >&2; then
    failed=1
  fi
  if [[ -x $cuobjdump ]]; then
    "$cuobjdump" -sass "$work/kernel.cubin" |
      awk '/Function :/ { name = $NF; count[name] += 0 } /HG?MMA/ { ++count[name] } END { for (n in count) print n, count[n] }' \
        >"$work/hmma"
  else
    : >"$work/hmma"
  fi
  awk -v source="$source" '
    FILENAME ~ /hmma$/ { hmma[$1] = $2; known = 1; next }
    /Compiling entry function/ { split($0, part, "\047"); name = part[2] }
    /bytes spill stores/ { match($0, /[0-9]+ bytes spill stores/); stores = substr($0, RSTART, RLENGTH) + 0
                           match($0, /[0-9]+ bytes spill loads/); loads = substr($0, RSTART, RLENGTH) + 0 }
    /Used [0-9]+ registers/ {
      match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5) + 0
      shared = match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART, RLENGTH) + 0 : 0
      print name, registers, stores + loads, shared, known ? hmma[name] + 0 : "?"
    }' "$work/hmma" "$work/log" | c++filt |
    sed -E 's/noisysgd::kernels::(cuda::)?//g; s/(window|conv_block):://g; s/\(anonymous namespace\):://g; s/^void //; s/\(cuda::Statistic\)|\(Statistic\)//g' |
    sed -E 's/^(.*[>l])\(.*\) ([0-9]+) ([0-9]+) ([0-9]+) ([0-9?]+)$/| `\1` | \2 | \3 | \4 | \5 |/' | sort >"$work/table"
  cat "$work/table"
  awk -F '|' -v tensor="$([[ $source =~ conv_(window|pairs|gather|block|wgmma) ]] && echo 1 || echo 0)" '
    $4 > 64 || (tensor && $6 != " ? " && $6 == 0) { bad = 1; print "spills too much, or has no tensor-core instruction:" $2 > "/dev/stderr" }
    END { exit bad }' "$work/table" || failed=1
done
exit "$failed"
