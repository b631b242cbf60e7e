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


def step_seconds(benchmarks, network, precision, batch, variant):
    """The median of noisysgd-bench, or None if this step was not measured."""
    for benchmark in benchmarks:
        for section in (benchmark or {}).get("steps", []):
            if (section["network"], section["precision"], section["batch"]) == (network, precision, batch):
                for entry in section["variants"]:
                    if entry["name"] == variant:
                        return entry["seconds"]["median"]
    return None


# Our time over that of PyTorch's fastest way: goals for a step with operands of 16 bits.
PYTORCH_GOALS = {"plain": 0.7, "diag-F exact + noise": 1 / 6}


def pytorch_comparison(pytorch, benchmarks):
    """One entry for each network, precision and kind of step that both measured; PyTorch's ways in their own times."""
    rows = {}
    for step in (pytorch or {}).get("steps", []):
        variant = "plain" if step["variant"] == "plain" else "diag-F exact + noise"
        ways = rows.setdefault((step["network"], step["precision"], step["batch"], variant), {})
        ways[step["mode"] if variant == "plain" else f"{step['variant']}, {step['mode']}"] = step.get("seconds")
    entries = []
    for (network, precision, batch, variant), ways in rows.items():
        own = "half" if precision == "bf16" else precision  # operands of 16 bits in both
        ours = step_seconds(benchmarks, network, own, batch, variant)
        times = [time for way, time in ways.items() if time and (variant != "plain" or way == "compiled")]
        entries.append({"network": network, "precision": precision, "batch": batch, "variant": variant, "seconds": ours,
                        "pytorch_seconds": ways, "ratio": ours / min(times) if ours and times else None})
    return entries


def pytorch_lines(pytorch, entries):
    if not entries:
        return []
    def milliseconds(time):
        return f"{time * 1e3:.2f}" if time else "-"
    rows = []
    for e in entries:
        ways = "; ".join(f"{way} {milliseconds(time)}" for way, time in e["pytorch_seconds"].items())
        goal = f"{PYTORCH_GOALS[e['variant']]:.2f}" if e["precision"] not in ("fp32", "tf32") else ""
        rows.append([e["network"], e["variant"], e["precision"], str(e["batch"]), milliseconds(e["seconds"]), ways,
                     f"{e['ratio']:.3f}" if e["ratio"] else "-", goal])
    return ["## Steps in PyTorch", "",
            f"PyTorch {pytorch['torch']}, batch normalisation over the whole batch. The ratio is our time over PyTorch's: of the "
            "compiled plain step, and of the fastest way to diag(F).", ""] + table(
                ["network", "step", "precision", "batch", "ms", "PyTorch, ms", "ratio", "goal"], rows) + [""]


def main(folder, commit, gpu, results):
    folder = pathlib.Path(folder)
    with open(results) as file:
        checks = [dict(zip(("check", "state", "remark"), line.rstrip("\n").split("\t"))) for line in file]
    benchmarks = [read_json(folder / "bench.json"), read_json(folder / "bench_half.json")]
    kernels, peaks = read_json(folder / "kernels.json"), memory_peaks(benchmarks)
    pytorch = read_json(folder / "pytorch.json")
    comparison = pytorch_comparison(pytorch, benchmarks)
    report = {"commit": commit, "nvidia_smi": gpu or None, "checks": checks, "benchmark": benchmarks[0],
              "benchmark_half": benchmarks[1], "kernels": kernels, "memory_peaks": peaks,
              "pytorch": comparison}
    (folder / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    lines = ["# GPU check", "", f"- commit: {commit}",
             f"- GPU, driver, SM clock, its maximum, memory clock, power limit: {gpu or 'nvidia-smi does not say'}", ""]
    lines += table(["check", "state", "remark"], [[c["check"], c["state"], c["remark"]] for c in checks]) + [""]
    lines += kernel_lines(kernels) + memory_lines(peaks, benchmarks[0]) + pytorch_lines(pytorch, comparison)
    for title, name in (("# Benchmark", "bench.md"), ("# Benchmark at half", "bench_half.md")):
        if (folder / name).exists():
            lines += [title, "", (folder / name).read_text()]
    (folder / "report.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
