import json
from collections import namedtuple

import keras
import numpy as np
import pytest
from pretraining.mean_color import MeanColorMethod
from resuming import StopAt, bit_for_bit
from rich.console import Console

from vit_keras.data import load
from vit_keras.errors import DataError, InvalidArgumentError, ResumeError, StorageError
from vit_keras.models.vit import vit
from vit_keras.pretraining.methods import METHODS
from vit_keras.pretraining.pretrain import pretrain
from vit_keras.training.runs.directory import TrainingInterrupted
from vit_keras.zoo.from_preset import from_preset

pytestmark = pytest.mark.filterwarnings("ignore:Epoch .* nearly equal")  # of a method that learns colors alone
EPOCHS, STEPS = 3, 4  # of the fixture `emoji`


@pytest.fixture(scope="module", autouse=True)
def mean_color():
    """Puts a small method in the place of "mae"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "mae", MeanColorMethod("mae", "", ""))
        yield


@pytest.fixture(scope="module")
def emoji():
    """Images with labels: 68 for pre-training, 4 of which are held out."""
    return load("emoji", image_size=16, limit=36, batch_size=16)


@pytest.fixture(scope="module")
def start(emoji, tiny_config):
    """Returns a function that starts a run, or resumes it."""
    keras.utils.set_random_seed(0)
    base = vit(tiny_config.replace(num_layers=1, stochastic_depth_rate=0.1), num_classes=5)

    def call(folder, *, model=base, images=emoji, **options):
        options = {"epochs": EPOCHS, "average_decay": 0.5, "learning_rate": 1e-2, "batch_size": 16, **options}
        return pretrain(model, images, run_dir=folder, console=Console(quiet=True), **options)

    call.base = base
    return call


@pytest.fixture(scope="module")
def finished(start, tmp_path_factory):
    before = [keras.ops.convert_to_numpy(weight) for weight in start.base.weights]
    result = start(tmp_path_factory.mktemp("runs") / "whole", callbacks=[StopAt()])
    for weight, array in zip(start.base.weights, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), array)
    return result


def test_the_encoder_is_a_preset_directory_without_head(finished):
    run = finished.run_directory
    assert sorted(path.name for path in run.iterdir() if not path.name.startswith(".")) == [
        "figures",
        "metrics.csv",
        "model",
        "report.html",
        "run.json",
    ]
    saved = json.loads((run / "model" / "config.json").read_text())
    assert saved["num_classes"] is None
    assert saved["config"]["stochastic_depth_rate"] == 0.1
    assert "pre-trained on images without labels" in (run / "model" / "README.md").read_text()
    assert finished.encoder.output_shape == (None, 16)
    model = from_preset(run, num_classes=3)
    assert model.output_shape == (None, 3)
    images = np.zeros((1, 16, 16, 3), "uint8")
    features = keras.ops.convert_to_numpy(finished.encoder(images))
    assert np.isfinite(features).all()


def test_the_record_says_what_was_done(finished):
    record, history = finished.record, finished.history
    assert (record["command"], record["status"]) == ("pretrain", "finished")
    assert record["about"] == ["It predicts the mean color of an image."]
    assert record["data"]["images"] == {"train": 68, "validation": 4}
    assert "the labels (8 classes) are not learned; they only measure the features" in record["data"]["decisions"]
    assert record["recipe"]["method"] == "mae"
    measures = {"feature_rank", "feature_uniformity", "knn_accuracy"}
    assert measures | {"loss", "val_loss", "spread", "val_spread"} <= set(history[0])
    assert measures | {f"{name}_before" for name in measures} | {"val_loss"} <= set(record["results"])
    assert record["results"]["val_loss"] == history[-1]["val_loss"]
    assert history[-1]["loss"] < history[0]["loss"]


def test_the_report_shows_pictures_and_what_to_do_next(finished):
    page = (finished.run_directory / "report.html").read_text()
    assert "vit-keras finetune" in page
    assert "training from scratch is likely as good" in page
    assert "data:image/png;base64" in page
    assert "still training" not in page
    assert "<img" in finished._repr_html_()


@bit_for_bit
def test_a_run_killed_in_the_middle_resumes_to_the_same_bits(start, finished, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        start(run, callbacks=[StopAt(6)])
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert "1 epoch of 3, still training" in (run / "report.html").read_text()
    with pytest.raises(ResumeError, match=r"epochs: 3 then, 4 now"):
        start(run, epochs=4, callbacks=[StopAt()], resume=True)
    result = start(run, callbacks=[StopAt()], resume=True)
    files = [folder / "model" / "model.safetensors" for folder in (run, finished.run_directory)]
    assert files[0].read_bytes() == files[1].read_bytes()
    rows = [[{**row, "seconds": 0} for row in each.history] for each in (result, finished)]
    assert rows[0] == rows[1]
    again = start(run, callbacks=[StopAt()], resume=True)  # a finished run is opened
    assert again.record["results"] == result.record["results"]


@pytest.mark.slow
def test_images_without_labels_in_mixed_precision(start, emoji, tiny_preset, tmp_path):
    images = np.asarray(emoji.splits["train"].images)
    options = {"model": tiny_preset, "images": images, "precision": "mixed_bfloat16", "epochs": 1}
    result = start(tmp_path / "run", **options)
    assert result.record["precision"] == "mixed_bfloat16"
    assert result.record["data"]["task"] == "unlabeled"
    assert "knn_accuracy" not in result.record["results"]
    assert ["weights", str(tiny_preset), "pre-training goes on from these"] in result.record["choices"]
    assert {weight.dtype for weight in result.encoder.weights} == {"float32"}


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_it_can_be_resumed(start, finished, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9, 0))
    with pytest.raises(StorageError, match="free"):
        start(tmp_path / "run")
    monkeypatch.undo()
    assert start(tmp_path / "run", resume=True).record["status"] == "finished"


@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "mea"}, InvalidArgumentError, "Did you mean 'mae'"),
        ({"teacher": "vit_tiny_patch16_224"}, InvalidArgumentError, "method='mae' has no teacher"),
        ({"epochs": 0}, InvalidArgumentError, "epochs must be an integer of at least 1"),
        ({"mask_ratio": 1}, InvalidArgumentError, "mask_ratio=1 is not between"),
        ({"mask": 0.5}, InvalidArgumentError, "Did you mean 'mask_ratio'"),
        ({"images": np.zeros((9, 4, 4, 3), "uint8")}, DataError, "4x4 px are too small"),
        ({"images": np.zeros((9, 16, 16, 3), "uint8")}, DataError, "all 9 images are equal"),
        ({"model": "vit_tini_patch16_224"}, InvalidArgumentError, "There is no preset"),
    ],
)
def test_what_is_refused_leaves_no_run(start, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        start(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.any_backend
def test_a_run_directory_that_exists_is_not_touched(start, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StorageError, match="nothing is overwritten"):
        start(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.any_backend
def test_a_method_with_a_teacher_needs_one(start, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "mae", MeanColorMethod("mae", "", "", needs_teacher=True))
    with pytest.raises(InvalidArgumentError, match=r"pass teacher=\.\.\."):
        start(tmp_path / "run")
