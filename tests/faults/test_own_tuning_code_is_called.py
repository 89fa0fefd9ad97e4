"""Subclasses of the tuner and the hypermodel: what they override is called or refused, never ignored."""

import keras
import keras_tuner
import pytest
from tuning.hypermodels import AsksForMore, OwnBuild, OwnFit, Tiny, images, split

from vit_keras.errors import InvalidArgumentError, NoCompletedTrialError
from vit_keras.tuning import TunerOptions, ViTTuner
from vit_keras.tuning.space.searchable import NoEffectError
from vit_keras.tuning.workers.trial_training import TrialTrainer

pytestmark = pytest.mark.any_backend

OPTIONS = TunerOptions(epochs=2, factor=2)
own_loop = pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="keras-tuner's own loop is the same on all backends"
)


@pytest.fixture(scope="module")
def data():
    return images()


class Arithmetic(ViTTuner):
    """Prefers many heads, and trains nothing."""

    def run_trial(self, trial, *args, **kwargs):
        if trial.hyperparameters.get("num_heads") == 1:
            raise ArithmeticError("one head is too few")
        return {"val_accuracy": 0.1 + trial.hyperparameters.get("num_layers") / 10}


class Passing(ViTTuner):
    """Passes its base class an argument without effect."""

    def run_trial(self, trial, *args, **kwargs):
        return super().run_trial(trial, *args, batch_size=8)


class Watching(ViTTuner):
    def on_epoch_end(self, trial, model, epoch, logs=None):
        raise AssertionError("this is never called")


def test_a_tuners_own_run_trial_decides(data, tmp_path):
    hypermodel = Tiny(num_heads=[1, 2], learning_rate=[1e-3], weight_decay=[0.1])
    tuner = Arithmetic(hypermodel, run_dir=tmp_path / "run", budget="4 trials", options=OPTIONS)
    tuner.search(data)
    scores = {
        (trial.values["num_layers"], trial.values["num_heads"]): (trial.state, trial.curve)
        for trial in tuner.study.trials
    }
    assert scores[2, 2] == ("COMPLETED", [{"val_accuracy": 0.1 + 2 / 10}] * 2)
    assert {state for (_, heads), (state, _) in scores.items() if heads == 1} == {"FAILED"}
    reasons = {trial.reason for trial in tuner.study.trials if trial.state == "FAILED"}
    assert reasons == {"ArithmeticError: one head is too few"}
    assert tuner.best_trial().values["num_layers"] == 2
    with pytest.raises(NoCompletedTrialError, match=r"Arithmetic\.run_trial left no model"):
        tuner.get_best_models(1)


def test_arguments_without_effect_and_methods_that_are_never_called_are_refused(data, tmp_path):
    with pytest.raises(InvalidArgumentError, match="batch_size, which can have no effect"):
        Passing(Tiny(), run_dir=tmp_path / "run", budget="2 trials", options=OPTIONS).search(data)
    with pytest.raises(InvalidArgumentError, match=r"Watching\.on_epoch_end would never be called"):
        Watching(Tiny(), run_dir=tmp_path / "other")
    with pytest.raises(InvalidArgumentError, match="is not a ViTHyperModel"):
        ViTTuner(keras_tuner.HyperModel(), run_dir=tmp_path / "other")
    trainer = TrialTrainer(AsksForMore(), data, epochs=2)
    with pytest.raises(InvalidArgumentError, match=r"AsksForMore\.build uses dropout"):
        trainer.logged_metrics(trainer.hypermodel.default_values())


def test_a_hypermodels_own_build_is_trained_and_its_own_fit_is_called(data, tmp_path):
    rows = []
    on_epoch = lambda epochs, metrics, seconds: rows.append((epochs, metrics)) or True  # noqa: E731
    trainer = TrialTrainer(OwnBuild(), data, epochs=2)
    values = trainer.hypermodel.default_values()
    assert trainer.logged_metrics(values) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert not trainer.train(values, until=1, folder=tmp_path, on_epoch=on_epoch)
    assert trainer.train(values, until=2, folder=tmp_path, on_epoch=on_epoch)
    assert [epochs for epochs, _ in rows] == [1, 1, 2]
    assert rows[0] == rows[1]  # each rung trains from the start with the same seed
    assert (tmp_path / "model" / "model.safetensors").is_file()

    rows.clear()
    trainer = TrialTrainer(OwnFit(), data, epochs=2)
    values = trainer.hypermodel.default_values()
    assert trainer.logged_metrics(values) is None
    trainer.train(values, until=2, folder=tmp_path / "own_fit", on_epoch=on_epoch)
    metrics = {"val_accuracy": 0.5 + values["num_heads"] / 10, "epochs": 2.0}
    assert rows == [(1, metrics), (2, metrics)]


class Model:
    """Records the arguments of `fit`."""

    def __init__(self, compiled):
        self.optimizer, self.loss = compiled.optimizer, compiled.loss
        self.compile = lambda **arguments: vars(self).update(recompiled=arguments)

    def fit(self, batches, **given):
        self.images, self.labels = next(iter(batches.as_numpy_iterator()))
        self.given = given


def fit(hypermodel, *args, **kwargs):
    hp = keras_tuner.HyperParameters()
    model = Model(hypermodel.build(hp))
    hypermodel.fit(hp, model, *args, **kwargs)
    return model


@own_loop
def test_batch_size_and_augmentation_have_their_effect_on_arrays_too():
    train, validation = split(48), split(24)
    given = {"validation_data": (validation.images, validation.labels), "epochs": 2}
    plain = fit(Tiny(batch_size=[8], augmentation=["none"]), train.images, train.labels, **given)
    moved = fit(Tiny(batch_size=[12], augmentation=["medium"]), x=train.images, y=train.labels, **given)
    assert (plain.images.shape[0], plain.given["steps_per_epoch"]) == (8, 6)
    assert (moved.images.shape[0], moved.given["steps_per_epoch"]) == (12, 4)
    known = {image.tobytes() for image in train.images.astype(plain.images.dtype)}
    assert all(image.tobytes() in known for image in plain.images)
    assert not any(image.tobytes() in known for image in moved.images)
    assert callable(plain.recompiled["optimizer"]._learning_rate)  # a schedule of that length
    assert not hasattr(fit(OwnBuild(), images(), epochs=1), "recompiled")


@own_loop
@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"batch_size": [8, 16], "augmentation": ["none"]}, "batch_size can have no effect on batches"),
        ({"augmentation": ["none", "light"]}, "augmentation can have no effect on batches"),
        ({"augmentation": ["light"]}, "augmentation='light' can have no effect on batches"),
    ],
)
def test_a_hyperparameter_without_effect_on_batches_is_refused(space, message):
    batches = images().train
    with pytest.raises(NoEffectError, match=message):
        fit(Tiny(**space), batches, validation_data=batches, epochs=1)


@own_loop
def test_a_batch_size_in_addition_to_the_tuned_one_ends_the_search(tmp_path):
    train, options = split(48), {"objective": "val_accuracy", "directory": tmp_path, "max_trials": 1}
    with pytest.raises(NoEffectError, match="batch_size can have no effect"):
        keras_tuner.RandomSearch(Tiny(), **options).search(train.images, train.labels, batch_size=4, verbose=0)


@own_loop
@pytest.mark.slow
def test_values_stay_as_asked_so_a_grid_ends_and_no_values_are_tried_twice(tmp_path, monkeypatch):
    # Of 1, 2, 4 and 8 heads the limit allows 2; the values of a trial stay as the tuner asked for them.
    hypermodel = Tiny(num_heads=[1, 2, 4, 8], num_layers=[1], learning_rate=[1e-3], weight_decay=[0.1])
    hypermodel.limits = type(hypermodel.limits)(
        params=hypermodel.compute_costs({**hypermodel.default_values(), "num_heads": 2})["params"]
    )
    history = {"val_accuracy": 0.5}
    monkeypatch.setattr(Tiny, "fit", lambda self, hp, model, *args, **kwargs: model.count_params() and history)
    tuner = keras_tuner.GridSearch(hypermodel, objective="val_accuracy", directory=tmp_path, project_name="grid")
    tuner.search(images(), verbose=0)
    trials = tuner.oracle.trials.values()
    assert sorted(trial.hyperparameters.get("num_heads") for trial in trials) == [1, 2, 4, 8]
    built = [hypermodel.built_values(trial.hyperparameters)["num_heads"] for trial in trials]
    assert sorted(built) == [1, 2, 2, 2]
