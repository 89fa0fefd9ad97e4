import csv
import io
import json
import os
import shutil
import signal
from dataclasses import asdict, replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from vit_keras.errors import (
    CheckpointCorruptError,
    CorruptFileError,
    DataError,
    InvalidArgumentError,
    ResumeError,
    RunLockedError,
    StorageError,
)
from vit_keras.presets import catalogue, load_preset
from vit_keras.training import evaluate_run
from vit_keras.training.callbacks.history import read_history
from vit_keras.training.callbacks.progress_bar import ProgressBar
from vit_keras.training.preset_runs import TrainingOptions, train_preset
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.lock import RunLock
from vit_keras.training.runs.resuming import recorded_options
from vit_keras.training.runs.session import Session, TrainingInterrupted
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.preset_directory import load_class_names

TINY = "tiny_for_tests"


@pytest.fixture(scope="module")
def config(tiny_config):
    """One block, since TensorFlow's tracing takes long, with dropout, whose seeds a resumed run must restore."""
    return tiny_config.replace(num_layers=1, dropout_rate=0.1, attention_dropout_rate=0.1)


@pytest.fixture(scope="module", autouse=True)
def tiny_named(config):
    """The tiny config as a preset."""
    preset = replace(load_preset("vit_pico_patch4_32"), name=TINY, config=config, params=config.num_params)
    catalogue._presets()[TINY] = preset
    yield
    del catalogue._presets()[TINY]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("data") / "pets", np.random.default_rng(1)
    for name, low in (("cat", 0), ("dog", 128)):
        (root / name).mkdir(parents=True)
        for index in range(20):
            pixels = rng.integers(low, low + 128, (16, 16, 3)).astype("uint8")
            Image.fromarray(pixels).save(root / name / f"{index:02d}.png")
    return root


@pytest.fixture(scope="module")
def options(folder):
    return TrainingOptions(data=str(folder), preset=TINY, epochs=3, batch_size=8, limit=28, seed=5, precision="float32")


@pytest.fixture(scope="module")
def finished(options, tmp_path_factory):
    """An uninterrupted run; a test that changes it copies it first."""
    return train_preset(options, run_dir=tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished.run_directory, tmp_path / "copied")


def rewrite_record(run, **changes):
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, **changes}))


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


# --- options


def test_every_wrong_option_is_refused_at_once():
    wrong = {"epochs": 0, "batch_size": -1, "limit": 1.5, "seed": -1, "preset": "vit_picco", "precision": "half"}
    with pytest.raises(InvalidArgumentError) as caught:
        TrainingOptions(**wrong, recipe="finetune")
    message = str(caught.value)
    for reason in (
        "epochs must be an integer of at least 1, got 0", "batch_size must", "limit must", "seed must", "no preset 'vit_picco'",
        "vit_pico", "recipe='finetune' is not a recipe for random weights", "precision='half'",
    ):  # fmt: skip
        assert reason in message


@pytest.mark.parametrize("value", ["3", True, None, 2.0])
def test_other_epochs_than_integers_are_refused(value):
    with pytest.raises(InvalidArgumentError, match="epochs must be an integer"):
        TrainingOptions(epochs=value)


def test_defaults_come_from_the_preset_and_the_data(options, folder):
    assert options.recipe == load_preset(TINY).recipe
    assert replace(options, recipe="deit").recipe == "deit"
    assert TrainingOptions().preset == "vit_nano_conv8_32"
    assert TrainingOptions(data=folder).preset == "vit_nano_conv8_96"
    assert replace(options, data=folder) == options


@pytest.mark.parametrize(
    ("change", "message"),
    [({"data": "./nowhere"}, "no such folder"), ({"batch_size": 1000}, "cannot fill a batch of 1000")],
)
def test_nothing_is_written_if_the_data_are_refused(options, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        train_preset(replace(options, **change))
    assert not list(tmp_path.iterdir())


# --- the result


def test_a_run_writes_model_record_metrics_report_and_figures(finished, folder):
    run = finished.run_directory
    assert repr(finished) == f"TrainingResult(run_directory={run!r})"
    assert {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()} == {
        "run.json", "metrics.csv", "model/config.json", "model/model.safetensors", "model/labels.json", "model/README.md",
        "figures/learning_curves.png", "figures/confusion_matrix.png", "figures/predictions.png", "report.html", ".lock",
    }  # fmt: skip
    for path in (run / "figures").iterdir():
        with Image.open(path) as figure:
            assert min(figure.size) > 300
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 40  # nothing is written beside the images


def test_the_record_describes_the_run(finished, options, config):
    record = json.loads((finished.run_directory / "run.json").read_text())
    assert record == finished.record
    assert record["status"] == "finished"
    assert record["options"] == asdict(options)
    assert record["precision"] == "float32"
    assert record["config"] == config.to_dict()
    assert record["recipe"]["name"] == "small_images"
    assert record["data"]["class_names"] == ["cat", "dog"]
    assert record["data"]["images"] == {"train": 28, "validation": 4, "test": 4}
    assert len(record["data"]["fingerprint"]) == 64
    assert record["environment"]["backend"] == keras.backend.backend()
    assert record["environment"]["versions"]["keras"] == keras.__version__
    assert 0 < record["seconds"]["fit"] < record["seconds"]["total"]
    assert record["results"]["test_accuracy"] == finished.evaluation.accuracy
    assert 0 <= record["results"]["nearest_neighbour_accuracy"] <= 1


def test_the_metrics_have_a_row_per_epoch(finished):
    with (finished.run_directory / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"} <= rows[0].keys()
    assert float(rows[0]["learning_rate"]) > float(rows[2]["learning_rate"])


def test_the_model_is_a_preset_whose_evaluation_can_be_repeated(finished):
    assert load_class_names(finished.run_directory / "model") == ("cat", "dog")
    loaded = from_preset(finished.run_directory / "model")
    for old, new in zip(finished.model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    before = snapshot(finished.run_directory)
    accuracy = finished.evaluation.accuracy
    assert evaluate_run(finished.run_directory) == {"test_accuracy": accuracy, "recorded": accuracy}
    assert snapshot(finished.run_directory) == before


# --- interruption and resuming


def assert_same(run, other):
    """Compares the weights and all metrics except the seconds."""
    weights, rows = (
        [each / "model" / "model.safetensors" for each in (run, other)],
        [read_history(each / "metrics.csv") for each in (run, other)],
    )
    assert weights[0].read_bytes() == weights[1].read_bytes()
    first, second = ([{**row, "seconds": 0} for row in table] for table in rows)
    assert first == second


@pytest.mark.slow
def test_two_runs_with_one_seed_are_equal_bit_for_bit(finished, options, tmp_path):
    other = train_preset(options, run_dir=tmp_path / "other")
    assert_same(tmp_path / "other", finished.run_directory)
    assert other.record["results"] == finished.record["results"]


@pytest.mark.xfail(keras.backend.backend() == "torch", reason="torch is not deterministic bit for bit", strict=False)
@pytest.mark.parametrize("when", ["in a step", pytest.param("in the evaluation", marks=pytest.mark.slow)])
def test_an_interrupted_run_is_resumed_to_the_result_of_an_uninterrupted_one(
    finished, options, tmp_path, monkeypatch, when
):
    run = tmp_path / "run"
    step = ProgressBar.on_train_batch_end

    def press_control_c(self, batch, logs=None):
        step(self, batch, logs)
        if self.counter.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if when == "in a step":
            patch.setattr(ProgressBar, "on_train_batch_end", press_control_c)
        else:
            patch.setattr("vit_keras.training.runs.session.evaluate", interrupt)
        with pytest.raises(TrainingInterrupted) as caught:
            train_preset(options, run_dir=run)
    assert caught.value.run_directory == run
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    resumed = train_preset(options, run_dir=run, resume=True)
    assert_same(run, finished.run_directory)
    assert resumed.record["results"] == finished.record["results"]
    left, expected = ({path.relative_to(root) for path in root.rglob("*")} for root in (run, finished.run_directory))
    assert left - {Path("checkpoints")} == expected - {Path("checkpoints")}


def test_an_existing_folder_is_refused_and_not_changed(options, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(StorageError, match=r"run exists, and nothing is overwritten: choose another --run-dir, or add --resume"):  # fmt: skip
        train_preset(options, run_dir=tmp_path / "run")
    assert snapshot(tmp_path) == before


def test_resuming_a_finished_run_returns_its_result(copied, options, finished):
    before, printed = snapshot(copied), io.StringIO()
    result = train_preset(options, run_dir=copied, resume=True, console=Console(file=printed, width=200))
    assert "copied is already complete" in printed.getvalue()
    assert result.record == finished.record
    assert result.evaluation.accuracy == finished.evaluation.accuracy
    assert snapshot(copied) == before


@pytest.mark.parametrize(
    ("recorded", "message"),
    [
        ({"options": {"epochs": 4, "seed": 6}}, r"other options \(epochs: 4 then, 3 now; seed: 6 then, 5 now\)"),
        ({"data": "another"}, "cannot be resumed, .*: data: 'another' then, .* now"),
        ({"recipe": "another"}, "cannot be resumed, .*: recipe: 'another' then, .* now"),
        ({"precision": "another"}, "cannot be resumed, .*: precision: 'another' then, .* now"),
        ({"config": "another"}, "cannot be resumed, .*: config: 'another' then, .* now"),
    ],
)
def test_a_run_that_was_started_with_something_else_is_not_resumed(copied, options, recorded, message):
    if "options" in recorded:
        recorded = {"options": {**asdict(options), **recorded["options"]}}
    rewrite_record(copied, status="interrupted", **recorded)
    before = snapshot(copied)
    with pytest.raises(ResumeError, match=message):
        train_preset(options, run_dir=copied, resume=True)
    assert snapshot(copied) == before


def test_a_run_is_resumed_under_other_versions_only_with_force(copied, options, finished):
    environment = {**finished.record["environment"], "backend": "other"}
    environment["versions"] = {**environment["versions"], "keras": "2.0"}
    rewrite_record(copied, environment=environment)
    message = f"backend: 'other' then, '{keras.backend.backend()}' now; keras: '2.0' then.* --force-resume"
    with pytest.raises(ResumeError, match=message):
        train_preset(options, run_dir=copied, resume=True)
    resumed = train_preset(options, run_dir=copied, resume=True, force_resume=True)
    assert resumed.record["status"] == "finished"


def test_a_second_process_is_refused(copied, options):
    rewrite_record(copied, status="interrupted")
    with RunLock(copied), pytest.raises(RunLockedError, match=f"{os.getpid()}"):
        train_preset(options, run_dir=copied, resume=True)


def test_only_run_directories_are_resumed(options, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("nowhere", "empty"):
        with pytest.raises(StorageError, match=f"{name} is not a run directory"):
            train_preset(options, run_dir=tmp_path / name, resume=True)
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("content", ["", "[]", '{"status": "interrupted"}', '{"status": "interrupted", "options": []}'])
def test_a_damaged_record_is_refused(options, tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(CorruptFileError, match=r"run\.json"):
        train_preset(options, run_dir=tmp_path, resume=True)


@pytest.mark.parametrize("missing", ["data", "results", "options"])
def test_a_record_with_a_missing_entry_is_refused(copied, missing):
    record = json.loads((copied / "run.json").read_text())
    del record[missing]
    (copied / "run.json").write_text(json.dumps(record))
    with pytest.raises(CorruptFileError, match=r"run\.json"):
        evaluate_run(copied)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"options": {"new_option": 1}}, CorruptFileError, "new_option"),
        (
            {"command": "finetune"},
            ResumeError,
            "run of `vit-keras finetune`; resume it with `vit-keras finetune --resume",
        ),
    ],
)
def test_options_of_another_version_or_command_are_refused(copied, changes, error, message):
    rewrite_record(copied, **changes)
    with pytest.raises(error, match=message):
        recorded_options(RunDirectory(copied), TrainingOptions)


def test_damaged_checkpoints_are_named_and_nothing_is_trained(copied, options):
    rewrite_record(copied, status="interrupted")
    shutil.rmtree(copied / "model")
    (copied / "checkpoints" / "step-00000003").mkdir(parents=True)
    (copied / "checkpoints" / "step-00000003" / "manifest.json").write_text("{")
    with pytest.raises(CheckpointCorruptError, match="step-00000003"):
        train_preset(options, run_dir=copied, resume=True)
    assert not (copied / "model").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "interrupted"}, "is not finished; resume it with `vit-keras train --resume --run-dir"),
        ({"data": {"fingerprint": "0" * 64}}, "have changed since .*copied was trained"),
    ],
)
def test_an_unfinished_run_and_changed_images_are_not_evaluated(copied, finished, changes, message):
    if "data" in changes:
        changes = {"data": {**finished.record["data"], **changes["data"]}}
    rewrite_record(copied, **changes)
    with pytest.raises(ResumeError, match=message):
        evaluate_run(copied)


@pytest.mark.parametrize(("data", "name"), [(None, "pets-2"), (".", "birds-1")])
def test_the_default_run_directory_has_the_name_of_the_data(options, folder, tmp_path, monkeypatch, data, name):
    def interrupt(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "_fitting", interrupt)
    (tmp_path / "runs" / "pets-1").mkdir(parents=True)
    monkeypatch.chdir(shutil.copytree(folder, tmp_path / "birds") if data == "." else tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_preset(replace(options, data=data or options.data))
    assert Path("runs", name, "run.json").is_file()
