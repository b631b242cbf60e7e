#!/usr/bin/env python3
"""Compares a training step replayed as a graph with the sum of its kernels' times in a profile by ncu.

kernel_times.py NCU.CSV STEPS BENCH.JSON NETWORK OUT.JSON

NCU.CSV: `ncu --metrics gpu__time_duration.sum --csv` of STEPS steps. Each step begins with set_step_values_kernel.
The last one, which ends with the process, is used. BENCH.JSON: noisysgd-bench's --json with the plain step of NETWORK.
OUT.JSON: the result, with the ten longest kernels. The sum does not include memory copies and fills that are no kernels.
Prints one line. Exits with 1 and the reason if the profile does not hold STEPS steps.
"""
import collections
import csv
import json
import sys

FIRST_OF_STEP = "set_step_values_kernel"
SECONDS = {"s": 1, "second": 1, "ms": 1e-3, "msecond": 1e-3, "us": 1e-6, "usecond": 1e-6, "ns": 1e-9, "nsecond": 1e-9}


def read_profile(path):
    """[(kernel, seconds)] in the order of their launches."""
    with open(path, newline="") as file:
        rows = csv.DictReader(line for line in file if line.startswith('"'))
        return [(row["Kernel Name"], float(row["Metric Value"].replace(",", "")) * SECONDS[row["Metric Unit"]])
                for row in rows if row["Metric Name"] == "gpu__time_duration.sum"]


def last_step(profile, steps):
    begins = [i for i, (kernel, _) in enumerate(profile) if FIRST_OF_STEP in kernel]
    if len(begins) != steps:
        sys.exit(f"the profile of {len(profile)} kernels holds {len(begins)} beginnings of steps, expected {steps}")
    return profile[begins[-1]:]


def replayed_seconds(bench, network):
    for section in bench.get("steps", []):
        if section["network"] == network:
            return section["variants"][0]["seconds"]["median"], section["batch"]
    sys.exit(f"the benchmark holds no step of {network}")


def main(profile, steps, bench, network, out):
    with open(bench) as file:
        replayed, batch = replayed_seconds(json.load(file), network)
    step = last_step(read_profile(profile), int(steps))
    by_kernel = collections.defaultdict(lambda: [0.0, 0])
    for kernel, seconds in step:
        by_kernel[kernel][0] += seconds
        by_kernel[kernel][1] += 1
    total = sum(seconds for _, seconds in step)
    longest = sorted(by_kernel.items(), key=lambda item: -item[1][0])[:10]
    result = {"network": network, "batch": batch, "kernels": len(step), "kernel_seconds": total,
              "replayed_step_seconds": replayed, "ratio": replayed / total,
              "longest": [{"kernel": kernel, "calls": calls, "seconds": seconds, "share": seconds / total}
                          for kernel, (seconds, calls) in longest]}
    with open(out, "w") as file:
        file.write(json.dumps(result, indent=2) + "\n")
    print(f"{replayed * 1e3:.2f} ms over {total * 1e3:.2f} ms of {len(step)} kernels: {replayed / total:.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    main(*sys.argv[1:])
