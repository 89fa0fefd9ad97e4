"""Files of an earlier version, before the package was split into folders, load, predict and resume."""

import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from backends import some_elsewhere
from tuning.hypermodels import Tiny, images

import vit_keras as vk

FILES = Path(__file__).parents[1] / "golden" / "earlier_files"
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (24, 16, 16, 3)).astype("uint8")
LABELS = (np.arange(24) % 3).astype("int32")


class Stop(keras.callbacks.Callback):
    """Named like the callback that interrupted the run, since a resumed run needs callbacks of the same names."""


@pytest.mark.parametrize(
    "name",
    some_elsewhere(("model.keras", "parallel.keras", "preset", "adapters.keras", "parallel_adapters.keras"), every=3),
)
def test_an_earlier_model_gives_the_outputs_it_gave(name):
    model = vk.from_preset(FILES / name) if name == "preset" else keras.saving.load_model(FILES / name)
    with np.load(FILES / "outputs.npz") as outputs:
        np.testing.assert_allclose(model.predict(IMAGES, verbose=0), outputs[name], rtol=1e-4, atol=1e-5)


def test_an_earlier_compiled_model_trains_on_with_its_optimizer_state():
    model = keras.saving.load_model(FILES / "model.keras")
    assert int(model.optimizer.iterations) == 3
    model.fit(IMAGES, LABELS, batch_size=8, verbose=0)
    assert int(model.optimizer.iterations) == 6
    assert vk.model_config(model).has_two_heads


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the run used TensorFlow")
def test_an_earlier_run_is_resumed(tmp_path):
    shutil.copytree(FILES / "run", tmp_path / "run")
    data = vk.data.load(
        {"train": (IMAGES, LABELS), "validation": (IMAGES, LABELS), "test": (IMAGES, LABELS)}, batch_size=8
    )
    result = vk.finetune(
        vk.from_preset(FILES / "preset"), data, epochs=3, method="finetune", run_dir=tmp_path / "run", resume=True,
        force_resume=True, callbacks=[Stop()],
    )  # fmt: skip
    assert result.record["status"] == "finished"
    assert [row["epoch"] for row in result.history] == [1, 2, 3]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the search used TensorFlow")
def test_an_earlier_search_is_continued(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "PYTHONPATH", str(FILES.parents[1])
    )  # trials import `tuning.hypermodels` in processes of their own
    run = shutil.copytree(FILES / "search", tmp_path / "search")
    data = replace(images(), class_names=("dark", "grey", "light"))  # codespell:ignore grey
    options = vk.tuning.TunerOptions(epochs=2, factor=2)
    result = vk.tuning.search(
        data, hypermodel=Tiny(), run_dir=run, budget="3 trials", objective=["val_accuracy", "params"], options=options, resume=True
    )  # fmt: skip
    first, second, third = result.study.trials
    assert [epoch["val_accuracy"] for epoch in first.curve] == pytest.approx([0.8125, 0.9583333])
    assert (second.state, second.curve[0]["val_accuracy"]) == ("PRUNED", pytest.approx(0.7083333))
    assert third.epochs >= 1
