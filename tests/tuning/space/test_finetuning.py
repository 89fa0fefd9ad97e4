import pickle

import numpy as np
import pytest
from tuning.hypermodels import images

from vit_keras import from_preset
from vit_keras.data.augment.augmentation import resolve_augmentation
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.wiring import read_model
from vit_keras.training.recipes.planning import plan_finetuning
from vit_keras.tuning import Choice, FinetuningHyperModel, ViTHyperModel
from vit_keras.tuning.space import latency
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.workers.trial_training import TrialTrainer


@pytest.fixture
def hypermodel(tiny_preset):
    return FinetuningHyperModel(tiny_preset, 3, space={"batch_size": [8], "image_size": [16, 24]})


def test_what_finetune_would_do_is_tried_first(hypermodel):
    values = hypermodel.default_values()
    planned = plan_finetuning(np.arange(3), hypermodel.config, num_classes=3, steps_per_epoch=1, method="head_first")
    named = {name: getattr(planned, name) for name in ("method", "learning_rate", "layer_decay", "weight_decay")}
    assert values == {**named, "batch_size": 8, "augmentation": "moved", "image_size": 16}
    assert resolve_augmentation("moved") == planned.augmentation
    assert not hypermodel.find_problems(values)
    assert hypermodel.space.has(values)


@pytest.mark.parametrize(("method", "side"), [("head_first", 16), ("lora", 24)])
def test_each_method_and_resolution_is_trained_and_kept(hypermodel, tmp_path, method, side):
    values = {**hypermodel.default_values(), "method": method, "image_size": side}
    trainer = TrialTrainer(hypermodel, hypermodel.load_data(images(24)), epochs=1)
    rows = []
    assert trainer.train(values, until=1, folder=tmp_path, on_epoch=lambda *row: rows.append(row[1]) is None)
    assert 0 <= rows[0]["val_accuracy"] <= 1
    kept = from_preset(tmp_path / "model")
    assert kept.input_shape == (None, side, side, 3)
    assert type(read_model(kept).blocks[0]).__name__ == "TransformerBlock"  # adapters were merged


def test_samples_are_ways_to_fine_tune(hypermodel):
    pairs = hypermodel.sample(40, seed=1)
    assert {values["method"] for values, _ in pairs} > {"finetune", "lora"}
    assert {config.image_size for _, config in pairs} == {(16, 16), (24, 24)}
    recipe = hypermodel.make_recipe(pairs[0][0], epochs=4, steps_per_epoch=3)
    assert (recipe.epochs, recipe.learning_rate) == (4, pairs[0][0]["learning_rate"])


def test_a_dimension_that_fine_tuning_has_not_is_refused(tiny_preset):
    with pytest.raises(InvalidArgumentError, match="num_layers"):
        FinetuningHyperModel(tiny_preset, 3, space={"num_layers": Choice((1, 2))})


def test_a_limit_of_latency_is_measured_once_a_shape(monkeypatch):
    strict = ViTHyperModel(16, 3, max_latency=1e-9, space={"num_layers": [1], "num_heads": [1], "head_dim": [8], "stem": ["patch"]})  # fmt: skip
    values = strict.default_values()
    assert "ms per image is over the limit" in strict.find_problems(values)[0]
    assert strict.compute_costs(values)["latency"] > 1e-6
    monkeypatch.setattr(latency, "_time_prediction", lambda config, num_classes: pytest.fail("measured again"))
    for changed in ({"learning_rate": 1e-3}, {"stochastic_depth_rate": 0.3}):
        assert strict.find_problems({**values, **changed})


def test_a_resumed_search_finds_the_latencies_it_measured(tmp_path, tiny_config, monkeypatch):
    path = tmp_path / "run" / "latencies.jsonl"
    first = latency.Latencies()
    first.store_in(Journal(path))
    seconds = first.measure(tiny_config, num_classes=3)
    monkeypatch.setattr(latency, "_time_prediction", lambda config, num_classes: pytest.fail("measured again"))
    again = latency.Latencies()
    again.store_in(Journal(path))
    for each in (again, pickle.loads(pickle.dumps(again))):
        assert each.measure(tiny_config, num_classes=3) == seconds
