#!/usr/bin/env python3
"""Checks the losses of an epoch's training steps against an independent computation from the same initial values.

    check_training.py --train build/cpu/apps/noisysgd-train --inspect build/cpu/apps/noisysgd-inspect \\
        [--set path=value …] [--regime NAME] [--bound 1e-5] CONFIG

Takes the initial parameters, the network as data and the epoch's images in their order from noisysgd-inspect, and
trains them again with momentum and weight decay, at the rates that noisysgd-train logs: in PyTorch (autograd) where that
is installed, by reference_network.py in NumPy otherwise, both in float64. The relative errors of the losses must stay
below the bound or, with PyTorch, below ten times the largest that its own float32 has had by then: rounding errors grow
from step to step, in deep networks by orders of magnitude. Noise and a batch that the ghost size does not divide are not
covered. Exits 0 if all agree, 1 if not, 77 if NumPy is missing.
"""

import argparse
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

try:
    import torch

    import torch_network
except ImportError:
    torch = None

import safetensors_file
from reference_network import Network


class NumpyNetwork:
    """Loss and mean gradients of a batch by reference_network.py."""

    def __init__(self, graph, parameters):
        self.values = {name: value.astype(np.float64) for name, value in parameters.items()}
        self.graph = graph

    def loss_and_gradients(self, images, labels):
        network = Network(self.graph, self.values)
        network.forward(images)
        losses, grad_logits = network.loss(labels)
        moments = network.backward(grad_logits)
        return losses.mean(), {name: moments[name].gradient / len(labels) for name in self.values}


class TorchNetwork:
    """The same by PyTorch: its operations forward, its automatic differentiation backward."""

    def __init__(self, graph, parameters, dtype):
        self.graph, self.dtype = graph, dtype
        self.values = {name: torch.tensor(value, dtype=dtype) for name, value in parameters.items()}

    def loss_and_gradients(self, images, labels):
        for value in self.values.values():
            value.requires_grad_(True)
        scores = torch_network.logits(self.graph, self.values, torch.tensor(images, dtype=self.dtype))
        smoothing = self.graph["nodes"][-1]["label_smoothing"]
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor(labels), label_smoothing=smoothing)
        gradients = torch.autograd.grad(loss, list(self.values.values()))
        self.values = {name: value.detach() for name, value in self.values.items()}
        return loss.item(), dict(zip(self.values, gradients))


def train(network, batches, rates, optimizer):
    """The loss of every step, each before its update."""
    velocity, losses = {}, []
    for (images, labels), rate in zip(batches, rates):
        loss, gradients = network.loss_and_gradients(images, labels)
        losses.append(loss)
        for name, value in network.values.items():
            gradient = gradients[name] + optimizer["weight_decay"] * value
            velocity[name] = gradient + optimizer["momentum"] * velocity.get(name, 0)
            network.values[name] = value - rate * velocity[name]
    return np.array(losses)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="the noisysgd-train program")
    parser.add_argument("--inspect", required=True, help="the noisysgd-inspect program")
    parser.add_argument("--set", action="append", default=[], help="path=value: change the configuration")
    parser.add_argument("--regime", help="of a configuration with regimes")
    parser.add_argument("--bound", type=float, default=1e-5, help="of a loss's relative error")
    parser.add_argument("config")
    arguments = parser.parse_args()

    changes = [word for change in arguments.set for word in ("--set", change)]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        only = ["--only", f"regime={arguments.regime}"] if arguments.regime else []
        command = [arguments.train, arguments.config, *changes, "--set", "logging.every_steps=1", *only]
        subprocess.run([*command, "--output", str(folder / "run"), "--quiet"], check=True)
        (run,) = (path.parent for path in (folder / "run").rglob("metrics.jsonl"))
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        steps = [line for line in lines if line["split"] == "train" and line["epoch"] == 1]
        config = json.loads((run / "config.json").read_text())["config"]

        def inspect(output, *extra):
            regime = ["--regime", arguments.regime] if arguments.regime else []
            command = [arguments.inspect, arguments.config, *changes, *regime, *extra, "--output", str(output)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            return safetensors_file.read(output)

        size = config["batch"]["size"]
        start, metadata = inspect(folder / "start.safetensors", "--batch", str(config["batch"]["ghost_size"] or size))
        small = ["--set", 'model={"type":"mlp","hidden":[1]}']  # the images do not depend on the network
        epoch, _ = inspect(folder / "epoch.safetensors", *small, "--batch", str(size * len(steps)))

    graph = json.loads(metadata["graph"])
    parameters = {name[len("param.") :]: value for name, value in start.items() if name.startswith("param.")}
    batches = [
        (epoch["input.images"][begin : begin + size], epoch["input.labels"][begin : begin + size])
        for begin in range(0, size * len(steps), size)
    ]
    rates = [step["learning_rate"] for step in steps]

    def trained(network):
        return train(network, batches, rates, config["optimizer"])

    measured = np.array([step["loss"] for step in steps])
    bound = np.full(len(steps), arguments.bound)
    if torch:
        reference = trained(TorchNetwork(graph, parameters, torch.float64))
        beside = np.abs(trained(TorchNetwork(graph, parameters, torch.float32)) / reference - 1)
        bound = np.maximum(bound, 10 * np.maximum.accumulate(beside))
    else:
        reference, beside = trained(NumpyNetwork(graph, parameters)), None
    errors = np.abs(measured / reference - 1)
    oracle = f"PyTorch {torch.__version__}" if torch else f"NumPy {np.__version__}"
    print(f"{len(steps)} steps of {size} images; losses in float64 by {oracle}, and relative errors")
    for i, step in enumerate(steps):
        other = "" if beside is None else f"   {beside[i]:.1e} (PyTorch, float32)"
        print(f"  step {i + 1:2}  rate {rates[i]:.4f}  loss {step['loss']:.6f}  {reference[i]:.6f}  {errors[i]:.1e}{other}")
    if len(steps) < 3 or reference.std() < 1e-3:
        print("these steps hardly change the loss: this would prove nothing")
        return 1
    return 0 if (errors <= bound).all() else 1


if __name__ == "__main__":
    sys.exit(main())
