#!/usr/bin/env python3
"""Takes a ResNet20 to and from noisysgd-train by the files of docs/pytorch.md, with NumPy in PyTorch's place.

    check_weights.py --train build/cpu/apps/noisysgd-train --eval build/cpu/apps/noisysgd-eval

From a file that NumPy has written, training with a rate that changes nothing must end with the same parameters. Of a
trained checkpoint, a network written down again must predict every test image as noisysgd-eval does, from the raw
images and what the metadata say about them. Exits 0 if that holds, 1 if not, 77 if NumPy is missing.
"""

import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("NumPy is not installed, so nothing was checked: pip install numpy (or apt install python3-numpy)")
    sys.exit(77)

import check_resnet
import safetensors_file

BOUND = 1e-4  # of a probability, which is written with six digits
BLOCKS = 3


def write_idx(path, values):
    header = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def write_data(folder):
    """Bright spots whose place is the class, in noise: the raw test images and their labels."""
    generator = np.random.default_rng(1)
    for split, count in (("train", 200), ("t10k", 100)):
        labels = generator.integers(0, 4, count)
        images = generator.integers(0, 120, (count, 12, 12))
        for image, label in zip(images, labels):
            image[label // 2 * 6 :, label % 2 * 6 :][:6, :6] += 60
        write_idx(folder / f"{split}-images-idx3-ubyte", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte", labels)
    return images, labels


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="the noisysgd-train program")
    parser.add_argument("--eval", required=True, help="the noisysgd-eval program")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        images, labels = write_data(folder)
        config = {"data": {"type": "idx", "root": name}, "model": {"type": "resnet", "depth": 6 * BLOCKS + 2},
                  "batch": {"size": 20}, "epochs": 8, "optimizer": {"learning_rate": 0.02}}
        (folder / "config.json").write_text(json.dumps(config))

        def train(run, *settings):
            command = [arguments.train, str(folder / "config.json"), "--output", str(folder / run), "--quiet"]
            for setting in settings:
                command += ["--set", setting]
            subprocess.run(command, check=True)
            tensors, metadata = safetensors_file.read(folder / run / "checkpoint.safetensors")
            return {key: value for key, value in tensors.items() if not key.startswith("momentum.")}, metadata

        weights, metadata = train("trained")
        command = [arguments.eval, str(folder / "trained"), "--format", "json", "--predictions", str(folder / "p.csv")]
        report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        predictions = np.loadtxt(folder / "p.csv", delimiter=",", skiprows=1)

        generator = np.random.default_rng(2)
        written = {key: value + generator.normal(0, 0.01, value.shape).astype(np.float32) ** 2
                   for key, value in weights.items()}
        safetensors_file.write(folder / "weights.safetensors", written)
        started, _ = train("started", f"model.weights={folder / 'weights.safetensors'}", "epochs=1",
                           "optimizer.learning_rate=1e-30", "optimizer.momentum=0")

    data = json.loads(metadata["data"])
    mean, std = (np.array(data[key]).reshape(1, -1, 1, 1) for key in ("mean", "std"))
    logits = check_resnet.with_numpy(weights, (images[:, None] / 255 - mean) / std, BLOCKS)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = odds.max(1) / odds.sum(1)
    correct = int((logits.argmax(1) == labels).sum())
    error = np.abs(probabilities - predictions[:, 3]).max()
    same = (logits.argmax(1) == predictions[:, 2]).all() and (labels == predictions[:, 1]).all()
    print(f"{correct} of {len(labels)} images right here, {report['correct']} there; "
          f"largest difference of a probability {error:.1e}")
    changed = [key for key, value in started.items() if ".running_" not in key and (value != written[key]).any()]
    if changed:
        print(f"did not start from the file: {changed}")
    return 0 if same and correct == report["correct"] and error <= BOUND and not changed and started else 1


if __name__ == "__main__":
    sys.exit(main())
