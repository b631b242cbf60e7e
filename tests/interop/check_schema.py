#!/usr/bin/env python3
"""Compares the JSON Schemas of the programs with what the programs accept.

    check_schema.py --train noisysgd-train --analyze noisysgd-analyze --example swish-train SOURCE

Every published configuration, and every one in the pages of docs, is valid. Values that break the schema of a key, tried
for every key, are refused by the program too, and named; so are further faulty configurations. What the program accepts
is valid. Needs jsonschema (Debian: python3-jsonschema): fails without it.
"""

import argparse
import copy
import json
import pathlib
import re
import subprocess
import sys
import tempfile

try:
    from jsonschema import Draft7Validator
except ImportError:
    sys.exit("jsonschema 4 or later is not installed: apt install python3-jsonschema (or pip install jsonschema)")

arguments = argparse.ArgumentParser()
for program in ("train", "analyze", "example"):
    arguments.add_argument("--" + program, required=True)
arguments.add_argument("source", type=pathlib.Path)
arguments = arguments.parse_args()
folder = tempfile.TemporaryDirectory()
failures, checked = [], 0


def check(good, text):
    global checked
    checked += 1
    if not good:
        failures.append(text)
        print("FAILED", text)


def validator(program):
    schema = json.loads(subprocess.run([program, "--schema"], check=True, capture_output=True, text=True).stdout)
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


train, analyze, example = (validator(p) for p in (arguments.train, arguments.analyze, arguments.example))


def problems(schema, document):
    return "; ".join(f"{error.json_path}: {error.message[:200]}" for error in schema.iter_errors(document))


def run(program, document, *further):
    path = pathlib.Path(folder.name) / "config.json"
    path.write_text(json.dumps(document))
    made = subprocess.run([program, str(path), *further], capture_output=True, text=True, cwd=folder.name)
    return "" if made.returncode == 0 else made.stderr


def checked_by_program(document):
    """What noisysgd-train says of a document without running it."""
    return run(arguments.train, document, "--dry-run", "--quiet", "--device", "cpu", *["--tune"] * ("tuning" in document))


# --- what is published ---
def schema_of(document):
    return analyze if "analysis" in document else train


for path in sorted((arguments.source / "apps/configs").rglob("*.json")):
    document = json.loads(path.read_text())
    check(not problems(schema_of(document), document), f"{path}: {problems(schema_of(document), document)}")
path = arguments.source / "docs/examples/extending/experiment.json"
document = json.loads(path.read_text())
check(not problems(example, document), f"{path}: {problems(example, document)}")
check(problems(train, document), f"{path} is valid without the types of the example")


def configurations(page):
    """Configurations in the code of a page, also without the outer braces."""
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", page, re.M | re.S):
        for text in (block, "{" + block + "}"):
            try:
                document = json.loads(text)
            except ValueError:
                continue
            if isinstance(document, dict):
                yield document


in_pages = 0
for page in [arguments.source / "README.md", *sorted((arguments.source / "docs").glob("*.md"))]:
    for document in configurations(page.read_text()):
        in_pages += 1
        check(not problems(schema_of(document), document),
              f"{page}: {document}: {problems(schema_of(document), document)}")
check(in_pages >= 2, f"only {in_pages} configurations were found in pages")

# --- what the program accepts, and what it refuses ---
small = {"data": {"train_size": 64, "test_size": 32}, "model": {"type": "mlp", "hidden": [4]}, "batch": {"size": 16}}


def with_small(document):
    result = copy.deepcopy(small)
    for key, value in document.items():
        if isinstance(value, dict) and key != "model":
            result.setdefault(key, {}).update(value)
        else:
            result[key] = value
    return result


layers = [{"type": "conv2d", "out_channels": 3, "kernel": [3, 5], "name": "c"}, {"type": "batch_norm"},
          {"type": "residual", "body": [{"type": "relu"}]}, {"type": "max_pool"}, {"type": "flatten"},
          {"type": "sequential", "layers": [{"type": "linear"}], "comment": "nested"}]
good = [
    {},
    {"$schema": "schema.json", "comment": "a", "$comment1": "b", "noise": {"comment": "c"}},
    {"seeds": [1, 2]},
    {"epochs": 2.0, "model": {"type": "mlp", "hidden": [4.0]}, "data": {"train_size": 6.4e1}},
    {"model": {"type": "sequential", "layers": layers}},
    {"model": {"type": "resnet", "depth": 8, "shortcut": "identity_pad", "weights": None}},
    {"fisher": {"kind": True}},
    {"data": {"normalize": None}},
    {"data": {"normalize": {"mean": [0.5], "std": [0.5]}}},
    {"optimizer": {"type": "adamw", "betas": [0.5, 0.6]}, "schedule": {"type": "step", "milestones": [1]}},
    {"optimizer": {"scaling": {"type": "linear", "base_batch": 64}}},
    {"batch": {"change": [{"epochs": 1, "size": 8}], "micro": None}},
    # Regimes complete the document, remove keys, and change types.
    {"noise": {"small_batch": 4}, "regimes": [{"name": "a", "noise": {"type": "diagonal_fisher"}}]},
    {"noise": {"type": "isotropic"}, "regimes": [{"name": "a", "noise": {"sigma": 1}}, {"name": "b", "noise": None}]},
    {"noise": {"type": "isotropic", "sigma": 1},
     "regimes": [{"name": "a", "noise": {"scale": 2, "sigma": 3}}, {"name": "b", "noise": {"type": "kfac", "small_batch": 4}},
                 {"name": "c", "optimizer": {"learning_rate": None, "nesterov": True}, "comment": "d"},
                 {"name": "d", "noise": {"type": None, "sigma": None}, "expect": {"test_accuracy": 90}}]},
    {"schedule": {"warmup": {"epochs": 1}}, "regimes": [{"name": "a", "schedule": {"warmup": None}}]},
    {"tuning": {"holdout": 16}, "tune": {"noise.sigma": [1, 2], "noise.scale": {"log_uniform": [1, 2]}, "trials": 2},
     "noise": {"type": "isotropic"}},
    {"tuning": {"holdout": 16, "seeds": [1, 2]}, "regimes": [{"name": "a", "tune": {"epochs": [1, 2]}}]},
]
for document in map(with_small, good):
    said = checked_by_program(document)
    check(not said, f"the program refuses {json.dumps(document)}: {said}")
    check(not problems(train, document), f"{json.dumps(document)}: {problems(train, document)}")

bad = [
    {"epoch": 1},
    {"regimes": [{}]},
    {"regimes": [{"name": ""}]},
    {"regimes": [{"name": "a", "seed": 3}]},
    {"regimes": [{"name": "a", "$schema": "x"}]},
    {"regimes": [{"name": "a", "epochs": 0}]},
    {"regimes": [{"name": "a", "noise": {"sigmas": 1}}]},
    {"regimes": [{"name": "a", "noise": {"type": "kfac", "sigma": 1}}]},
    {"regimes": {"name": "a"}},
    {"noise": {"type": "gaussian"}},
    {"noise": {"type": "isotropic"}},
    {"noise": {"scale": 1}},
    {"noise": {"type": "diagonal_fisher", "sigma": 1}},
    {"noise": None},
    {"comment": 3},
    {"$schema": 3},
    {"optimizer": {"betas": [0.5, 0.6]}},
    {"optimizer": {"type": "adamw", "betas": [0.5]}},
    {"optimizer": {"learning_rate": 1e39}},
    {"schedule": {"type": "step"}},
    {"seeds": []},
    {"seeds": [1, 1]},
    {"epochs": 2.5},
    {"epochs": None, "regimes": [{"name": "a"}]},
    {"noise": {"type": "diagonal_fisher", "small_batch": 4, "scale": None}, "regimes": [{"name": "a"}]},
    {"noise": None, "regimes": [{"name": "a"}]},
    {"noise": {"type": None}, "regimes": [{"name": "a"}]},
    {"optimizer": {"momentum": None}, "tuning": {"holdout": 16}, "tune": {"epochs": [1, 2]}},
    {"tuning": {"holdout": 16, "seeds": [2, 2]}, "tune": {"epochs": [1, 2]}},
    {"model": {"hidden": [4]}},
    {"model": {"type": "mlps"}},
    {"model": {"type": "mlp", "name": "m"}},
    {"model": {"type": "vgg16", "depth": 3}},
    {"model": {"type": "sequential", "layers": [{"type": "linear", "out_feature": 3}]}},
    {"model": {"type": "sequential", "layers": [{"type": "residual", "body": [{"type": "relus"}]}]}},
    {"model": {"type": "sequential", "layers": [{"name": "a"}]}},
    {"batch": {"change": [{"epochs": 1}]}},
    {"expect": {"accuracy": 1}},
    {"data": {"type": "mnist", "difficulty": 1}},
    {"tuning": {}, "tune": {"epochs": [1, 2]}},
    {"tuning": {"holdout": 16}, "tune": {"epochs": []}},
    {"tuning": {"holdout": 16}, "tune": {"epochs": 3}},
    {"tuning": {"holdout": 16}, "tune": {"epochs": [1, 1]}},
    {"tuning": {"holdout": 16}, "tune": {"epochs": [None]}},
    {"tuning": {"holdout": 16}, "tune": {"epochs": [1, 2], "trials": 0}},
    {"tuning": {"holdout": 16}, "tune": {"noise.scale": {"uniform": [1, 2]}, "trials": 2}},
]
for document in map(with_small, bad):
    check(problems(train, document), f"the schema allows {json.dumps(document)}")
    check(checked_by_program(document), f"the program allows {json.dumps(document)}")


# --- every key ---
def keys_of(schema, root, path=(), chosen=()):
    """(path, schema, the choices on the way) of every value, and the choices themselves."""
    schema = root["definitions"][schema["$ref"].split("/")[-1]] if "$ref" in schema else schema
    if "allOf" in schema:
        choice, = schema["properties"]
        for alternative in schema["allOf"]:
            condition = alternative["if"]["properties"][choice]
            value = condition["const"] if "const" in condition else condition["enum"][0]
            yield from keys_of(alternative["then"], root, path, (*chosen, (path + (choice,), value)))
        return
    for key, value in schema.get("properties", {}).items():
        if value is True:  # another part of the schema has it
            continue
        if "properties" in value:
            yield from keys_of(value, root, path + (key,), chosen)
        else:
            yield path + (key,), value, chosen


def set_at(document, path, value):
    for key in path[:-1]:
        document = document.setdefault(key, {})
    document[path[-1]] = value


def outside(schema):
    """Values that a key cannot have."""
    yield {"nothing": 1}
    for keyword, step in (("minimum", -1), ("exclusiveMinimum", 0), ("maximum", 1), ("exclusiveMaximum", 0)):
        if keyword in schema:
            value = schema[keyword] + step
            yield value * 10 if isinstance(value, float) and abs(value) > 1e15 else value
    if "enum" in schema:
        yield "nothing"
    if schema.get("minItems", 0) > 0:
        yield []
    if schema.get("type") == "integer":
        yield 1.5
    if isinstance(schema.get("items"), dict):
        yield [None]


tried = set()
whole = train.schema["definitions"]["whole"]
for path, schema, chosen in [*keys_of(train.schema, train.schema), *keys_of(whole, train.schema)]:
    if path[0] == "tune" or (path, json.dumps(schema)) in tried:
        continue
    tried.add((path, json.dumps(schema)))
    for value in outside(schema):
        document = copy.deepcopy(small)
        if path[0] == "model":
            document.pop("model")
        if path[0] == "tuning":
            document.update({"tuning": {"holdout": 16}, "tune": {"epochs": [1, 2]}})
        for place, choice in chosen:
            set_at(document, place, choice)
        set_at(document, path, value)
        check(problems(train, document), f"the schema allows {json.dumps(document)}")
        said = checked_by_program(document)
        check("$." + ".".join(path) in said, f"{json.dumps(document)}: expected {'.'.join(path)} to be refused: {said}")
check(len(tried) > 80, f"only {len(tried)} keys were tried")

# --- analyses ---
quadratic = {"analysis": {"type": "quadratic", "matrix": [5, 4.5, 4.5, 5], "start": [6, -4]}}
spectrum = {"analysis": {"type": "stability", "spectrum": {"type": "geometric", "dimension": 3, "largest": 9,
                                                           "smallest": 5}}}
for document in (quadratic, spectrum, {"seed": 3, "$schema": "s", **quadratic}, {"analysis": {"type": "hessian"}},
                 {**small, "analysis": {"type": "convergence"}, "regimes": [{"name": "a", "epochs": 3}]},
                 {"name": "n", "device": "cpu", "analysis": {"type": "noise_scale", "runs": "runs/mine"}}):
    check(not problems(analyze, document), f"{json.dumps(document)}: {problems(analyze, document)}")
for document in ({}, {"analysis": {}}, {"analysis": {"type": "quadratics"}}, {"epochs": 3, **quadratic},
                 {"analysis": {**quadratic["analysis"], "spectra": 3}}, {"analysis": {"type": "hessian", "start": 3}},
                 {"analysis": {"type": "hessian"}, "epoch": 3}, {"analysis": {"type": "hessian"}, "tune": {}},
                 {"analysis": {"type": "hessian"}, "regimes": [{"name": "a", "epochs": 0}]},
                 {"analysis": {**quadratic["analysis"], "noises": ["full", "ful"]}},
                 {"analysis": {**quadratic["analysis"], "noises": ["full", "full"]}},
                 {"analysis": {"type": "stability", "spectrum": {"type": "list", "dimension": 3}}}):
    check(problems(analyze, document), f"the schema allows {json.dumps(document)}")
    check(run(arguments.analyze, document, "--quiet", "--output", "analysed"), f"the program allows {document}")

print(f"{checked} checks, {len(failures)} failed")
sys.exit(1 if failures else 0)
