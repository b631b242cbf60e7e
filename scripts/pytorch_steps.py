#!/usr/bin/env python3
"""Times training steps in PyTorch, beside those of noisysgd-bench --steps.

pytorch_steps.py --program BENCH [--networks resnet44 vgg16] [--batch 4096] [--precisions tf32 bf16] [--json FILE]

The networks are those of noisysgd-bench (its --describe), but batch normalisation is over the whole batch, not over ghost
batches. A plain step is forward, backward and SGD with momentum. The step with diag(F) also computes the exact second
moment of every parameter, sum_n G_n^2, and adds noise of that variance. Batch normalisation couples the samples, so G_n
is formed from layer inputs and output gradients of the whole batch, by two ways: "unfold" multiplies patches with
gradients sample by sample, and "grouped" is one grouped convolution. Each runs eagerly and by torch.compile, in
channels-last order; bf16 is autocast. Times are medians of rounds after a warm-up.
"""
import argparse
import json
import math
import pathlib
import statistics
import subprocess
import sys
import time

import torch
from torch.nn import functional

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "interop"))
from torch_network import apply  # noqa: E402

CHUNK = 256  # samples whose G_n are in memory at the same time


def describe(program, network):
    """The network's graph, with batch normalisation over the whole batch."""
    graph = json.loads(subprocess.run([program, "--describe", network], check=True, capture_output=True, text=True).stdout)
    for node in graph["nodes"]:
        if node["type"] == "batch_norm":
            node["ghost_size"] = 0
    return graph


def initial(graph, device):
    parameters = {}
    for node in graph["nodes"]:
        for parameter in node["parameters"]:
            shape, name = parameter["shape"], parameter["name"]
            fan_in = math.prod(shape[1:])
            value = torch.randn(shape, device=device) * (2 / fan_in) ** 0.5 if len(shape) > 1 else torch.zeros(shape, device=device)
            if node["type"] == "batch_norm" and name.endswith(".weight"):
                value += 1
            if len(shape) == 4:
                value = value.contiguous(memory_format=torch.channels_last)
            parameters[name] = value.requires_grad_()
    return parameters


def forward(graph, parameters, images, shifts=None):
    """The logits, and inputs and outputs of the layers with parameters. shifts are added to these outputs."""
    results, layers_in, layers_out = {"input": images}, [], []
    for node in graph["nodes"]:
        inputs = [results[name] for name in node["inputs"]]
        if node["type"] == "softmax_cross_entropy":
            return inputs[0], layers_in, layers_out
        result = apply(node, parameters, None, *inputs)
        if node["parameters"]:
            if shifts is not None:
                result = result + shifts[len(layers_out)]
            layers_in.append(inputs[0])
            layers_out.append(result)
        results[node["name"]] = result
    raise ValueError("the graph has no loss")


def conv_samples(way, node, x, grad):
    """G_n [N,K,C,R,S] of a convolution's weight."""
    (n, c), k, kernel = x.shape[:2], grad.shape[1], node["kernel"]
    if way == "unfold":
        patches = functional.unfold(x, kernel, padding=node["padding"], stride=node["stride"])
        return torch.einsum("nkt,npt->nkp", grad.flatten(2), patches).view(n, k, c, *kernel)
    # A convolution of every channel of x with every channel of the gradient, dilated by the stride.
    images = x.reshape(1, n * c, *x.shape[2:])
    filters = grad.reshape(n, 1, k, *grad.shape[2:]).expand(n, c, k, *grad.shape[2:]).reshape(n * c * k, 1, *grad.shape[2:])
    out = functional.conv2d(images, filters, padding=node["padding"], dilation=node["stride"], groups=n * c)
    return out[:, :, : kernel[0], : kernel[1]].reshape(n, c, k, *kernel).transpose(1, 2)


def second_moments(way, graph, layer_inputs, gradients, parameters):
    """sum_n G_n^2 by parameter; gradients are those of the mean loss, so that G_n is multiplied by N."""
    moments = {}
    nodes = [node for node in graph["nodes"] if node["parameters"]]
    for node, x, grad in zip(nodes, layer_inputs, gradients):
        name, kind, samples = node["name"], node["type"], len(x)
        x, grad = x.detach().to(grad.dtype), grad * samples
        if kind == "linear":  # G_n is an outer product
            moments[name + ".weight"] = grad.float().square().T @ x.float().square()
        elif kind == "conv2d":
            total = torch.zeros_like(parameters[name + ".weight"])
            for begin in range(0, samples, CHUNK):
                part = slice(begin, begin + CHUNK)
                total += conv_samples(way, node, x[part], grad[part]).float().square().sum(0)
            moments[name + ".weight"] = total
        else:
            positions = tuple(range(2, x.dim()))  # none for vectors
            shape = [-1] + [1] * len(positions)
            variance, mean = torch.var_mean(x.float(), (0, *positions), correction=0)
            normalised = (x - mean.view(shape)) * torch.rsqrt(variance + node["epsilon"]).view(shape)
            products = (grad * normalised).float()
            moments[name + ".weight"] = (products.sum(positions) if positions else products).square().sum(0)
        if name + ".bias" in parameters:
            positions = tuple(range(2, grad.dim()))
            per_sample = grad.float().sum(positions) if positions else grad.float()
            moments[name + ".bias"] = per_sample.square().sum(0)
    return moments


def make_step(graph, parameters, velocity, way, autocast, compiled=False):
    """A training step, and the function of its gradients and second moments. way: None for a plain step."""
    names = list(parameters)
    values = [parameters[name] for name in names]
    device = values[0].device.type

    def loss_of(values, shifts, images, labels):
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            logits, layer_inputs, layer_outputs = forward(graph, dict(zip(names, values)), images, shifts)
        loss = functional.cross_entropy(logits.float(), labels)
        return loss, (layer_inputs, layer_outputs)

    def eager(images, labels):
        loss, (layer_inputs, layer_outputs) = loss_of(values, None, images, labels)
        every = torch.autograd.grad(loss, values + (layer_outputs if way else []))
        return every[: len(values)], every[len(values):], layer_inputs

    def functional_gradients(images, labels):
        # torch.compile takes this whole. The shifts, zeros that it removes, stand for the layers' outputs.
        dtype = torch.bfloat16 if autocast else torch.float32
        shifts = [torch.zeros(len(images), *node["output"], device=device, dtype=torch.float32 if node["type"] == "batch_norm" else dtype)
                  for node in graph["nodes"] if node["parameters"]] if way else None
        if not way:
            return torch.func.grad(lambda *every: loss_of(*every)[0])(values, None, images, labels), [], []
        (gradients, of_outputs), (layer_inputs, _) = torch.func.grad(loss_of, argnums=(0, 1), has_aux=True)(
            values, shifts, images, labels)
        return gradients, of_outputs, layer_inputs

    def gradients_of(images, labels):
        gradients, of_outputs, layer_inputs = (functional_gradients if compiled else eager)(images, labels)
        moments = second_moments(way, graph, layer_inputs, of_outputs, parameters) if way else {}
        return gradients, [moments[name] for name in names if way]

    def step(images, labels):
        gradients, moments = gradients_of(images, labels)
        with torch.no_grad():
            if moments:  # noise of variance diag(F) / batch
                gradients = [g + torch.randn_like(g) * m.view_as(g).sqrt() / len(images) for g, m in zip(gradients, moments)]
            torch._foreach_mul_(velocity, 0.9)
            torch._foreach_add_(velocity, list(gradients))
            torch._foreach_add_([value.detach() for value in values], velocity, alpha=-1e-4)

    return step, gradients_of


def measure(step, batch, rounds, device):
    seconds = []
    for turn in range(rounds + 3):
        if device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        step(*batch)
        if device == "cuda":
            torch.cuda.synchronize()
        if turn >= 3:
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def check(program, device):
    """Both ways against one backward pass for each sample, on a network without batch normalisation."""
    graph = describe(program, "convnet")
    torch.manual_seed(1)
    parameters = initial(graph, device)
    images, labels = torch.randn(6, *graph["input"], device=device), torch.arange(6, device=device) % graph["classes"]
    expected = [torch.zeros_like(value) for value in parameters.values()]
    for n in range(6):
        logits = forward(graph, parameters, images[n: n + 1])[0]
        loss = functional.cross_entropy(logits, labels[n: n + 1])
        for total, gradient in zip(expected, torch.autograd.grad(loss, list(parameters.values()))):
            total += gradient.square()
    for way in ("unfold", "grouped"):
        for compiled in (False, True):  # the function that is compiled, here not compiled
            _, gradients_of = make_step(graph, parameters, [], way, False, compiled)
            for name, want, found in zip(parameters, expected, gradients_of(images, labels)[1]):
                error = ((found - want).norm() / want.norm()).item()
                if not error < 1e-3:
                    sys.exit(f"diag(F) by '{way}' differs from one backward pass for each sample: {name}, {error:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="noisysgd-bench")
    parser.add_argument("--networks", nargs="+", default=["resnet44", "vgg16"])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--precisions", nargs="+", default=["tf32", "bf16"], choices=["fp32", "tf32", "bf16"])
    parser.add_argument("--modes", nargs="+", default=["eager", "compiled"], choices=["eager", "compiled"])
    parser.add_argument("--variants", nargs="+", default=["plain", "unfold", "grouped"], choices=["plain", "unfold", "grouped"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cuda", "cpu"])
    parser.add_argument("--json")
    options = parser.parse_args()
    device = options.device
    check(options.program, device)
    rows = []
    print(f"PyTorch {torch.__version__}, {torch.cuda.get_device_name() if device == 'cuda' else 'CPU'}, batch {options.batch}")
    for network in options.networks:
        graph = describe(options.program, network)
        torch.manual_seed(1)
        images = torch.randn(options.batch, *graph["input"], device=device).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(graph["classes"], (options.batch,), device=device)
        for precision in options.precisions:
            torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
            torch.backends.cudnn.allow_tf32 = precision != "fp32"
            torch.backends.cudnn.benchmark = True
            for variant in options.variants:
                for mode in options.modes:
                    row = {"network": network, "precision": precision, "variant": variant, "mode": mode, "batch": options.batch}
                    torch.compiler.reset()
                    parameters = initial(graph, device)
                    velocity = [torch.zeros_like(value) for value in parameters.values()]
                    compiled = mode == "compiled"
                    step, _ = make_step(graph, parameters, velocity, None if variant == "plain" else variant, precision == "bf16", compiled)
                    try:
                        step = torch.compile(step) if compiled else step
                        row["seconds"] = measure(step, (images, labels), options.rounds, device)
                        print(f"{network:10} {precision:5} {variant:8} {mode:9} {row['seconds'] * 1e3:10.2f} ms", flush=True)
                    except Exception as error:  # a way that does not fit or does not compile is a result too
                        row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
                        print(f"{network:10} {precision:5} {variant:8} {mode:9} {row['error']}", flush=True)
                    rows.append(row)
                    if device == "cuda":
                        torch.cuda.empty_cache()
                    if options.json:  # after each, for a run that is stopped
                        with open(options.json, "w") as file:
                            json.dump({"torch": torch.__version__, "device": device, "steps": rows}, file, indent=2)
                            file.write("\n")


if __name__ == "__main__":
    main()
