#!/usr/bin/env python3
"""Trains a ResNet44 for a few steps and checks that its checkpoint gives the same results elsewhere.

    check_resnet.py --train build/cpu/apps/noisysgd-train --inspect build/cpu/apps/noisysgd-inspect CONFIG

The network is written down again, from He et al. 2016 and the names of PyTorch's ResNets alone: in PyTorch where that is
installed (load_state_dict, strict), in NumPy otherwise. Logits in evaluation mode, on running statistics that training
has moved, must agree to 1e-4 of their root mean square. Exits 0 if they do, 1 if not, 77 if NumPy is missing.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("NumPy is not installed, so nothing was checked: pip install numpy (or apt install python3-numpy)")
    sys.exit(77)

try:
    import torch
except ImportError:
    torch = None

import safetensors_file

BOUND = 1e-4
EPSILON = 1e-5  # of batch normalisation
STAGES = (1, 2, 3)
BLOCKS = 7


def with_numpy(weights, images, blocks=BLOCKS):
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    used = set()

    def take(name):
        used.add(name)
        return weights[name]

    def conv(x, name, stride):
        weight = take(name + ".weight")
        size = weight.shape[2]
        margin = size // 2
        x = np.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
        seen = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
        return np.einsum("nchwij,kcij->nkhw", seen, weight, optimize=True)

    def norm(x, name):
        mean, variance = take(name + ".running_mean"), take(name + ".running_var")
        scale = take(name + ".weight") / np.sqrt(variance + EPSILON)
        return x * scale[:, None, None] + (take(name + ".bias") - mean * scale)[:, None, None]

    def relu(x):
        return np.maximum(x, 0)

    x = relu(norm(conv(images.astype(np.float64), "conv1", 1), "bn1"))
    for stage in STAGES:
        for block in range(blocks):
            at = f"layer{stage}.{block}."
            stride = 2 if stage > 1 and block == 0 else 1
            y = relu(norm(conv(x, at + "conv1", stride), at + "bn1"))
            y = norm(conv(y, at + "conv2", 1), at + "bn2")
            around = norm(conv(x, at + "downsample.0", stride), at + "downsample.1") if stride == 2 else x
            x = relu(y + around)
    logits = x.mean((2, 3)) @ take("fc.weight").T + take("fc.bias")
    unused = set(weights) - used
    assert not unused, f"tensors that no such ResNet has: {sorted(unused)}"
    return logits


def with_torch(weights, images):
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, before, channels, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)
            self.downsample = None
            if stride == 2:
                convolution = nn.Conv2d(before, channels, 1, stride, bias=False)
                self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(channels))

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(y + (x if self.downsample is None else self.downsample(x)))

    class ResNet44(nn.Module):
        def __init__(self, classes):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            before = 16
            for stage in STAGES:
                channels = 16 * 2 ** (stage - 1)
                blocks = [Block(before, channels, 2 if stage > 1 else 1)]
                blocks += [Block(channels, channels, 1) for _ in range(BLOCKS - 1)]
                setattr(self, f"layer{stage}", nn.Sequential(*blocks))
                before = channels
            self.fc = nn.Linear(before, classes)

        def forward(self, x):
            x = torch.relu(self.bn1(self.conv1(x)))
            x = self.layer3(self.layer2(self.layer1(x)))
            return self.fc(x.mean((2, 3)))

    network = ResNet44(len(weights["fc.bias"]))
    state = {name: torch.from_numpy(value.copy()) for name, value in weights.items()}
    # PyTorch counts batches beside its running statistics; nothing is computed from the count.
    for name in network.state_dict():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
    network.load_state_dict(state, strict=True)
    with torch.no_grad():
        return network.double().eval()(torch.from_numpy(images.astype(np.float64))).numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="the noisysgd-train program")
    parser.add_argument("--inspect", required=True, help="the noisysgd-inspect program")
    parser.add_argument("config")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        run, seen = folder / "run", folder / "batch.safetensors"
        subprocess.run([arguments.train, arguments.config, "--output", str(run), "--quiet"], check=True)
        checkpoint = run / "checkpoint.safetensors"
        command = [arguments.inspect, arguments.config, "--checkpoint", str(checkpoint), "--batch", "16"]
        subprocess.run(command + ["--output", str(seen)], check=True, stdout=subprocess.DEVNULL)
        tensors, _ = safetensors_file.read(checkpoint)
        batch, _ = safetensors_file.read(seen)

    weights = {name: value for name, value in tensors.items() if not name.startswith("momentum.")}
    for name, value in weights.items():
        initial = {"running_mean": 0, "running_var": 1}.get(name.rsplit(".", 1)[1])
        if initial is not None and np.abs(value - initial).max() < 1e-3:
            print(f"{name} has not moved from {initial}: this would prove nothing")
            return 1
    reference = (with_torch if torch else with_numpy)(weights, batch["input.images"])
    logits = batch["logits.evaluation"].astype(np.float64)
    scale = np.sqrt((reference**2).mean())
    error = np.abs(logits - reference).max() / scale if logits.shape == reference.shape else np.inf
    oracle = f"PyTorch {torch.__version__}" if torch else f"NumPy {np.__version__}"
    print(f"{len(logits)} images, logits of root mean square {scale:.3g}, largest error {error:.2e} of that ({oracle})")
    return 0 if error <= BOUND and scale > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
