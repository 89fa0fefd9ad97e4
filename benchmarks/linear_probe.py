"""The linear probe beside scikit-learn's logistic regression at its best C: seconds, and accuracy on held-out images.

    python benchmarks/linear_probe.py [--seeds 2]

Both fit the same 10,000 features of width 384, standardised for scikit-learn, choose by the same 5,000 validation images, and are
tested on others. scikit-learn tries 9 values of C, 10^-4 to 1 in half powers of ten (its best is 0.1 or less), and is also given the C that is best on the
test images, which nobody could have chosen. Features:

- fashion_mnist, 10 classes: of a two-block ViT of width 384 after 300 steps on 19,200 other images of the set;
- fashion_mnist_untrained, 10 classes: of the same ViT with the weights it starts with;
- synthetic, 100 classes: overlapping normal clouds whose scatter falls by e^4 from the first axis to the last, turned at random.

The validation accuracy is what both choose by; the test says what that was worth. `--seeds` draws the training images anew. The
processor's seconds are of all cores together. On a machine that does other work too, set OPENBLAS_NUM_THREADS=1: threads that wait
for each other make both sides many times slower. Needs the data set where `keras.datasets` finds it, or a network.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import harness
import keras
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info

import vit_keras as vk
from vit_keras.config import ViTConfig
from vit_keras.data import Split
from vit_keras.training.transfer.features import extract_features
from vit_keras.training.transfer.linear_probe import linear_probe
from vit_keras.training.transfer.nearest_neighbors import KNNClassifier

TRAIN, VALIDATION, WIDTH, PRETRAINED_ON = 10_000, 5_000, 384, 19_200
MOST_ITERATIONS = 2000  # of scikit-learn
FIRST_SEED = 10  # lower ones drew the images by which the rule that chooses the penalty was found
CS = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 1))
Features = tuple[np.ndarray, np.ndarray]


def fashion_mnist(data: vk.data.ImageData, *, trained: bool) -> tuple[Features, Features]:
    """Returns features and labels of training images that the model has not seen, and of the test images."""
    keras.utils.set_random_seed(0)
    config = ViTConfig(
        image_size=28, patch_size=7, hidden_dim=WIDTH, num_layers=2, num_heads=6, mlp_dim=4 * WIDTH, channels=1,
        pixel_mean=(0.5,), pixel_std=(0.5,),
    )  # fmt: skip
    model = vk.vit(config, num_classes=10)
    known, test = data.splits["train"], data.splits["test"]
    if trained:
        model.compile(
            optimizer=keras.optimizers.AdamW(5e-4), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        model.fit(known.images[:PRETRAINED_ON], known.labels[:PRETRAINED_ON], batch_size=64, epochs=1, verbose=0)
    fresh = Split(known.images[PRETRAINED_ON:45_000], known.labels[PRETRAINED_ON:45_000])
    return (extract_features(model, fresh), fresh.labels), (extract_features(model, test), test.labels)


def synthetic(classes: int = 100, count: int = 35_000) -> tuple[Features, Features]:
    rng = np.random.default_rng(FIRST_SEED)
    scatter = np.exp(-np.arange(WIDTH) / (WIDTH / 4))[:, None] * np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    centres = 0.2 * rng.normal(size=(classes, WIDTH)) @ scatter
    labels = rng.integers(0, classes, count)
    features = (centres[labels] + rng.normal(size=(count, WIDTH)) @ scatter).astype("float32")
    return (features[:25_000], labels[:25_000]), (features[25_000:], labels[25_000:])


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, {
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
        "load_average": os.getloadavg()[0],
    }


def scikit_learn(train: Features, validation: Features, test: Features) -> dict[str, Any]:
    """Returns validation and test accuracy by C."""

    def work() -> list[dict[str, float]]:
        scaler = StandardScaler().fit(train[0].astype("float64"))
        tried = []
        for c in CS:
            model = LogisticRegression(
                C=c, tol=1e-7, max_iter=MOST_ITERATIONS
            )  # by default it stops short of the optimum
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # counted below instead
                model.fit(scaler.transform(train[0].astype("float64")), train[1])
            tried.append(
                {
                    "C": c,
                    "iterations": int(model.n_iter_[0]),
                    "validation_accuracy": float(model.score(scaler.transform(validation[0]), validation[1])),
                    "test_accuracy": float(model.score(scaler.transform(test[0]), test[1])),
                }
            )
        return tried

    tried, spent = timed(work)
    chosen = max(tried, key=lambda row: row["validation_accuracy"])
    return {
        **spent,
        "chosen_C": chosen["C"],
        "test_accuracy": chosen["test_accuracy"],
        "best_test_accuracy_of_any_C": max(row["test_accuracy"] for row in tried),
        "not_converged": sum(row["iterations"] >= MOST_ITERATIONS for row in tried),
    }


def ours(train: Features, validation: Features, test: Features, *, classes: int) -> dict[str, Any]:
    probe, spent = timed(lambda: linear_probe(*train, *validation, num_classes=classes))
    alone, spent_alone = timed(lambda: linear_probe(*train, num_classes=classes))
    return {
        **spent,
        "penalty": probe.penalty,
        "penalties_tried": len(probe.validation_accuracies),
        "test_accuracy": probe.accuracy(*test),
        "without_validation": {**spent_alone, "penalty": alone.penalty, "test_accuracy": alone.accuracy(*test)},
    }


def runs(known: Features, test: Features, *, classes: int, seeds: int) -> Iterator[dict[str, Any]]:
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        order = np.random.default_rng(seed).permutation(len(known[0]))
        train, validation = (
            (known[0][chosen], known[1][chosen]) for chosen in (order[:TRAIN], order[TRAIN : TRAIN + VALIDATION])
        )
        row: dict[str, Any] = {"seed": seed, "ours": ours(train, validation, test, classes=classes)}
        neighbours, spent = timed(lambda train=train: KNNClassifier(*train, num_classes=classes).accuracy(*test))
        row["nearest_neighbours"] = {**spent, "test_accuracy": neighbours}
        row["scikit_learn"] = scikit_learn(train, validation, test)
        row["points_below_best_C"] = 100 * (
            row["scikit_learn"]["best_test_accuracy_of_any_C"] - row["ours"]["test_accuracy"]
        )
        print(row, flush=True)
        yield row


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    data = vk.data.load("fashion_mnist")
    sets = {
        "fashion_mnist": (10, fashion_mnist(data, trained=True)),
        "fashion_mnist_untrained": (10, fashion_mnist(data, trained=False)),
        "synthetic": (100, synthetic()),
    }
    result = {}
    for name, (classes, (known, test)) in sets.items():
        rows = list(runs(known, test, classes=classes, seeds=options.seeds))
        result[name] = {
            "classes": classes,
            "seconds": harness.spread([row["ours"]["seconds"] for row in rows]),
            "processor_seconds": harness.spread([row["ours"]["processor_seconds"] for row in rows]),
            "scikit_learn_seconds": harness.spread([row["scikit_learn"]["seconds"] for row in rows]),
            "points_below_best_C": harness.spread([row["points_below_best_C"] for row in rows]),
            "runs": rows,
        }
    threads = {pool["internal_api"]: pool["num_threads"] for pool in threadpool_info()}
    harness.record(
        "linear_probe", {"threads": threads, "train": TRAIN, "validation": VALIDATION, "width": WIDTH, "sets": result}
    )
