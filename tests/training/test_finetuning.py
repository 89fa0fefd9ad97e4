import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from rich.console import Console
from training.weights import changed, values

import vit_keras as vk
from vit_keras.data import Split
from vit_keras.errors import InvalidArgumentError, OutOfMemoryError, ResumeError, StorageError
from vit_keras.models.vit import vit
from vit_keras.training import finetune
from vit_keras.training.model_run import digest_model
from vit_keras.training.recipes.model_choices import is_untrained
from vit_keras.training.recipes.planning import plan_recipe
from vit_keras.training.runs.fitting import Fitting
from vit_keras.training.transfer.freezing import trainable_params
from vit_keras.zoo.preset_directory import load_class_names

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def arrays(data):
    """Returns the first training images with their labels."""
    split = data.splits["train"]
    return lambda count: (split.images[:count], split.labels[:count])


@pytest.fixture(scope="module")
def model(tiny_config):
    """A model with the head of another data set; random weights separate dark from bright well enough."""
    keras.utils.set_random_seed(0)
    return vit(tiny_config.replace(num_layers=1, dropout_rate=0.1), num_classes=5)


def read_record(run):
    return json.loads((run / "run.json").read_text())


def test_a_model_is_fine_tuned_with_default_settings_and_not_changed(model, data, tmp_path, capsys):
    before = digest_model(model)
    run = finetune(model, data, epochs=2, run_dir=tmp_path / "run")
    assert digest_model(model) == before
    assert run.evaluation.accuracy == 1
    assert len(run.history) == 2
    record = read_record(tmp_path / "run")
    assert record == run.record
    assert (record["status"], record["command"], record["base"]) == ("finished", "finetune", before)
    reason = "32 images per class: enough to train all weights, starting from a fitted head"
    assert record["choices"][0] == ["method", "head_first", reason]
    printed = capsys.readouterr().out
    assert f"choice   method head_first: {reason[:30]}" in printed
    assert "choice   epochs 2: as asked" in printed
    assert load_class_names(tmp_path / "run" / "model") == ("dark", "bright")
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert "2 epochs of 4 steps" in (tmp_path / "run" / "model" / "README.md").read_text()


@pytest.fixture(scope="module")
def probed(model, arrays, tmp_path_factory):
    """A finished linear probe; a test that changes it copies it first."""
    run_dir = tmp_path_factory.mktemp("runs") / "probed"
    return finetune(model, arrays(12), arrays(20), method="linear_probe", run_dir=run_dir, console=QUIET)


def test_a_linear_probe_takes_no_steps_and_is_evaluated_on_the_validation_images(model, probed):
    assert (probed.evaluation.accuracy, len(probed.evaluation.labels), probed.history) == (1, 20, [])
    record = read_record(probed.run_directory)
    assert record["recipe"]["steps_per_epoch"] == 1  # of 12 images, fewer than a batch
    assert record["evaluated_on"] == "validation"
    assert record["results"] == {"validation_accuracy": 1}
    assert changed(values(model), values(probed.model)) == {"head/kernel", "head/bias"}


@pytest.mark.any_backend
def test_random_weights_are_reported(model, data, arrays):
    reasons = [choice.reason for choice in plan_recipe(model, data).choices if choice.what == "weights"]
    assert "random weights" in reasons[0]
    trained = vk.rebuild(model)
    trained.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    for _ in range(2):  # the first step changes only the head, which is zero
        trained.train_on_batch(*arrays(16))
    assert not is_untrained(trained)
    assert all(choice.what != "weights" for choice in plan_recipe(trained, data).choices)


@pytest.mark.any_backend
def test_lora_ends_in_a_plain_model_and_is_resumed_from_its_earlier_name(model, data, tmp_path):
    arguments = {"method": "lora", "epochs": 1, "run_dir": tmp_path / "run", "console": QUIET}
    run = finetune(model, data, **arguments)
    before, after = values(model), values(run.model)
    assert before.keys() == after.keys()
    trained = changed(before, after)
    assert "block_00/attention/qkv/kernel" in trained
    assert not any("norm" in path or "patch_encoder" in path for path in trained)
    record = read_record(tmp_path / "run")
    record["recipe"].update(name="adapters", method="adapters", expected="in other words")
    record["options"] = {"method": "adapters"}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    resumed = finetune(model, data, resume=True, **arguments).record
    assert (resumed["recipe"]["name"], resumed["options"]) == ("lora", {"method": "lora"})


def test_the_method_decides_which_weights_train_and_the_head_is_fitted_only_if_no_checkpoint_overwrites_it(model, data):
    for method, trains in (
        ("finetune", lambda path: True),
        ("bias_only", lambda path: path.endswith(("bias", "beta")) or path.startswith("head/")),
        ("last_blocks", lambda path: path.startswith(("block_", "final_norm", "pooling", "head/"))),
    ):
        student = plan_recipe(model, data, method=method).prepare(model)
        expected = {weight.path: int(np.prod(weight.shape)) for weight in student.weights if trains(weight.path)}
        assert {weight.path for weight in student.trainable_weights} == expected.keys()
        assert trainable_params(student) == sum(expected.values())
    recipe = plan_recipe(model, data, method="head_first")
    heads = [recipe.prepare(model, fit_head=fit_head).get_layer("head") for fit_head in (True, False)]
    assert [bool(keras.ops.any(head.kernel != 0)) for head in heads] == [True, False]


@pytest.mark.any_backend
def test_wrong_arguments_are_refused_before_anything_is_written(model, data, arrays, tmp_path):
    split = Split(np.zeros((4, 32, 32, 3), "uint8"), np.arange(4) % 2)
    large = replace(data, splits=dict.fromkeys(data.splits, split))
    (tmp_path / "mine").mkdir()
    size = r"are \(32, 32, 3\) and the model takes \(16, 16, 3\): load them with image_size"
    for arguments, options, error, message in (
        ([large], {}, InvalidArgumentError, size),
        ([data, arrays(8)], {}, InvalidArgumentError, "leave out validation"),
        ([data], {"method": "everything"}, InvalidArgumentError, "Unknown method='everything'"),
        ([data], {"run_dir": None, "resume": True}, InvalidArgumentError, "To resume a run, give its run_dir"),
        ([data], {"run_dir": tmp_path / "mine"}, StorageError, "nothing is overwritten"),
    ):
        with pytest.raises(error, match=message):
            finetune(model, *arguments, **{"run_dir": tmp_path / "run", **options})
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.any_backend
def test_a_run_is_resumed_only_from_the_same_model(model, arrays, probed, tmp_path):
    run_dir = shutil.copytree(probed.run_directory, tmp_path / "run")
    (run_dir / "run.json").write_text(json.dumps({**probed.record, "status": "interrupted"}))
    arguments = {"method": "linear_probe", "run_dir": run_dir, "resume": True, "console": QUIET}
    other = vk.vit(vk.model_config(model), num_classes=5)
    with pytest.raises(ResumeError, match=r"base: .* then, .* now"):
        finetune(other, arrays(12), arrays(20), **arguments)
    assert finetune(model, arrays(12), arrays(20), **arguments).record["status"] == "finished"


@pytest.mark.any_backend
def test_a_batch_that_does_not_fit_in_memory_is_split_with_the_same_result(model, data, tmp_path, monkeypatch):
    class ResourceExhaustedError(Exception):
        """Named as TensorFlow's."""

    fit, limit = Fitting.fit, 8

    def fit_in_little_memory(self, *, resume=False):
        if self.data.batch_size // self.data.parts > limit:
            raise ResourceExhaustedError("OOM when allocating tensor")
        return fit(self, resume=resume)

    def train(folder):
        plain = {"augmentation": "none", "clip_norm": None}  # augmentation is random per batch
        return finetune(model, data, method="finetune", epochs=1, run_dir=folder, console=QUIET, **plain)

    model = vk.rebuild(model, dropout_rate=0.0)
    whole = train(tmp_path / "whole")
    monkeypatch.setattr(Fitting, "fit", fit_in_little_memory)
    split = train(tmp_path / "split")
    assert split.record["parts"] == 2
    assert split.record["recipe"] == whole.record["recipe"]
    weights = values(split.model)
    for name, array in values(whole.model).items():
        np.testing.assert_allclose(weights[name], array, atol=1e-4, err_msg=name)
    limit = 0
    with pytest.raises(OutOfMemoryError, match=r"step with 1 image does not fit in memory \(OOM .*\).*lora"):
        train(tmp_path / "run")
    assert read_record(tmp_path / "run")["parts"] == 16
