"""The logits of a network in PyTorch, from its description; parameters are tensors by name."""

import torch
from torch.nn import functional


def logits(graph, parameters, images, running=None):
    """In training mode; with running means and variances by name in inference."""
    results = {"input": images}
    for node in graph["nodes"]:
        inputs = [results[name] for name in node["inputs"]]
        if node["type"] == "softmax_cross_entropy":
            return inputs[0]
        results[node["name"]] = apply(node, parameters, running, *inputs)
    raise ValueError("the graph has no loss")


def apply(node, parameters, running, x, *others):
    kind, name = node["type"], node["name"]
    weight, bias = (parameters.get(f"{name}.{which}") for which in ("weight", "bias"))
    if kind == "conv2d":
        return functional.conv2d(x, weight, bias, node["stride"], node["padding"])
    if kind == "linear":
        return functional.linear(x, weight, bias)
    if kind == "batch_norm" and running is not None:
        mean, variance = running[name + ".running_mean"], running[name + ".running_var"]
        return functional.batch_norm(x, mean, variance, weight, bias, False, 0, node["epsilon"])
    if kind == "batch_norm":
        def normalise(ghost):
            return functional.batch_norm(ghost, None, None, weight, bias, True, 0, node["epsilon"])
        ghosts = x.split(min(node["ghost_size"] or len(x), len(x)))
        return torch.cat([normalise(ghost) for ghost in ghosts]) if len(ghosts) > 1 else normalise(x)
    if kind == "dropout":
        return functional.dropout(x, node["probability"], running is None)
    if kind in ("max_pool", "average_pool"):
        pool = functional.max_pool2d if kind == "max_pool" else functional.avg_pool2d
        return pool(x, node["kernel"], node["stride"], node["padding"])
    if kind == "pad_channels":
        kept = x[:, :, :: node["stride"], :: node["stride"]]
        return functional.pad(kept, (0, 0, 0, 0, 0, node["channels"] - x.shape[1]))
    plain = {
        "relu": torch.relu,
        "flatten": lambda x: x.flatten(1),
        "global_average_pool": lambda x: x.mean((2, 3)),
        "add": lambda x, y: x + y,
    }
    return plain[kind](x, *others)
