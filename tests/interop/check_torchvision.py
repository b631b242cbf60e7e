#!/usr/bin/env python3
"""Takes a ResNet20 of torchvision's blocks from PyTorch to NoisySGD and back, on CIFAR-10.

    check_torchvision.py --programs build/cpu/apps --data datasets

PyTorch trains for four epochs of 2048 images. noisysgd-eval must give its logits for 2000 test images, and noisysgd-train
continues from its weights. With the checkpoint that results, PyTorch must give the logits of noisysgd-eval. Exits 0 if
logits agree to 1e-5 and all predictions are equal, 1 if not, 77 if a package is missing.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file
    from torch import nn
    from torchvision.models.resnet import BasicBlock
except ImportError as error:
    print(f"{error}, so nothing was checked: pip install torch torchvision safetensors numpy")
    sys.exit(77)

BOUND = 1e-5  # of a logit
TRAINING_STATE = ("momentum.", "adamw.", "average.", "fisher.", "kfac.")


def blocks(inputs, outputs, stride):
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    return nn.Sequential(BasicBlock(inputs, outputs, stride, shortcut), *[BasicBlock(outputs, outputs) for _ in range(2)])


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = blocks(16, 16, 1), blocks(16, 32, 2), blocks(32, 64, 2)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def read_images(file, count):
    rows = np.fromfile(file, np.uint8).reshape(-1, 3073)[:count]
    return torch.tensor(rows[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32)), torch.tensor(rows[:, 0].astype(np.int64))


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]}: {done.stdout}{done.stderr}")
    return done.stdout


def train(network, images, labels):
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    for _ in range(4):
        for batch in torch.randperm(len(labels)).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()


def compare(name, network, images, labels, evaluation, logits_file):
    network.eval()
    with torch.no_grad():
        theirs = torch.cat([network(part) for part in images.split(500)])
    report = json.loads(run(*evaluation, "--logits", logits_file, "--format", "json"))
    ours = torch.tensor(np.load(logits_file))
    difference = (ours - theirs).abs().max().item()
    equal = bool((ours.argmax(1) == theirs.argmax(1)).all())
    correct = int((theirs.argmax(1) == labels).sum())
    same_accuracy = round(report["accuracy"] * len(labels)) == correct
    print(f"{name}: logits up to {theirs.abs().max():.2f} differ by at most {difference:.1e}, predictions are "
          f"{'equal' if equal else 'NOT equal'}, {correct} of {len(labels)} correct{'' if same_accuracy else ', NOT in ours'}")
    return difference <= BOUND and equal and same_accuracy


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True, type=pathlib.Path, help="folder of noisysgd-train and noisysgd-eval")
    parser.add_argument("--data", required=True, type=pathlib.Path, help="folder that holds cifar-10-batches-bin")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        config, weights = folder / "config.json", folder / "weights.safetensors"
        config.write_text(json.dumps({
            "data": {"type": "cifar10", "root": str(arguments.data), "train_limit": 2048, "test_limit": 2000},
            "model": {"type": "resnet", "depth": 20}, "batch": {"size": 128}, "epochs": 1,
            "optimizer": {"learning_rate": 0.05, "momentum": 0.9}}))
        trainer, evaluation = arguments.programs / "noisysgd-train", arguments.programs / "noisysgd-eval"

        images, labels = read_images(arguments.data / "cifar-10-batches-bin/data_batch_1.bin", 2048)
        test_images, test_labels = read_images(arguments.data / "cifar-10-batches-bin/test_batch.bin", 2000)
        channels = (images / 255).double().transpose(0, 1).flatten(1)
        mean, deviation = channels.mean(1).view(-1, 1, 1), channels.std(1, correction=0).view(-1, 1, 1)

        def normalised(raw):
            return ((raw / 255 - mean) / deviation).float()

        network = ResNet20()
        train(network, normalised(images), labels)
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, weights)
        agrees = compare("from PyTorch", network, normalised(test_images), test_labels,
                         (evaluation, weights, "--config", config), folder / "logits.npy")

        run(trainer, config, "--set", f"model.weights={weights}", "--output", folder / "run")
        with safe_open(folder / "run/checkpoint.safetensors", "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys() if not key.startswith(TRAINING_STATE)}
        trained_on = ResNet20()
        missing, unexpected = trained_on.load_state_dict(state, strict=False)
        if unexpected or not all(key.endswith("num_batches_tracked") for key in missing):
            sys.exit(f"names that do not fit: {missing}, {unexpected}")
        agrees &= compare("to PyTorch", trained_on, normalised(test_images), test_labels, (evaluation, folder / "run"),
                          folder / "logits.npy")
    sys.exit(0 if agrees else 1)


if __name__ == "__main__":
    main()
