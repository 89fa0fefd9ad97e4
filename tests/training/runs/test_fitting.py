import json
import shutil
from collections import namedtuple
from dataclasses import replace

import keras
import numpy as np
import pytest
from contracts import JIT
from resuming import StopAt, bit_for_bit
from rich.console import Console
from training.weights import assert_equal

from vit_keras.data import Augmentation
from vit_keras.errors import ResumeError, StorageError, TrainingDivergedError
from vit_keras.models.vit import vit
from vit_keras.training.checkpoints.callback import Stopped
from vit_keras.training.checkpoints.state import get_arrays, named_variables, set_arrays
from vit_keras.training.checkpoints.store import CheckpointStore
from vit_keras.training.recipes import finetune
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.fitting import Fitting

EPOCHS, STEPS = 3, 4  # of the fixture `data`


@pytest.fixture(scope="module")
def compiled(data, tiny_config):
    """Returns a maker of compiled models with initial weights, cached per recipe, since compiling takes longest."""
    made = {}

    def make(**changes):
        key = json.dumps(changes)
        if key not in made:
            keras.utils.set_random_seed(0)
            augmentation = Augmentation(flip_rate=0.5, shift=0.1, mixup_alpha=0.2)
            options = {"accumulation": 2, "average_decay": 0.9, "patience": 3, "augmentation": augmentation, **changes}
            recipe = finetune.unsized(epochs=EPOCHS, steps_per_epoch=STEPS, **options)
            config = tiny_config.replace(num_layers=1, dropout_rate=0.2, stochastic_depth_rate=0.2)
            model = vit(config, num_classes=2)
            model.compile(**recipe.compile_kwargs(), jit_compile=JIT)
            model.optimizer.build(model.trainable_variables)
            model.evaluate(data.validation, verbose=0)
            made[key] = model, recipe, get_arrays(model)
        model, recipe, start = made[key]
        set_arrays(model, start, where="the start")
        return model, recipe

    return make


@pytest.fixture(scope="module")
def fitting(data, compiled):
    """Returns a maker of fittings with all state that a resumed run must restore; `lost` starts from other weights."""

    def make(folder, *, lost=False, callbacks=(), **changes):
        model, recipe = compiled(**changes)
        if lost:
            for variable in named_variables(model).values():
                variable.assign(np.ones(variable.shape, "float32").astype(variable.dtype))
        run = RunDirectory(folder)
        run.path.mkdir(exist_ok=True)
        plateau = keras.callbacks.EarlyStopping("val_loss", patience=9, restore_best_weights=True)
        options = {"console": Console(quiet=True), "callbacks": [plateau, *callbacks], "checkpoint_seconds": 0.0}
        return Fitting(model=model, data=data, recipe=recipe, run=run, **options)

    return make


def outcome(fitted, rows):
    """Returns what must be the same: the final model, the last checkpoint, and the history without its seconds."""
    last = CheckpointStore(fitted.run.checkpoints).newest()
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
    return get_arrays(fitted.model), last.tensors, rows


def assert_same(one, other):
    for first, second in zip(one[:2], other[:2], strict=True):
        assert first.keys() == second.keys()
        assert_equal(first.values(), second.values())
    assert one[2] == other[2]


@pytest.fixture(scope="module")
def finished(fitting, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    fitted = fitting(folder, callbacks=[StopAt()])
    return folder, outcome(fitted, fitted.fit())


@pytest.fixture(scope="module")
def whole(finished):
    return finished[1]


@pytest.fixture(scope="module")
def stopped(fitting, tmp_path_factory):
    """A run stopped in the middle of its second epoch; a test that changes it copies it first."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.raises(Stopped):
        fitting(folder, callbacks=[StopAt(6)]).fit()
    return folder


@bit_for_bit
def test_a_run_stopped_twice_is_resumed_to_the_same_result(fitting, whole, stopped, tmp_path):
    folder = shutil.copytree(stopped, tmp_path / "run")
    store = CheckpointStore(folder / "checkpoints")
    assert store.newest().step == 6
    with pytest.raises(Stopped):
        fitting(folder, lost=True, callbacks=[StopAt(8)]).fit(resume=True)
    assert store.newest().step == 8
    fitted = fitting(folder, lost=True, callbacks=[StopAt()])
    rows = fitted.fit(resume=True)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert_same(outcome(fitted, rows), whole)


@pytest.mark.any_backend
def test_after_a_full_disk_the_run_is_resumed(fitting, whole, tmp_path, monkeypatch):
    class Fill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                usage = namedtuple("usage", "total used free")
                monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 0))

    folder = tmp_path / "run"
    with pytest.raises(StorageError, match="free"):
        fitting(folder, callbacks=[StopAt(), Fill()]).fit()
    monkeypatch.undo()
    monkeypatch.setattr(Fill, "on_epoch_begin", keras.callbacks.Callback.on_epoch_begin)
    fitted = fitting(folder, lost=True, callbacks=[StopAt(), Fill()])
    assert_same(outcome(fitted, fitted.fit(resume=True)), whole)


def test_a_finished_fit_is_resumed_without_training(fitting, finished, tmp_path):
    fitted = fitting(shutil.copytree(finished[0], tmp_path / "run"), lost=True, callbacks=[StopAt()])
    assert_same(outcome(fitted, fitted.fit(resume=True)), finished[1])


def test_a_checkpoint_of_another_recipe_is_refused(fitting, stopped, tmp_path):
    folder = shutil.copytree(stopped, tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ResumeError, match="of another model or recipe"):
        fitting(folder, optimizer="sgd", callbacks=[StopAt()]).fit(resume=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_diverged_run_names_the_step_and_its_images_and_restores_the_last_checkpoint(fitting, data, tmp_path):
    class Break(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if int(keras.ops.convert_to_numpy(self.model.optimizer._iterations)) == 5:
                self.model.trainable_variables[0].assign(np.full(self.model.trainable_variables[0].shape, np.nan))

    fitted = fitting(tmp_path / "run", callbacks=[Break()])
    message = "In epoch 2, step 2 of .*run, the loss became nan; the model was restored from step 5"
    with pytest.raises(TrainingDivergedError, match=message):
        fitted.fit()
    note = json.loads((tmp_path / "run" / "divergence.json").read_text())
    images = data.training_images(5, augmentation=fitted.recipe.augmentation)
    assert (note["epoch"], note["step"], note["images"]) == (2, 2, images)
    assert all(np.isfinite(array).all() for array in get_arrays(fitted.model).values())


class Watched:
    """A metric on the device that records at which step it is read."""

    def __init__(self, value, step, calls, asked):
        self.value, self.step, self.calls, self.asked = value, step, calls, asked

    def __float__(self):
        self.asked.append((self.step, self.calls[0]))
        return float(self.value)

    def __array__(self, *arguments, **named):
        self.asked.append((self.step, self.calls[0]))
        return np.asarray(self.value)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch on a CPU finishes each step before it returns")
def test_no_step_waits_for_its_own_metrics(fitting, tmp_path, monkeypatch):
    made = replace(fitting(tmp_path / "run"), checkpoint_seconds=1e9)  # a checkpoint reads all metrics
    made.model.make_train_function()
    compiled, calls, asked = made.model.train_function, [0], []

    def watched(*arguments):
        found = compiled(*arguments)
        logs, *state = found if isinstance(found, tuple) else (found,)
        calls[0] += 1
        logs = {name: Watched(value, calls[0], calls, asked) for name, value in logs.items()}
        return (logs, *state) if state else logs

    monkeypatch.setattr(made.model, "train_function", watched)
    made.fit(resume=False)
    assert calls == [EPOCHS * STEPS]
    during = [(step, now) for step, now in asked if now % STEPS]  # the end of an epoch reads its metrics
    assert during  # the loss is read
    assert all(step < now for step, now in during)  # after the next step was started
    assert len(during) <= EPOCHS * STEPS  # one metric per step
