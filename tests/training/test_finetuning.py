import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from rich.console import Console

import vit_keras as vk
from vit_keras.data import ImageData, Split
from vit_keras.errors import InvalidArgumentError, OutOfMemoryError, ResumeError, StorageError
from vit_keras.models.vit import vit
from vit_keras.training.finetuning import digest_of, finetune, is_untrained, plan_of, prepared
from vit_keras.training.runs.fitting import Fitting
from vit_keras.training.transfer.freezing import trainable_params
from vit_keras.zoo.preset_directory import load_class_names
from vit_keras.zoo.rebuild import rebuild

QUIET = Console(quiet=True)


def arrays(count, seed=0):
    """Dark images are class 0, bright ones class 1."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % 2
    pixels = rng.integers(0, 100, (count, 16, 16, 3)) + 150 * labels[:, None, None, None]
    return pixels.astype("uint8"), labels


@pytest.fixture(scope="module")
def data():
    splits = {name: Split(*arrays(count)) for name, count in (("train", 64), ("validation", 16), ("test", 16))}
    return ImageData(name="brightness", class_names=("dark", "bright"), splits=splits, batch_size=16)


@pytest.fixture(scope="module")
def model(tiny_config):
    """A model with the head of another data set; random weights tell dark from bright well enough."""
    keras.utils.set_random_seed(0)
    return vit(tiny_config.replace(num_layers=1, dropout_rate=0.1), num_classes=5)


def read_record(run):
    return json.loads((run / "run.json").read_text())


def test_a_model_is_fine_tuned_without_a_knob_and_stays_as_it_was(model, data, tmp_path, capsys):
    before = digest_of(model)
    run = finetune(model, data, epochs=2, run_dir=tmp_path / "run")
    assert digest_of(model) == before
    assert run.evaluation.accuracy == 1
    assert len(run.history) == 2
    record = read_record(tmp_path / "run")
    assert record == run.record
    assert (record["status"], record["command"], record["base"]) == ("finished", "finetune", before)
    reason = "32 images a class are enough to change all weights, from a head that fits already"
    assert record["choices"][0] == ["method", "head_first", reason]
    said = capsys.readouterr().out
    assert "choice   method head_first: 32 images a class are enough" in said
    assert "choice   epochs 2: as asked" in said
    assert load_class_names(tmp_path / "run" / "model") == ("dark", "bright")
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert "2 epochs of 4 steps" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_the_head_alone_is_fitted_in_no_step_and_judged_by_the_validation_images(model, tmp_path):
    run = finetune(
        model, arrays(12), arrays(20, seed=1), method="linear_probe", run_dir=tmp_path / "run", console=QUIET
    )
    assert run.evaluation.accuracy == 1
    assert len(run.evaluation.labels) == 20
    assert run.history == []
    assert read_record(tmp_path / "run")["data"]["notes"] == [
        "the result is that of the validation images, since there are no others"
    ]
    trained = {weight.path: weight for weight in run.model.weights}
    for weight in model.weights:
        if not weight.path.startswith("head/"):
            np.testing.assert_array_equal(trained[weight.path], weight)


def test_a_model_that_was_never_trained_is_said(model, data):
    said = [choice for choice in plan_of(model, data).choices if choice.what == "weights"]
    assert "never trained" in said[0].reason
    trained = rebuild(model)
    trained.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for _ in range(2):  # the first step is the head's, which is zero
        trained.train_on_batch(*arrays(16))
    assert not is_untrained(trained)
    assert all(choice.what != "weights" for choice in plan_of(trained, data).choices)


def test_adapters_end_in_a_plain_model(model, data, tmp_path):
    run = finetune(model, data, method="adapters", epochs=1, run_dir=tmp_path / "run", console=QUIET)
    assert {weight.path for weight in run.model.weights} == {weight.path for weight in model.weights}
    changed = {
        new.path
        for old, new in zip(model.weights, run.model.weights, strict=True)
        if old.shape != new.shape
        or not np.array_equal(keras.ops.convert_to_numpy(old), keras.ops.convert_to_numpy(new))
    }
    assert "block_00/attention/qkv/kernel" in changed
    assert not any("norm" in path or "patch_encoder" in path for path in changed)


@pytest.mark.parametrize(
    ("method", "trains"),
    [
        ("finetune", lambda path: True),
        ("bias_only", lambda path: path.endswith(("bias", "beta")) or path.startswith("head/")),
        ("last_blocks", lambda path: path.startswith(("block_", "final_norm", "pooling", "head/"))),
    ],
)
def test_what_trains_is_what_the_method_says(model, data, method, trains):
    student = prepared(model, data, plan_of(model, data, method=method))
    assert {weight.path for weight in student.trainable_weights} == {
        weight.path for weight in student.weights if trains(weight.path)
    }
    assert trainable_params(student) == sum(int(np.prod(weight.shape)) for weight in student.trainable_weights)


def test_the_head_comes_from_a_probe_only_where_no_checkpoint_fills_it(model, data):
    recipe = plan_of(model, data, method="head_first")
    heads = [prepared(model, data, recipe, probe=probe).get_layer("head") for probe in (True, False)]
    assert [bool(keras.ops.any(head.kernel != 0)) for head in heads] == [True, False]


def test_fewer_images_than_a_batch_make_one(model, tmp_path):
    run = finetune(model, arrays(12), arrays(8), method="linear_probe", run_dir=tmp_path / "run", console=QUIET)
    assert run.record["recipe"]["steps_per_epoch"] == 1


def test_what_does_not_fit_is_refused_before_anything_is_made(model, data, tmp_path):
    large = replace(
        data, splits={name: Split(np.zeros((4, 32, 32, 3), "uint8"), np.arange(4) % 2) for name in data.splits}
    )
    with pytest.raises(
        InvalidArgumentError, match=r"are \(32, 32, 3\) and the model takes \(16, 16, 3\): load them with image_size"
    ):
        finetune(model, large, run_dir=tmp_path / "run")
    with pytest.raises(InvalidArgumentError, match="leave validation out"):
        finetune(model, data, arrays(8), run_dir=tmp_path / "run")
    with pytest.raises(InvalidArgumentError, match="method='everything'"):
        finetune(model, data, method="everything", run_dir=tmp_path / "run")
    with pytest.raises(InvalidArgumentError, match="say which run"):
        finetune(model, data, resume=True)
    (tmp_path / "mine").mkdir()
    with pytest.raises(StorageError, match="nothing is overwritten"):
        finetune(model, data, run_dir=tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_run_goes_on_from_the_same_model_alone(model, tmp_path):
    arguments = {"method": "linear_probe", "run_dir": tmp_path / "run", "console": QUIET}
    finetune(model, arrays(12), arrays(20), **arguments)
    record = read_record(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    other = vk.vit(vk.model_config(model), num_classes=5)
    with pytest.raises(ResumeError, match=r"base: .* then, .* now"):
        finetune(other, arrays(12), arrays(20), resume=True, **arguments)
    assert finetune(model, arrays(12), arrays(20), resume=True, **arguments).record["status"] == "finished"


def test_without_memory_for_a_batch_it_goes_in_parts_to_the_same_effect(model, data, tmp_path, monkeypatch):
    class ResourceExhaustedError(Exception):
        """As TensorFlow's is called."""

    fit = Fitting.fit

    def of_little_memory(self, *, resume=False):
        if self.data.batch_size // self.data.parts > 8:
            raise ResourceExhaustedError("OOM when allocating tensor")
        return fit(self, resume=resume)

    def trained(folder):
        plain = {"augmentation": "none", "clip_norm": None}  # crops are drawn image by image, flips batch by batch
        run = finetune(model, data, method="finetune", epochs=1, run_dir=folder, console=QUIET, **plain)
        return run, {weight.path: keras.ops.convert_to_numpy(weight) for weight in run.model.weights}

    model = rebuild(model, dropout_rate=0.0)
    whole, expected = trained(tmp_path / "whole")
    monkeypatch.setattr(Fitting, "fit", of_little_memory)
    parted, weights = trained(tmp_path / "parted")
    assert parted.record["parts"] == 2
    assert parted.record["recipe"] == whole.record["recipe"]
    for name, array in expected.items():
        np.testing.assert_allclose(weights[name], array, atol=1e-4, err_msg=name)


def test_without_memory_for_one_image_it_says_what_may_help(model, data, tmp_path, monkeypatch):
    def out_of_memory(self, *, resume=False):
        raise MemoryError("no memory")

    monkeypatch.setattr(Fitting, "fit", out_of_memory)
    with pytest.raises(OutOfMemoryError, match=r"no memory for a step of 1 images .*adapters"):
        finetune(model, data, method="finetune", epochs=1, run_dir=tmp_path / "run", console=QUIET)
    assert read_record(tmp_path / "run")["parts"] == 16
