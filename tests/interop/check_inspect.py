#!/usr/bin/env python3
"""Checks noisysgd-inspect against an independent computation in float64.

    check_inspect.py --inspect build/cpu/apps/noisysgd-inspect CONFIG

Rebuilds the network of a configuration from the description that noisysgd-inspect writes, and compares logits, loss,
mean gradients and diag(F) under every estimator (relative error in the Frobenius norm at most 1e-5 per tensor), and the
mean and variance of 2000 noise draws. Exits 0 if all agree, 1 if not, 77 if NumPy is missing.
"""

import argparse
import fnmatch
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("NumPy is not installed, so nothing was checked: pip install numpy (or apt install python3-numpy)")
    sys.exit(77)

import safetensors_file
from reference_network import Network

BOUND = 1e-5  # relative; float32 rounding through a dozen layers is near 1e-6
DRAWS = 2000
SIGMAS = 6  # of every statistical bound: one false alarm in 5e8 normal deviates


class Check:
    """Collects the disagreements."""

    def __init__(self):
        self.failures, self.worst = 0, {}

    def fail(self, text):
        self.failures += 1
        print(f"  FAILED {text}")

    def close(self, what, name, actual, reference, norm=None):
        """norm: the error is relative to it; by default the norm of the reference."""
        norm = np.linalg.norm(reference) if norm is None else norm
        if actual.shape != reference.shape or not np.isfinite(actual).all() or norm == 0:
            return self.fail(f"{what} {name}: shapes {actual.shape} and {reference.shape}, reference norm {norm}")
        error = np.linalg.norm(actual.astype(np.float64) - reference) / norm
        self.worst[what] = max(self.worst.get(what, 0), error)
        if error > BOUND:
            self.fail(f"{what} {name}: relative error {error:.2e} exceeds {BOUND:.0e}")

    def within(self, what, deviate):
        """A standard normal deviate, or an array of them."""
        largest = float(np.abs(deviate).max())
        self.worst[what] = max(self.worst.get(what, 0), largest)
        if not largest <= SIGMAS:
            self.fail(f"{what}: {largest:.2f} standard errors")


def run_inspect(arguments, output, assignments=(), extra=()):
    command = [arguments.inspect, arguments.config, "--output", str(output), *extra]
    for assignment in assignments:
        command += ["--set", assignment]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return safetensors_file.read(output)


def random_checkpoint(graph, folder, images):
    """Parameters that leave no coordinate at a special value (biases 0, scales 1), far enough from every kink that
    float32 and float64 take the same side. Returns the file and the network."""
    for seed in range(1000):
        random = np.random.default_rng(seed)
        values, buffers = {}, {}
        for node in graph["nodes"]:
            for parameter in node["parameters"]:
                shape, name = parameter["shape"], parameter["name"]
                fan_in = int(np.prod(shape[1:]))
                center = 1.0 if node["type"] == "batch_norm" and name.endswith(".weight") else 0.0
                deviation = np.sqrt(2 / fan_in) if len(shape) > 1 else 0.2
                values[name] = (center + deviation * random.standard_normal(shape)).astype(np.float32)
            if node["type"] == "batch_norm":
                buffers[node["name"] + ".running_mean"] = np.zeros(node["channels"], np.float32)
                buffers[node["name"] + ".running_var"] = np.ones(node["channels"], np.float32)
        network = Network(graph, {name: value.astype(np.float64) for name, value in values.items()})
        network.forward(images)
        if network.margin > 2e-6:
            path = folder / "checkpoint.safetensors"
            momentum = {"momentum." + name: value for name, value in values.items()}
            safetensors_file.write(path, {**values, **buffers, **momentum})
            return path, network
    raise RuntimeError("no parameters far enough from all kinks")


def fisher_diagonal(moments, samples, metadata):
    second = moments.exact if metadata["fisher.conv"] == "exact" else moments.spatial
    if metadata["fisher.conv"] == "spatial_mean":
        second = second / moments.positions
    if metadata["fisher.centered"] == "true":
        mean = moments.gradient / samples
        return (second - samples * mean**2) / (samples - 1)
    return second / samples


def gradient_norm(moments, samples):
    """The norm of the mean gradient; if samples cancel to zero (a bias before a batch normalisation), the norm of the
    terms that cancel."""
    norm, cancelling = np.linalg.norm(moments.gradient) / samples, np.sqrt(moments.exact.sum()) / samples
    return norm if norm > 1e-10 * cancelling else cancelling


def check_values(check, tensors, metadata, network):
    """Everything but the noise. Returns diag(F) by name."""
    labels = tensors["input.labels"]
    samples = len(labels)
    logits = network.forward(tensors["input.images"])
    losses, grad_logits = network.loss(labels)
    check.close("logits", "", tensors["logits"], logits)
    check.close("loss", "", tensors["loss"], np.array(losses.mean()))
    moments = network.backward(grad_logits)
    fisher_moments = moments
    if metadata["fisher.kind"] == "true":
        sampled = tensors["fisher.labels"]
        check_sampled_labels(check, sampled, logits)
        fisher_moments = network.backward(network.loss(sampled, smoothing=0)[1])
    diagonals = {}
    for name, value in network.parameters.items():
        if not np.array_equal(tensors["param." + name], value.astype(np.float32)):
            check.fail(f"param {name} is not the checkpoint's")
        norm = gradient_norm(moments[name], samples)
        check.close("gradient", name, tensors["grad." + name], moments[name].gradient / samples, norm)
        diagonals[name] = fisher_diagonal(fisher_moments[name], samples, metadata)
        check.close("diag(F)", name, tensors["fisher_diag." + name], diagonals[name])
    return diagonals


def check_sampled_labels(check, sampled, logits):
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    probability = exponentials / exponentials.sum(1, keepdims=True)
    excess = np.eye(logits.shape[1])[sampled] - probability
    variance = (probability * (1 - probability)).sum(0)
    check.within("sampled labels per class", excess.sum(0)[variance > 1] / np.sqrt(variance[variance > 1]))


def noise_variance(name, diagonal, metadata):
    """The variance that the noise's definition gives for every coordinate of a parameter."""
    globs = json.loads(metadata.get("noise.parameters", '["*"]'))
    if not any(fnmatch.fnmatchcase(name, glob) for glob in globs):
        return np.zeros_like(diagonal)
    scale = float(metadata.get("noise.scale", 1)) ** 2
    if metadata["noise.type"] == "isotropic":
        return np.full_like(diagonal, scale * float(metadata["noise.sigma"]) ** 2)
    large, small = float(metadata["noise.large_batch"]), float(metadata["noise.small_batch"])
    return scale * (large - small) / (large * small) * diagonal


def check_noise(check, tensors, metadata, diagonals):
    everything = []
    for name, diagonal in diagonals.items():
        variance = noise_variance(name, diagonal, metadata).ravel()
        draws = np.stack([tensors[f"noise.{k}.{name}"].ravel() for k in range(DRAWS)]).astype(np.float64)
        if not np.abs(draws[:, variance == 0]).max(initial=0) == 0:
            check.fail(f"noise {name}: not zero where its variance is")
        # Coordinates with next to no variance have it to float32's absolute precision only.
        large = variance > 1e-7 * variance.max()
        if large.any():
            everything.append(draws[:, large] / np.sqrt(variance[large]))
    if not everything:
        return check.fail("noise: no coordinate has any")
    normal = np.concatenate(everything, axis=1)  # [draws, coordinates], iid N(0,1) if all is right
    count = normal.size
    squares = normal**2
    check.within("noise mean per coordinate", normal.mean(0) * np.sqrt(DRAWS))
    # A chi-square variate over its degrees of freedom, made nearly normal by its cube root (Wilson and Hilferty 1931).
    width = 2 / (9 * DRAWS)
    check.within("noise variance per coordinate", (np.cbrt(squares.mean(0)) - (1 - width)) / np.sqrt(width))
    check.within("noise mean", normal.mean() * np.sqrt(count))
    check.within("noise variance", (squares.mean() - 1) * np.sqrt(count / 2))
    check.within("noise fourth moment", ((squares**2).mean() - 3) * np.sqrt(count / 96))
    check.within("noise correlation of draws", (normal[1:] * normal[:-1]).mean() * np.sqrt(count))
    check.within("noise correlation of neighbours", (normal[:, 1:] * normal[:, :-1]).mean() * np.sqrt(count))
    for first, second in zip(everything, everything[1:]):
        shared = min(first.shape[1], second.shape[1])
        product = (first[:, :shared] * second[:, :shared]).mean() * np.sqrt(DRAWS * shared)
        check.within("noise correlation of tensors", product)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inspect", required=True, help="the noisysgd-inspect program")
    parser.add_argument("config")
    arguments = parser.parse_args()

    variants = [
        (["fisher.conv=exact"], DRAWS),
        (["fisher.conv=spatial"], 0),
        (["fisher.conv=spatial_mean"], 0),
        (["fisher.centered=true"], DRAWS),
        (["fisher.kind=true"], 0),
        (['noise={"type":"isotropic","sigma":0.03}'], DRAWS),
        (["batch.micro=16"], 0),
    ]
    check = Check()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tensors, metadata = run_inspect(arguments, folder / "initial.safetensors")
        graph = json.loads(metadata["graph"])
        checkpoint, network = random_checkpoint(graph, folder, tensors["input.images"])
        for assignments, draws in variants:
            extra = ["--checkpoint", str(checkpoint), "--noise", str(draws)]
            tensors, metadata = run_inspect(arguments, folder / "batch.safetensors", assignments, extra)
            print(f"{pathlib.Path(arguments.config).stem}: {' '.join(assignments)}, {len(tensors['logits'])} samples")
            diagonals = check_values(check, tensors, metadata, network)
            if draws:
                check_noise(check, tensors, metadata, diagonals)
    for what, value in check.worst.items():
        print(f"  worst {what}: {value:.3g}")
    print(f"{check.failures} failures")
    return 1 if check.failures else 0


if __name__ == "__main__":
    sys.exit(main())
