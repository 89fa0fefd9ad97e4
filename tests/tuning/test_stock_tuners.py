import keras
import keras_tuner
import numpy as np
import pytest
from tracing import eager_steps
from tuning.hypermodels import Tiny, images, split

from vit_keras.tuning import Choice, ViTHyperModel

own_loop = pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="keras-tuner's own loop is the same on every backend"
)


@own_loop
@pytest.mark.slow
def test_keras_tuner_s_hyperband_searches_the_space_on_arrays(tmp_path):
    hypermodel = Tiny(learning_rate=[1e-3, 3e-3], num_layers=[1])
    tuner = keras_tuner.Hyperband(
        hypermodel, objective="val_accuracy", directory=tmp_path, project_name="search", seed=1, max_epochs=2, factor=2
    )
    train, validation = split(48), split(24)
    with eager_steps():
        tuner.search(train.images, train.labels, validation_data=(validation.images, validation.labels), verbose=0)
    trials = tuner.oracle.get_best_trials(10)
    assert len(trials) >= 2
    assert {trial.status for trial in trials} == {"COMPLETED"}
    assert tuner.get_best_models(1)[0].output_shape == (None, 3)


@own_loop
@pytest.mark.any_backend
def test_image_data_brings_its_validation_and_its_augmentation(tmp_path):
    tuner = keras_tuner.RandomSearch(
        Tiny(), objective="val_accuracy", directory=tmp_path, project_name="search", max_trials=1
    )
    tuner.search(images(), epochs=1, verbose=0)
    assert 0 <= tuner.oracle.get_best_trials(1)[0].score <= 1
    assert tuner.get_best_models(1)[0].output_shape == (None, 3)


@pytest.mark.any_backend
def test_a_model_that_is_too_large_is_reduced_and_the_values_stay_as_asked():
    hypermodel = ViTHyperModel(16, 3, max_params=20_000, space={"num_heads": Choice((1, 2, 4, 8)), "head_dim": [16]})
    values = keras_tuner.HyperParameters()
    hypermodel.declare_hyperparameters(values)
    values.values["num_heads"], values.values["num_layers"] = 8, 12
    model = hypermodel.build(values)
    built = hypermodel.built_values(values)
    count = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert count == hypermodel.compute_costs(built)["params"] <= 20_000
    assert (built["num_heads"], built["num_layers"]) != (8, 12)
    assert (values.get("num_heads"), values.get("num_layers")) == (8, 12)


@pytest.mark.any_backend
def test_declaring_the_space_builds_nothing(monkeypatch):
    monkeypatch.setattr("vit_keras.tuning.space.hypermodel.vit", lambda *given, **named: pytest.fail("built a model"))
    values = keras_tuner.HyperParameters()
    ViTHyperModel(32, 10).declare_hyperparameters(values)
    assert {"num_layers", "num_heads", "learning_rate"} <= values.values.keys()
