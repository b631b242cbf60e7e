#!/usr/bin/env python3
"""Checks the largest eigenvalues that an analysis of type `hessian` has found, in float64, run by run.

    check_curvature.py --inspect build/cpu/apps/noisysgd-inspect FOLDER
    check_curvature.py --inspect … --analyze build/cpu/apps/noisysgd-analyze [--set path=value …] CONFIG

FOLDER is that of a finished analysis, whose paths start at the current folder. With --analyze, CONFIG is analysed
first, in a temporary folder with random images in IDX files, and the check must notice changes of the analysis, too.

Rebuilds the network of every run from its checkpoint and from the description that noisysgd-inspect writes, reads the
images from their IDX files, fits the temperature, and takes the largest eigenvalue of the curvature matrix: by SciPy's
eigsh of the linear operator of curvlinops, or with --oracle numpy of the dense matrix from reference_network.py. Where
an input of a ReLU or of a maximum lies within single precision of a kink, the analysis may take its other side, which
changes the eigenvalue by the share of one unit in one image. Exits 0 if all agree to --bound, 1 if not, 77 if a package
is missing.
"""

import argparse
import contextlib
import copy
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("NumPy is not installed, so nothing was checked: pip install numpy (or apt install python3-numpy)")
    sys.exit(77)

import idx_files
import safetensors_file
from reference_network import Network, fold_batch_norm

TEMPERATURE_BOUND = 1e-4  # relative, of the mean over the seeds
PASS = 250  # images at a time in PyTorch
NOTICED = 10  # times the bound: by how much a change of the analysis must move the eigenvalue


class NumpyCurvature:
    """The dense matrix from gradients of reference_network.py."""

    def __init__(self, graph, parameters, running):
        self.graph, self.parameters, self.running = graph, parameters, running

    @staticmethod
    def versions():
        return f"NumPy {np.__version__}"

    def logits(self, images):
        return Network(self.graph, self.parameters, self.running).forward(images)

    def gradient(self, parameters, beta, images, labels):
        """Of the mean loss of beta times the logits, and the probabilities of the classes."""
        network = Network(self.graph, parameters, self.running)
        network.logits = beta * network.forward(images)
        _, grad_logits = network.loss(labels, smoothing=0)
        probabilities = grad_logits + np.eye(grad_logits.shape[1])[labels]
        moments = network.backward(beta * grad_logits / len(labels))
        return np.concatenate([moments[name].gradient.ravel() for name in parameters]), probabilities

    def hessian(self, beta, images, labels):
        """Column by column, by the derivative in an imaginary direction."""
        step, columns = 1e-20, []
        for name, value in self.parameters.items():
            for index in np.ndindex(value.shape):
                moved = value.astype(complex)
                moved[index] += 1j * step
                columns.append(self.gradient({**self.parameters, name: moved}, beta, images, labels)[0].imag / step)
        return np.stack(columns)

    def gauss_newton(self, beta, images, labels):
        """For softmax cross-entropy the Fisher matrix of the model's own labels: all classes by their probability."""
        classes = range(self.logits(images[:1]).shape[1])
        return self.second_moment(beta, images, [classes] * len(labels), lambda probability: probability)

    def fisher(self, beta, images, labels):
        return self.second_moment(beta, images, labels[:, None], lambda probability: 1)

    def second_moment(self, beta, images, labels_of_each, weight):
        """Of the gradients of single samples at the given labels."""
        rows = []
        for i, labels in enumerate(labels_of_each):
            for label in labels:
                gradient, probabilities = self.gradient(self.parameters, beta, images[i : i + 1], np.array([label]))
                rows.append(gradient * np.sqrt(weight(probabilities[0, label])))
        rows = np.stack(rows)
        return rows.T @ rows / len(images)

    def largest_eigenvalue(self, matrix, beta, images, labels):
        dense = getattr(self, matrix)(beta, images, labels)
        assert np.abs(dense - dense.T).max() < 1e-10 * np.abs(dense).max(), f"the reference's {matrix} is not symmetric"
        return np.linalg.eigvalsh(dense)[-1]


def curvlinops_curvature():
    """The class for curvlinops, or None where a package is missing."""
    try:
        import curvlinops
        import scipy.sparse.linalg
        import torch

        import torch_network
    except ImportError as error:
        print(f"{error.name} is not installed, so nothing was checked: pip install curvlinops-for-pytorch scipy torch")
        return None

    class Scores(torch.nn.Module):
        """beta times the logits."""

        def __init__(self, graph, parameters, running, beta):
            super().__init__()
            self.graph, self.running, self.beta, self.names = graph, running, beta, list(parameters)
            for name, value in parameters.items():
                self.register_parameter(name.replace(".", "_"), torch.nn.Parameter(torch.tensor(value)))

        def forward(self, images):
            parameters = {name: getattr(self, name.replace(".", "_")) for name in self.names}
            return self.beta * torch_network.logits(self.graph, parameters, images, self.running)

    class CurvlinopsCurvature:
        operators = {
            "hessian": curvlinops.HessianLinearOperator,
            "gauss_newton": curvlinops.GGNLinearOperator,
            "fisher": curvlinops.EFLinearOperator,
        }

        def __init__(self, graph, parameters, running):
            self.graph, self.parameters = graph, parameters
            self.running = {name: torch.tensor(value) for name, value in running.items()}

        @staticmethod
        def versions():
            modules = (("PyTorch", torch), ("SciPy", scipy), ("NumPy", np))
            others = ", ".join(f"{name} {module.__version__}" for name, module in modules)
            return f"curvlinops {importlib.metadata.version('curvlinops-for-pytorch')}, {others}"

        def scores(self, beta):
            return Scores(self.graph, self.parameters, self.running, beta)

        def logits(self, images):
            with torch.no_grad():
                return self.scores(1)(torch.tensor(images)).numpy()

        def largest_eigenvalue(self, matrix, beta, images, labels):
            scores, loss = self.scores(beta), torch.nn.CrossEntropyLoss()
            parts = [slice(begin, begin + PASS) for begin in range(0, len(images), PASS)]
            data = [(torch.tensor(images[part]), torch.tensor(labels[part])) for part in parts]
            # Its own check that data and network do not change takes as long as several products.
            operator = self.operators[matrix](scores, loss, list(scores.parameters()), data, check_deterministic=False)
            start = np.random.default_rng(1).standard_normal(operator.shape[0])
            eigsh = scipy.sparse.linalg.eigsh
            (value,) = eigsh(operator.to_scipy(), 1, which="LA", tol=1e-6, v0=start, return_eigenvectors=False)
            return value

    return CurvlinopsCurvature


class AnalysedRun:
    """A run of the analysis: its network as it was trained, and its data."""

    def __init__(self, folder, graph):
        record = json.loads((folder / "config.json").read_text())
        self.regime, self.seed, self.data = record["regime"], record["seed"], record["config"]["data"]
        tensors, _ = safetensors_file.read(folder / "checkpoint.safetensors")
        tensors = {name: value.astype(np.float64) for name, value in tensors.items() if value.dtype == np.float32}
        names = [parameter["name"] for node in graph["nodes"] for parameter in node["parameters"]]
        self.parameters = {name: tensors[name] for name in names}
        self.running = {name: value for name, value in tensors.items() if ".running_" in name}
        self.graph = graph

    def largest_eigenvalue(self, kind, analysis, sets):
        """By the oracle `kind` as the configuration says; and the temperature. None, None if no temperature fits."""
        graph, parameters, running = copy.deepcopy(self.graph), self.parameters, self.running
        if analysis["fold_batch_norm"]:
            graph, parameters = fold_batch_norm(graph, parameters, running)
        oracle = kind(graph, parameters, running)
        train, test = sets
        chosen = {"test": test, "train": train, "none": None}[analysis["temperature"]["set"]]
        beta = 1.0 if chosen is None else inverse_temperature(oracle.logits(chosen[0]), chosen[1])
        if beta is None:
            return None, None
        images, labels = (part[: analysis["samples"]] for part in train)
        return oracle.largest_eigenvalue(analysis["matrix"], beta, images, labels), 1 / beta


def inverse_temperature(logits, labels):
    """Minimises the convex mean loss of beta times the logits, by bisection of its derivative. None: no minimum."""
    own = logits[np.arange(len(labels)), labels]
    low, high = least, most = 1e-4, 1e4
    while high / low > 1 + 1e-12:
        beta = np.sqrt(low * high)
        weights = np.exp(beta * (logits - logits.max(1, keepdims=True)))
        slope = ((weights * logits).sum(1) / weights.sum(1) - own).mean()
        low, high = (low, beta) if slope > 0 else (beta, high)
    return beta if low > least and high < most else None


def describe(inspect, experiment, regime):
    """The network of a regime, from noisysgd-inspect."""
    with tempfile.TemporaryDirectory() as name:
        output = pathlib.Path(name) / "batch.safetensors"
        command = [inspect, str(experiment), "--output", str(output), *(["--regime", regime] if regime else [])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads(safetensors_file.read(output)[1]["graph"])


def read_runs(inspect, folder, analysis):
    """The runs of an analysis, in its order."""
    if analysis["only"]:
        raise SystemExit(f"{folder}: analysis.only is not covered here")
    runs_folder = pathlib.Path(analysis["runs"] or folder / "runs")
    experiment = runs_folder / "experiment.json"
    settings = json.loads(experiment.read_text())
    regimes = [regime["name"] for regime in settings.get("regimes", [])] or [""]
    seeds = settings.get("seeds") or [settings.get("seed", 1)]
    graphs = {regime: describe(inspect, experiment, regime) for regime in regimes}
    runs = []
    for path in runs_folder.rglob("config.json"):
        regime = json.loads(path.read_text())["regime"]
        runs.append(AnalysedRun(path.parent, graphs[regime]))
    return sorted(runs, key=lambda run: (regimes.index(run.regime), seeds.index(run.seed)))


def check_analysis(kind, inspect, folder, bound, changes):
    """True if everything agrees. changes: also tries changes of the analysis, which must be noticed."""
    record = json.loads((folder / "analysis.json").read_text())
    analysis = record["configuration"]["analysis"]
    if analysis["type"] != "hessian":
        raise SystemExit(f"{folder}: an analysis of type {analysis['type']}, expected hessian")
    runs = read_runs(inspect, folder, analysis)
    figure = json.loads((folder / "largest_eigenvalue.json").read_text())
    series = [series for series in figure["panels"][0]["series"] if series["style"] == "marker"]
    ours = {one["name"]: list(one["y"]) for one in series}
    first = series[0]["y"][0]

    print(f"{analysis['matrix']}, {analysis['samples']} images; reference: {kind.versions()}")
    print(f"{'regime':12} {'seed':>4} {'ours':>14} {'reference':>14} {'difference':>11}")
    agrees, temperatures, sets, measured = True, {}, {}, []
    for run in runs:
        name, key = run.regime or "run", json.dumps(run.data)
        sets[key] = sets.get(key) or idx_files.read_sets(run.data)
        reference, temperature = run.largest_eigenvalue(kind, analysis, sets[key])
        if reference is None:
            print(f"{name:12} {run.seed:4} no temperature fits, so there is no eigenvalue")
            continue
        if not ours.get(name):
            raise SystemExit(f"{folder}: holds no eigenvalue of {name}, seed {run.seed}")
        value = ours[name].pop(0)
        measured.append(run)
        temperatures.setdefault(name, []).append(temperature)
        difference = abs(value / reference - 1)
        agrees = agrees and difference <= bound
        print(f"{name:12} {run.seed:4} {value:14.8g} {reference:14.8g} {difference:11.1e}", flush=True)
    if any(ours.values()) or not measured:
        raise SystemExit(f"{folder}: holds eigenvalues that belong to none of its runs: {ours}")
    for name, values in temperatures.items():
        mean = record["numbers"][f"{name}: temperature, mean over seeds"]
        difference = abs(mean / np.mean(values) - 1)
        agrees = agrees and difference <= TEMPERATURE_BOUND
        print(f"{name}: temperature, mean over seeds {mean:.6g}, difference {difference:.1e}")
    for change in changed_analyses(analysis, measured[0]) if changes else []:
        run = measured[0]
        reference, _ = run.largest_eigenvalue(kind, {**analysis, **change}, sets[json.dumps(run.data)])
        difference = abs(first / reference - 1)
        print(f"with {json.dumps(change)[1:-1]} the difference would be {difference:.1e}")
        if difference < NOTICED * bound:
            print("this is not noticed, so the check would prove nothing")
            agrees = False
    return agrees


def changed_analyses(analysis, run):
    changes = [{"matrix": matrix} for matrix in ("hessian", "gauss_newton", "fisher") if matrix != analysis["matrix"]]
    changes += [{"samples": analysis["samples"] - 1}, {"temperature": {"set": "none"}}]
    if run.running:
        changes.append({"fold_batch_norm": not analysis["fold_batch_norm"]})
    return changes


@contextlib.contextmanager
def finished_analysis(arguments):
    if not arguments.analyze:
        yield pathlib.Path(arguments.path)
        return
    analyze, config = (str(pathlib.Path(path).resolve()) for path in (arguments.analyze, arguments.path))
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        idx_files.write_random_sets(pathlib.Path("images"))
        changes = [word for change in arguments.set for word in ("--set", change)]
        subprocess.run([analyze, config, *changes, "--output", "analysis", "--quiet"], check=True)
        yield pathlib.Path("analysis")
        os.chdir("/")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inspect", required=True, help="the noisysgd-inspect program")
    parser.add_argument("--analyze", help="the noisysgd-analyze program: analyses CONFIG first")
    parser.add_argument("--set", action="append", default=[], help="path=value: change CONFIG")
    parser.add_argument("--oracle", choices=("curvlinops", "numpy"), default="curvlinops")
    parser.add_argument("--bound", type=float, default=1e-3, help="of the relative difference of eigenvalues")
    parser.add_argument("path", help="FOLDER or CONFIG")
    arguments = parser.parse_args()

    kind = NumpyCurvature if arguments.oracle == "numpy" else curvlinops_curvature()
    if kind is None:
        return 77
    inspect = str(pathlib.Path(arguments.inspect).resolve())
    with finished_analysis(arguments) as folder:
        agrees = check_analysis(kind, inspect, folder, arguments.bound, changes=bool(arguments.analyze))
    print("all agree" if agrees else f"FAILED: a relative difference exceeds {arguments.bound:g}")
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
