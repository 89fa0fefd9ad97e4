"""A finished run of ten test images."""

import numpy as np
import pytest

from vit_keras.evaluation.metrics import Evaluation


@pytest.fixture
def record(tiny_config):
    return {
        "status": "finished",
        "options": {"data": "pets", "limit": None, "seed": 3},
        "precision": "float32",
        "config": tiny_config.to_dict(),
        "recipe": {"name": "small_images", "source": "https://arxiv.org/abs/2205.01580", "epochs": 7, "steps_per_epoch": 11, "learning_rate": 0.004, "augmentation": {"flip_rate": 0.5}},
        "data": {"name": "pets", "class_names": ["cat", "dog", "owl"], "images": {"train": 1500, "test": 10}, "fingerprint": "f00d", "notes": []},
        "environment": {"backend": "jax", "versions": {"keras": "3.15.1"}, "devices": ["cpu:0"], "processor": "a fast one"},
        "seconds": {"fit": 1234.5, "total": 1300.5},
        "results": {"test_accuracy": 0.7, "nearest_neighbour_accuracy": 0.42},
        "choices": [["method", "head_first", "62 images per class: enough"]],
    }  # fmt: skip


@pytest.fixture(scope="session")
def labels():
    return np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])


@pytest.fixture(scope="session")
def evaluation_of(labels):
    """Returns a maker of evaluations of predicted classes and their confidences."""
    predictions = np.array([0, 0, 1, 0, 1, 1, 1, 1, 0, 2])
    confidences = np.array([0.9, 0.8, 0.94, 0.7, 0.9, 0.6, 0.9, 0.5, 0.65, 0.9])

    def make(predicted=predictions, labels=labels, confidence=confidences, classes=3):
        confidence = np.broadcast_to(confidence, len(predicted))
        probabilities = np.repeat((1 - confidence[:, None]) / (classes - 1), classes, axis=1)
        probabilities[np.arange(len(predicted)), predicted] = confidence
        return Evaluation(probabilities, labels)

    return make
