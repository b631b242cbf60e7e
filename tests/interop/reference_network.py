"""A network rebuilt from its description, computed in float64 with per-sample gradients of every parameter.

Written from the formulas; images are [N,C,H,W] and parameters as in PyTorch. Each layer's backward returns the gradient
of its inputs and, per parameter, the contributions of single samples, stacked along the first axis: backpropagated
gradient times activation, which under batch normalisation (where samples are coupled) is the definition in use.

Parameters may be complex: sides of kinks follow from real parts, and everything else is analytic. The imaginary part of
the gradient at theta + i h v, divided by a tiny h, is then the Hessian times v without cancellation.
"""

from dataclasses import dataclass

import numpy as np


def pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def windows(x, kernel, stride, padding, fill=0.0):
    """[N,C,H,W] -> [N,C,kernel height * kernel width,Ho,Wo]: the inputs of each output position."""
    (r, s), (stride_h, stride_w), (pad_h, pad_w) = pair(kernel), pair(stride), pair(padding)
    x = np.pad(x, ((0, 0), (0, 0), (pad_h, pad_h), (pad_w, pad_w)), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, (r, s), axis=(2, 3))[:, :, ::stride_h, ::stride_w]
    n, c, height, width = view.shape[:4]
    return view.transpose(0, 1, 4, 5, 2, 3).reshape(n, c, r * s, height, width)


def windows_transposed(grad, shape, kernel, stride, padding):
    """The adjoint of `windows`: adds every window's gradient where it came from."""
    (r, s), (stride_h, stride_w), (pad_h, pad_w) = pair(kernel), pair(stride), pair(padding)
    n, c, height, width = shape
    out_h, out_w = grad.shape[3:]
    x = np.zeros((n, c, height + 2 * pad_h, width + 2 * pad_w), grad.dtype)
    for i in range(r):
        for j in range(s):
            x[:, :, i : i + stride_h * out_h : stride_h, j : j + stride_w * out_w : stride_w] += grad[:, :, i * s + j]
    return x[:, :, pad_h : pad_h + height, pad_w : pad_w + width]


def relative(distance, x):
    """To the root mean square of x; 0 where x is."""
    return distance / (np.sqrt((x.real**2).mean()) or 1)


@dataclass
class Moments:
    """Sums over samples of one parameter's contributions and of their squares, exact and position by position."""

    gradient: np.ndarray
    exact: np.ndarray
    spatial: np.ndarray
    positions: int = 1

    @staticmethod
    def of(per_sample, spatial=None, positions=1):
        exact = (per_sample**2).sum(0)
        return Moments(per_sample.sum(0), exact, exact if spatial is None else spatial, positions)


def fold_batch_norm(graph, parameters, running):
    """The network in inference without batch normalisations: each goes into the layer before it. Returns a description
    and parameters."""
    nodes, parameters, renamed = [], dict(parameters), {}
    for node in graph["nodes"]:
        node = {**node, "inputs": [renamed.get(name, name) for name in node["inputs"]]}
        if node["type"] != "batch_norm":
            nodes.append(node)
            continue
        name, (before,) = node["name"], node["inputs"]
        (layer,) = (other for other in nodes if other["name"] == before)
        scale = parameters.pop(name + ".weight") / np.sqrt(running[name + ".running_var"] + node["epsilon"])
        shift = parameters.pop(name + ".bias") - scale * running[name + ".running_mean"]
        weight = parameters[before + ".weight"]
        parameters[before + ".weight"] = weight * scale.reshape((-1,) + (1,) * (weight.ndim - 1))
        parameters[before + ".bias"] = scale * parameters.get(before + ".bias", 0) + shift
        layer["bias"] = True
        renamed[name] = before
    return {"nodes": nodes}, parameters


class Network:
    def __init__(self, graph, parameters, running=None):
        """running: running means and variances by name; given, batch normalisation uses them and samples are not
        coupled."""
        self.nodes = graph["nodes"]
        self.parameters = parameters
        self.running = running
        self.saved = {}
        # The smallest distance of a ReLU's input from its kink, and of a maximum from the second: relative to the
        # tensor's root mean square. Rounding in float32 decides what is nearer than its precision.
        self.margin = np.inf

    def forward(self, images):
        """Logits [N,K]: in training mode, with running statistics in inference."""
        values = {"input": images.astype(np.float64)}
        for node in self.nodes:
            if node["type"] == "softmax_cross_entropy":
                self.logits, self.loss_node = values[node["inputs"][0]], node
                return self.logits
            inputs = [values[name] for name in node["inputs"]]
            values[node["name"]] = getattr(self, node["type"] + "_forward")(node, *inputs)
            expected = inputs[0].shape[:1] + tuple(node["output"])
            assert values[node["name"]].shape == expected, f"{node['name']}: {values[node['name']].shape} {expected}"
        raise ValueError("the graph has no loss")

    def loss(self, labels, smoothing=None):
        """Per-sample losses and the gradient of their sum with respect to the logits; the configured label smoothing if
        none is given."""
        classes = self.logits.shape[1]
        smoothing = self.loss_node["label_smoothing"] if smoothing is None else smoothing
        target = np.full_like(self.logits, smoothing / classes)
        target[np.arange(len(labels)), labels] += 1 - smoothing
        shifted = self.logits - self.logits.max(1, keepdims=True)
        log_probability = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        return -(target * log_probability).sum(1), np.exp(log_probability) - target

    def backward(self, grad_logits):
        """Moments of every parameter by name."""
        gradients = {self.loss_node["inputs"][0]: grad_logits}
        moments = {}
        for node in reversed(self.nodes):
            if node["name"] not in gradients:
                continue
            grad = gradients.pop(node["name"])
            grad_inputs = getattr(self, node["type"] + "_backward")(node, grad, moments)
            for name, value in zip(node["inputs"], grad_inputs):
                gradients[name] = gradients[name] + value if name in gradients else value
        return moments

    # ------------------------------------------------------------------------------------------------- parametric

    def linear_forward(self, node, x):
        self.saved[node["name"]] = x
        y = x @ self.parameters[node["name"] + ".weight"].T
        return y + self.parameters[node["name"] + ".bias"] if node["bias"] else y

    def linear_backward(self, node, grad, moments):
        x, name = self.saved[node["name"]], node["name"]
        moments[name + ".weight"] = Moments.of(grad[:, :, None] * x[:, None, :])
        if node["bias"]:
            moments[name + ".bias"] = Moments.of(grad)
        return [grad @ self.parameters[name + ".weight"]]

    def conv2d_forward(self, node, x):
        seen = windows(x, node["kernel"], node["stride"], node["padding"])
        n, height, width = len(x), *seen.shape[3:]
        patches = seen.reshape(n, -1, height * width)  # [N,P,T]
        self.saved[node["name"]] = x.shape, patches
        weight = self.parameters[node["name"] + ".weight"]
        y = weight.reshape(len(weight), -1) @ patches
        if node["bias"]:
            y = y + self.parameters[node["name"] + ".bias"][:, None]
        return y.reshape(n, len(weight), height, width)

    def conv2d_backward(self, node, grad, moments):
        name = node["name"]
        shape, patches = self.saved[name]
        weight = self.parameters[name + ".weight"]
        n, k, height, width = grad.shape
        flat = grad.reshape(n, k, height * width)
        per_sample = (flat @ patches.transpose(0, 2, 1)).reshape((n,) + weight.shape)
        spatial = ((flat**2) @ (patches**2).transpose(0, 2, 1)).sum(0).reshape(weight.shape)
        moments[name + ".weight"] = Moments.of(per_sample, spatial, height * width)
        if node["bias"]:
            moments[name + ".bias"] = Moments.of(flat.sum(2))
        grad_windows = weight.reshape(k, -1).T @ flat
        grad_windows = grad_windows.reshape(n, shape[1], -1, height, width)
        return [windows_transposed(grad_windows, shape, node["kernel"], node["stride"], node["padding"])]

    def batch_norm_forward(self, node, x):
        if self.running is not None:
            name, channels = node["name"], (1, -1) + (1,) * (x.ndim - 2)
            mean, variance = (self.running[f"{name}.running_{what}"].reshape(channels) for what in ("mean", "var"))
            deviation = np.sqrt(variance + node["epsilon"])
            self.saved[name] = (x - mean) / deviation, deviation, None
            return self.per_channel(node, "weight", x) * self.saved[name][0] + self.per_channel(node, "bias", x)
        groups = x.reshape((-1, min(node["ghost_size"] or len(x), len(x))) + x.shape[1:])
        axes = (1,) + tuple(range(3, groups.ndim))
        mean = groups.mean(axes, keepdims=True)
        deviation = np.sqrt(groups.var(axes, keepdims=True) + node["epsilon"])
        normalised = (groups - mean) / deviation
        self.saved[node["name"]] = normalised, deviation, axes
        gamma, beta = (self.per_channel(node, which, x) for which in ("weight", "bias"))
        return gamma * normalised.reshape(x.shape) + beta

    def batch_norm_backward(self, node, grad, moments):
        name = node["name"]
        normalised, deviation, axes = self.saved[name]
        positions = tuple(range(2, grad.ndim))
        moments[name + ".weight"] = Moments.of((grad * normalised.reshape(grad.shape)).sum(positions))
        moments[name + ".bias"] = Moments.of(grad.sum(positions))
        scaled = (grad * self.per_channel(node, "weight", grad)).reshape(normalised.shape)
        if self.running is not None:
            return [scaled / deviation]
        mean = scaled.mean(axes, keepdims=True)
        projection = normalised * (scaled * normalised).mean(axes, keepdims=True)
        return [((scaled - mean - projection) / deviation).reshape(grad.shape)]

    def per_channel(self, node, which, like):
        values = self.parameters[node["name"] + "." + which]
        return values.reshape((1, -1) + (1,) * (like.ndim - 2))

    # --------------------------------------------------------------------------------------------- without parameters

    def relu_forward(self, node, x):
        self.saved[node["name"]] = x.real > 0
        self.margin = min(self.margin, relative(np.abs(x.real), x).min())
        return np.where(x.real > 0, x, 0)

    def relu_backward(self, node, grad, moments):
        return [grad * self.saved[node["name"]]]

    def max_pool_forward(self, node, x):
        seen = windows(x, node["kernel"], node["stride"], node["padding"], -np.inf)
        chosen = seen.real.argmax(2)
        self.saved[node["name"]] = x.shape, chosen
        ordered = np.sort(seen.real, axis=2)
        gap = relative(ordered[:, :, -1] - ordered[:, :, -2], x)
        # Equal values come from equal patches (or from a ReLU that is off): either choice gives the same gradients.
        self.margin = min(self.margin, gap[gap > 1e-12].min(initial=np.inf))
        return np.take_along_axis(seen, chosen[:, :, None], axis=2)[:, :, 0]

    def max_pool_backward(self, node, grad, moments):
        shape, chosen = self.saved[node["name"]]
        taps = np.arange(np.prod(pair(node["kernel"]))).reshape(1, 1, -1, 1, 1)
        routed = (taps == chosen[:, :, None]) * grad[:, :, None]
        return [windows_transposed(routed, shape, node["kernel"], node["stride"], node["padding"])]

    def average_pool_forward(self, node, x):
        self.saved[node["name"]] = x.shape
        return windows(x, node["kernel"], node["stride"], node["padding"]).mean(2)

    def average_pool_backward(self, node, grad, moments):
        taps = int(np.prod(pair(node["kernel"])))
        shared = np.repeat(grad[:, :, None] / taps, taps, axis=2)
        return [windows_transposed(shared, self.saved[node["name"]], node["kernel"], node["stride"], node["padding"])]

    def global_average_pool_forward(self, node, x):
        self.saved[node["name"]] = x.shape
        return x.mean((2, 3))

    def global_average_pool_backward(self, node, grad, moments):
        n, c, height, width = self.saved[node["name"]]
        return [np.broadcast_to(grad[:, :, None, None] / (height * width), (n, c, height, width))]

    def flatten_forward(self, node, x):
        self.saved[node["name"]] = x.shape
        return x.reshape(len(x), -1)

    def flatten_backward(self, node, grad, moments):
        return [grad.reshape(self.saved[node["name"]])]

    def add_forward(self, node, a, b):
        return a + b

    def add_backward(self, node, grad, moments):
        return [grad, grad]

    def pad_channels_forward(self, node, x):
        self.saved[node["name"]] = x.shape
        kept = x[:, :, :: node["stride"], :: node["stride"]]
        return np.pad(kept, ((0, 0), (0, node["channels"] - x.shape[1]), (0, 0), (0, 0)))

    def pad_channels_backward(self, node, grad, moments):
        shape = self.saved[node["name"]]
        x = np.zeros(shape, grad.dtype)
        x[:, :, :: node["stride"], :: node["stride"]] = grad[:, : shape[1]]
        return [x]
