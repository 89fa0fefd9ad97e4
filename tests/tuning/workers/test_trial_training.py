from dataclasses import replace

import keras
import numpy as np
import pytest
from backends import some_elsewhere
from sklearn.metrics import average_precision_score, r2_score
from tuning.hypermodels import Tiny, images

from vit_keras import from_preset
from vit_keras.models.vit import model_config
from vit_keras.training.checkpoints.store import CheckpointStore
from vit_keras.training.recipes import Recipe
from vit_keras.tuning.workers import trial_training
from vit_keras.tuning.workers.traced import TRACED, TracedOptimizer, TracedStochasticDepth, program_key
from vit_keras.tuning.workers.trial_training import TrialTrainer

EPOCHS = 3


class Log:
    def __init__(self, last=99):
        self.epochs, self.metrics, self.last = [], [], last

    def __call__(self, epochs, metrics, seconds):
        self.epochs.append(epochs)
        self.metrics.append(metrics)
        return epochs < self.last


@pytest.fixture(scope="module")
def data():
    return images()


@pytest.fixture(scope="module")
def trainer(data):
    return TrialTrainer(Tiny(), data, epochs=EPOCHS)


@pytest.fixture(scope="module")
def whole(trainer, tmp_path_factory):
    folder, log = tmp_path_factory.mktemp("whole"), Log()
    assert trainer.train(trainer.hypermodel.default_values(), until=EPOCHS, folder=folder, on_epoch=log)
    return folder, log


def test_a_trial_paused_between_others_and_in_another_process_ends_in_the_same_bits(trainer, data, whole, tmp_path):
    values, log = trainer.hypermodel.default_values(), Log()
    assert not trainer.train(values, until=1, folder=tmp_path / "paused", on_epoch=log)
    other = {**values, "learning_rate": 3e-3, "weight_decay": 0.2, "num_layers": 3 - values["num_layers"]}
    trainer.train({**values, "learning_rate": 5e-3}, until=1, folder=tmp_path / "same", on_epoch=Log())
    trainer.train(other, until=1, folder=tmp_path / "other", on_epoch=Log())
    assert not trainer.train(values, until=2, folder=tmp_path / "paused", on_epoch=log)
    fresh = TrialTrainer(Tiny(), data, epochs=EPOCHS)
    assert fresh.train(values, until=EPOCHS, folder=tmp_path / "paused", on_epoch=log)
    folder, expected = whole
    assert (log.epochs, log.metrics) == (expected.epochs, expected.metrics)
    ours, theirs = (each / "model" / "model.safetensors" for each in (tmp_path / "paused", folder))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.any_backend
def test_a_trial_killed_within_an_epoch_loses_what_came_after_its_last_checkpoint(
    trainer, whole, tmp_path, monkeypatch
):
    assert trial_training._CHECKPOINT_SECONDS < 60
    monkeypatch.setattr(trial_training, "_CHECKPOINT_SECONDS", 0.0)
    values, steps, log = trainer.hypermodel.default_values(), [], Log()

    def die():
        steps.append(len(steps))
        if len(steps) == 5:  # of the six steps of an epoch
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        trainer.train(values, until=EPOCHS, folder=tmp_path / "trial", on_epoch=log, on_step=die)
    assert CheckpointStore(tmp_path / "trial" / "checkpoints").newest().step == 4
    steps.clear()
    trainer.train(values, until=EPOCHS, folder=tmp_path / "trial", on_epoch=log, on_step=lambda: steps.append(0))
    assert len(steps) == 6 * EPOCHS - 4
    assert log.metrics == whole[1].metrics


def test_a_completed_trial_leaves_a_preset_that_is_the_trained_model(whole, data):
    model = from_preset(whole[0] / "model")
    assert model_config(model).stochastic_depth_rate == Tiny().default_values()["stochastic_depth_rate"]
    logits = model.predict_on_batch(data.splits["validation"].images)
    accuracy = np.mean(logits.argmax(1) == data.splits["validation"].labels)
    assert accuracy == pytest.approx(whole[1].metrics[-1]["val_accuracy"])
    assert not (whole[0] / "checkpoints").exists()


def test_a_stopped_trial_keeps_its_checkpoint_and_a_seen_shape_is_not_compiled_again(trainer, whole, tmp_path):
    values, log = trainer.hypermodel.default_values(), Log(last=1)
    assert not trainer.train(values, until=EPOCHS, folder=tmp_path / "stopped", on_epoch=log)
    assert log.epochs == [1]
    assert (tmp_path / "stopped" / "checkpoints").is_dir()
    assert {"val_accuracy", "val_loss"} <= trainer.logged_metrics(values)
    before, steps = set(trainer._programs), [program.model.train_function for program in trainer._programs.values()]
    for rate, skipped in ((1e-3, 0.0), (4e-3, 0.2)):
        changed = {**values, "learning_rate": rate, "stochastic_depth_rate": skipped}
        trainer.train(changed, until=1, folder=tmp_path / str(rate), on_epoch=Log())
    assert set(trainer._programs) == before
    assert all(program.model.train_function in steps for program in trainer._programs.values())


@pytest.mark.parametrize("optimizer", ["muon", pytest.param("adamw", marks=pytest.mark.slow)])
def test_a_traced_optimizer_does_what_the_recipe_s_own_does(optimizer):
    recipe = Recipe(
        name="r", source="", epochs=2, steps_per_epoch=5, optimizer=optimizer, learning_rate=3e-3, weight_decay=0.2, layer_decay=0.9
    )  # fmt: skip
    traced = TracedOptimizer(recipe.replace(learning_rate=1e-4, weight_decay=0.01))
    traced.set(recipe)
    values, models = {**Tiny().default_values(), "num_layers": 1}, []
    for chosen in (recipe.compile_kwargs()["optimizer"], traced.optimizer):
        keras.utils.set_random_seed(0)
        model = Tiny().make_model(values)
        model.compile(chosen, recipe.compile_kwargs()["loss"])
        for step in range(3):
            model.train_on_batch(np.full((4, 16, 16, 3), 40 * step, "uint8"), np.arange(4) % 3)
        models.append(model)
    for ours, theirs in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rate", some_elsewhere([0.3, 0.0], every=2))
def test_a_traced_stochastic_depth_does_what_a_model_made_with_that_rate_does(rate):
    values = {**Tiny().default_values(), "num_layers": 2}
    made, traced = (Tiny().make_model({**values, "stochastic_depth_rate": each}) for each in (rate, 0.1))
    TracedStochasticDepth(traced).set(rate)
    assert model_config(traced) == model_config(made)
    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), "uint8")
    weights = {weight.path: weight for weight in traced.weights}
    made.get_layer("head").kernel.assign(np.random.default_rng(0).normal(size=made.get_layer("head").kernel.shape))
    for weight in made.weights:
        weights[weight.path].assign(weight)
    for model in (made, traced):
        for depth in (depth for layer in model.layers if hasattr(layer, "depths") for depth in layer.depths):
            if depth.seed_generator is not None:
                depth.seed_generator.state.assign([1, 2])
    ours, theirs = (keras.ops.convert_to_numpy(model(images, training=True)) for model in (traced, made))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    if rate:
        assert np.abs(ours - keras.ops.convert_to_numpy(traced(images, training=False))).max() > 1e-3


@pytest.mark.any_backend
def test_recipes_that_differ_in_variables_or_host_work_share_a_program():
    recipe = Recipe(name="r", source="", epochs=2, steps_per_epoch=5)
    config = Tiny().model_config(Tiny().default_values())
    program = program_key(config.to_dict(), recipe)
    same = recipe.replace(learning_rate=0.5, weight_decay=0.5, stochastic_depth_rate=0.3, augmentation="strong")
    assert program_key(config.replace(stochastic_depth_rate=0.3).to_dict(), same) == program
    assert program_key(config.to_dict(), recipe.replace(label_smoothing=0.3)) != program
    assert program_key(config.replace(num_registers=1).to_dict(), recipe) != program
    assert set(TRACED) == {"learning_rate", "weight_decay", "stochastic_depth_rate"}


@pytest.mark.parametrize("task", ["multi_label", "regression"])
@pytest.mark.any_backend
def test_trials_are_trained_for_the_task_of_the_data(task, data, tmp_path):
    def relabel(split):
        columns = np.stack([split.labels == 0, split.labels > 0, split.labels > 1], axis=1).astype("uint8")
        rows = columns if task == "multi_label" else 1000 + 10 * columns.astype("float32")
        return replace(split, labels=rows)

    splits = {name: relabel(split) for name, split in data.splits.items()}
    trainer = TrialTrainer(Tiny(), replace(data, splits=splits, task=task), epochs=1)
    values, log = trainer.hypermodel.default_values(), Log()
    metric = {"multi_label": "val_mean_average_precision", "regression": "val_r2"}[task]
    assert metric in trainer.logged_metrics(values)
    assert trainer.train(values, until=1, folder=tmp_path / "trial", on_epoch=log)
    model, split = from_preset(tmp_path / "trial" / "model"), splits["validation"]
    assert (model.task, model.threshold is None) == (task, task == "regression")
    outputs = model.predict(split.images, verbose=0)
    if task == "regression":
        assert log.metrics[0][metric] == pytest.approx(r2_score(split.labels, outputs), abs=2e-3)
    else:
        assert log.metrics[0][metric] == pytest.approx(average_precision_score(split.labels, outputs), abs=0.05)
