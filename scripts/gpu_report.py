#!/usr/bin/env python3
"""Writes report.json and report.md for scripts/gpu_check.sh: gpu_report.py FOLDER COMMIT GPU RESULTS"""
import json
import pathlib
import sys


def read_json(path):
    return json.loads(path.read_text()) if path.exists() else None


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(row) + " |" for row in rows]


def mib(size):
    return f"{size / 2**20:.0f}"


def memory_peaks(benchmarks):
    """The peak memory of each kind of step, largest first."""
    peaks = [{"precision": section["precision"], "network": section["network"], "batch": section["batch"],
              "micro": variant.get("micro_batch", section["micro"]), "variant": variant["name"],
              "peak_bytes": variant["peak_bytes"], "held_bytes": variant["held_bytes"]}
             for benchmark in benchmarks if benchmark for section in benchmark.get("steps", [])
             for variant in section["variants"]]
    return sorted(peaks, key=lambda peak: -peak["peak_bytes"])


def memory_lines(peaks, benchmark):
    if not peaks:
        return []
    device = benchmark["machine"].get("gpu_memory_mib", "?") if benchmark else "?"
    rows = [[p["network"], p["variant"], p["precision"], str(p["batch"]), str(p["micro"]), mib(p["peak_bytes"]),
             mib(p["held_bytes"])] for p in peaks]
    return ["## Memory", "", f"Peak of tensors plus workspace, and all memory reserved of the device's {device} MiB; "
            f"the largest peak is {mib(peaks[0]['peak_bytes'])} MiB.", ""] + table(
                ["network", "step", "precision", "batch", "micro-batch", "peak MiB", "held MiB"], rows) + [""]


def kernel_lines(kernels):
    if not kernels:
        return ["## Kernels of a step", "", "Not measured: see the check above.", ""]
    rows = [[f"`{k['kernel'][:100]}`", str(k["calls"]), f"{k['seconds'] * 1e3:.3f}", f"{100 * k['share']:.1f}"]
            for k in kernels["longest"]]
    return ["## Kernels of a step", "",
            f"Plain step of {kernels['network']}, batch {kernels['batch']}: {kernels['kernels']} kernels take "
            f"{kernels['kernel_seconds'] * 1e3:.3f} ms one by one (ncu, clocks and caches as they are; copies and fills "
            f"by the driver are not included), the replayed step {kernels['replayed_step_seconds'] * 1e3:.3f} ms: "
            f"{kernels['ratio']:.3f} times as long. The longest:", ""] + table(
                ["kernel", "launches", "ms", "% of the sum"], rows) + [""]


def main(folder, commit, gpu, results):
    folder = pathlib.Path(folder)
    with open(results) as file:
        checks = [dict(zip(("check", "state", "remark"), line.rstrip("\n").split("\t"))) for line in file]
    benchmarks = [read_json(folder / "bench.json"), read_json(folder / "bench_bf16.json")]
    kernels, peaks = read_json(folder / "kernels.json"), memory_peaks(benchmarks)
    report = {"commit": commit, "nvidia_smi": gpu or None, "checks": checks, "benchmark": benchmarks[0],
              "benchmark_bf16": benchmarks[1], "kernels": kernels, "memory_peaks": peaks}
    (folder / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    lines = ["# GPU check", "", f"- commit: {commit}",
             f"- GPU, driver, SM clock, its maximum, memory clock, power limit: {gpu or 'nvidia-smi does not say'}", ""]
    lines += table(["check", "state", "remark"], [[c["check"], c["state"], c["remark"]] for c in checks]) + [""]
    lines += kernel_lines(kernels) + memory_lines(peaks, benchmarks[0])
    for title, name in (("# Benchmark", "bench.md"), ("# Benchmark at bf16", "bench_bf16.md")):
        if (folder / name).exists():
            lines += [title, "", (folder / name).read_text()]
    (folder / "report.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
