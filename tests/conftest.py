"""Shared fixtures: a random generator, a tiny model and its preset directory, a folder of images, the command line."""

import gc
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_keras.config import ViTConfig

CLASS_NAMES = ("cat", "dog", "owl")


def pytest_collection_finish():
    """Starts TensorFlow, and keeps garbage collections short: what the imports created, most of all objects, stays until the end."""
    keras = sys.modules.get("keras")
    if keras is not None and keras.backend.backend() == "tensorflow":
        keras.ops.zeros(())  # it takes its threads when it starts, so no test chooses them for those that follow
    gc.freeze()


def _seed(name):
    """Seeds what Keras draws the seeds of initial weights from, and what it shuffles with."""
    random.seed(name)
    np.random.seed(random.getrandbits(32))


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef):
    _seed(f"{fixturedef.baseid} {fixturedef.argname}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    """Makes a test the same whatever ran before it."""
    _seed(item.nodeid)


def pytest_sessionfinish():
    gc.unfreeze()


@pytest.fixture
def divide(monkeypatch):
    """Returns a function that chooses in how many parts TensorFlow's steps are divided, here and in processes that the test starts."""

    def choose(count):
        monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
        monkeypatch.setenv("TF_NUM_INTEROP_THREADS", str(count))

    return choose


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """A cache directory for the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIT_KERAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def graph_optimizer():
    """Turns the pass of TensorFlow's graph optimizer on again that blocks that recompute turned off."""
    yield
    if "tensorflow" in sys.modules and sys.modules["tensorflow"].config.optimizer.get_experimental_options():
        sys.modules["tensorflow"].config.optimizer.set_experimental_options({"dependency_optimization": True})


@pytest.fixture(scope="session")
def tiny_config() -> ViTConfig:
    return ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)


@pytest.fixture(scope="session")
def tiny_model(tiny_config):
    """A model of three classes with random weights."""
    from vit_keras.models.vit import vit

    model, rng = vit(tiny_config, num_classes=len(CLASS_NAMES)), np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.3).astype("float32"))
    return model


@pytest.fixture(scope="session")
def tiny_preset(tiny_model, tmp_path_factory) -> Path:
    """`tiny_model` as a preset directory; copy it before changing it."""
    from vit_keras.zoo.save_preset import save_preset

    return save_preset(tiny_model, tmp_path_factory.mktemp("presets") / "tiny", class_names=CLASS_NAMES)


@pytest.fixture
def make_folder(tmp_path) -> Callable[..., Path]:
    """Returns a function that creates class folders with PNG images of random colors and sizes."""

    def make(counts: dict[str, int], root: Path = tmp_path / "pictures") -> Path:
        rng = np.random.default_rng(2)
        for name, count in counts.items():
            (root / name).mkdir(parents=True)
            for index in range(count):
                color, size = tuple(rng.integers(0, 256, 3).tolist()), tuple(rng.integers(8, 24, 2).tolist())
                Image.new("RGB", size, color).save(root / name / f"{index:02d}.png")
        return root

    return make


@pytest.fixture
def image_folder(make_folder) -> Path:
    return make_folder({"cat": 6, "dog": 5})


@pytest.fixture
def run(capsysbinary):
    """Returns a function that runs the command line and returns exit code, stdout and stderr."""

    from vit_keras.cli import main

    def call(*arguments):
        sys.stderr.reconfigure(errors="backslashreplace")  # as Python's own is, and pytest's is not
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsysbinary.readouterr()
        return (
            ended.value.code,
            captured.out.decode(errors="surrogateescape"),
            captured.err.decode(errors="surrogateescape"),
        )

    return call
