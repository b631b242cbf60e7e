"""IDX files, the data sets made of them, and small ones of random images."""

import gzip
import pathlib

import numpy as np

FOLDERS = {"mnist": ["mnist", "MNIST/raw"], "fashion_mnist": ["fashion-mnist", "fashion_mnist", "FashionMNIST/raw"]}
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def read(path):
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    shape = np.frombuffer(data, ">u4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def write(path, values):
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes())


def find(root, kind, name):
    folders = [root / folder for folder in FOLDERS.get(kind, [])] + [root]
    for path in (folder / spelling for folder in folders for spelling in (name + ".gz", name)):
        if path.is_file():
            return path
    raise SystemExit(f"{root}: holds no {name} of {kind}")


def read_sets(data):
    """(images [N,C,H,W] normalised in float64, labels [N]) of the training and the test set that the configuration's
    `data` selects."""
    if data["type"] not in (*FOLDERS, "idx"):
        raise SystemExit(f"data.type is {data['type']}: only {', '.join(FOLDERS)} and idx are read here")
    root = pathlib.Path(data["root"]).expanduser()
    train_images, train_labels, test_images, test_labels = (read(find(root, data["type"], name)) for name in NAMES)
    train, test = (train_images, train_labels), (test_images, test_labels)
    if data["holdout"]:
        kept = len(train_labels) - data["holdout"]
        train, test = ([part[:kept] for part in train], [part[kept:] for part in train])
    train = [part[: data["train_limit"] or None] for part in train]
    test = [part[: data["test_limit"] or None] for part in test]
    mean, deviation = train[0].mean() / 255, train[0].std() / 255
    if data["normalize"]:
        (mean,), (deviation,) = data["normalize"]["mean"], data["normalize"]["std"]
    return [((images[:, None] / 255 - mean) / deviation, labels.astype(np.int64)) for images, labels in (train, test)]


def write_random_sets(folder, train=96, test=40, size=16, classes=4):
    """Grey images, a pattern per class in noise. Some labels are wrong, so that no network is right of all."""
    random = np.random.default_rng(1)
    patterns = np.kron(random.standard_normal((classes, size // 4, size // 4)), np.ones((4, 4)))
    folder.mkdir()
    for count, (images_name, labels_name) in ((train, NAMES[:2]), (test, NAMES[2:])):
        labels = random.integers(0, classes, count)
        images = 128 + 30 * patterns[labels] + 40 * random.standard_normal((count, size, size))
        wrong = random.random(count) < 0.15
        labels = np.where(wrong, random.integers(0, classes, count), labels)
        write(folder / images_name, images.clip(0, 255).astype(np.uint8))
        write(folder / labels_name, labels.astype(np.uint8))
