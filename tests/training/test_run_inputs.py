import io
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from training.weights import assert_equal, values

from vit_keras import errors
from vit_keras.data import Preprocessing, load_unlabeled
from vit_keras.errors import CheckpointCorruptError, CorruptFileError, DataError, InvalidArgumentError, ResumeError
from vit_keras.presets import catalog, load_preset
from vit_keras.training import evaluate_run, finetune, train
from vit_keras.training.callbacks.history import read_history
from vit_keras.training.callbacks.progress_bar import ProgressBar
from vit_keras.training.model_run import digest_model
from vit_keras.training.runs.directory import RunDirectory, TrainingInterrupted
from vit_keras.training.runs.lock import RunLock
from vit_keras.training.runs.resuming import recorded_options
from vit_keras.training.runs.session import Session
from vit_keras.training.trainer import default_preset
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.preset_directory import load_class_names

pytestmark = pytest.mark.any_backend

TINY = "tiny_for_tests"


@pytest.fixture(scope="module")
def config(tiny_config):
    """One block, since TensorFlow's tracing takes long, with dropout, whose seeds a resumed run must restore."""
    return tiny_config.replace(num_layers=1, dropout_rate=0.1, attention_dropout_rate=0.1)


@pytest.fixture(scope="module", autouse=True)
def tiny_named(config):
    """The tiny config as a preset."""
    preset = replace(load_preset("vit_pico_patch4_32"), name=TINY, config=config, params=config.num_params)
    catalog.all_presets()[TINY] = preset
    yield
    del catalog.all_presets()[TINY]


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
    return {"epochs": 3, "batch_size": 8, "limit": 28, "seed": 5, "precision": "float32"} | {
        "model": TINY,
        "data": str(folder),
    }


@pytest.fixture(scope="module")
def finished(options, tmp_path_factory):
    """An uninterrupted run; a test that changes it copies it first."""
    return train(**options, run_dir=tmp_path_factory.mktemp("runs") / "whole")


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
    wrong = {"epochs": 0, "batch_size": -1, "limit": 1.5, "seed": -1, "model": "vit_picco", "precision": "half"}
    with pytest.raises(InvalidArgumentError) as caught:
        train(**wrong, recipe="finetune")
    for reason in (
        "epochs must be an integer of at least 1, got 0", "batch_size must", "limit must", "seed must", "no preset 'vit_picco'",
        "vit_pico", "recipe='finetune' is not a recipe for random weights", "precision='half'",
    ):  # fmt: skip
        assert reason in str(caught.value)
    for value in ("3", True, 2.0):
        with pytest.raises(InvalidArgumentError, match="epochs must be an integer"):
            train(epochs=value)


def test_the_default_preset_suits_the_data(folder):
    assert default_preset("emoji") == default_preset("cifar10") == "vit_nano_conv8_32"
    assert default_preset(folder) == default_preset("./emoji") == "vit_nano_conv8_96"


def test_nothing_is_written_if_the_data_are_refused(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        train(**options | {"data": "./nowhere"})
    assert not list(tmp_path.iterdir())


# --- the result


def test_a_run_writes_model_record_figures_report_and_a_row_of_metrics_per_epoch(finished, folder):
    run = finished.run_directory
    assert repr(finished) == f"TrainingResult(run_directory={run!r})"
    assert {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()} == {
        "run.json", "run.toml", "metrics.csv", "model/config.json", "model/model.safetensors", "model/labels.json", "model/README.md",
        "figures/learning_curves.png", "figures/confusion_matrix.png", "figures/predictions.png", "figures/example.png", "report.html", ".lock",
    }  # fmt: skip
    for path in {*(run / "figures").iterdir()} - {run / "figures" / "example.png"}:
        with Image.open(path) as figure:
            assert min(figure.size) > 300
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 40  # nothing is written beside the images
    rows = read_history(run / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"} <= rows[0].keys()
    assert rows[0]["learning_rate"] > rows[2]["learning_rate"]


def test_the_record_describes_the_run(finished, options, config):
    record = json.loads((finished.run_directory / "run.json").read_text())
    assert record == finished.record
    described = {"options": options, "config": config.to_dict(), "status": "finished", "precision": "float32"}
    assert record.items() >= described.items()
    assert record["recipe"]["name"] == "small_images"
    data, environment = record["data"], record["environment"]
    assert (data["class_names"], len(data["fingerprint"])) == (["cat", "dog"], 64)
    assert data["images"] == {"train": 28, "validation": 4, "test": 4}
    assert (environment["backend"], environment["versions"]["keras"]) == (keras.backend.backend(), keras.__version__)
    assert 0 < record["seconds"]["fit"] < record["seconds"]["total"]
    (waited,) = record["waiting"]
    assert 0 < waited["data"] < waited["training"] < record["seconds"]["total"]
    assert waited["processes"] == 0
    assert record["devices"]["count"] == len(record["devices"]["names"]) == 1
    assert record["results"]["test_accuracy"] == finished.evaluation.accuracy
    assert 0 <= record["results"]["nearest_neighbour_accuracy"] <= 1


def test_the_model_is_a_preset_whose_evaluation_can_be_repeated(finished):
    assert load_class_names(finished.run_directory / "model") == ("cat", "dog")
    assert_equal(from_preset(finished.run_directory / "model").get_weights(), finished.model.get_weights())
    before = snapshot(finished.run_directory)
    accuracy = finished.evaluation.accuracy
    assert evaluate_run(finished.run_directory) == {"test_accuracy": accuracy, "recorded": accuracy}
    assert snapshot(finished.run_directory) == before


# --- names in place of objects


def test_a_run_directory_is_fine_tuned_by_name_and_resumed_on_the_command_line(finished, folder, tmp_path, run):
    named = finetune(finished.run_directory, str(folder), method="linear_probe", run_dir=tmp_path / "run", seed=1)
    word = str(finished.run_directory)
    given = {"model": word, "data": str(folder), "method": "linear_probe", "seed": 1, "precision": "auto"}
    assert named.record["options"] == given
    opened = from_preset(finished.run_directory)
    assert named.record["base"] == digest_model(opened)
    before, after = values(opened), values(named.model)
    assert {name for name, value in after.items() if (value != before[name]).any()} <= {"head/kernel", "head/bias"}
    code, out, err = run("finetune", "--resume", "--run-dir", tmp_path / "run")
    assert (code, "already complete" in out) == (0, True), err


def test_train_takes_the_architecture_of_a_directory_with_new_weights(finished, folder, tmp_path):
    again = train(finished.run_directory, folder, epochs=1, limit=8, batch_size=8, run_dir=tmp_path / "run", seed=5)
    assert again.record["config"] == finished.record["config"]
    assert again.record["base"] == finished.record["base"]  # the weights of the same seed
    with pytest.raises(
        InvalidArgumentError, match=r"from random weights.*train test_vit, or fine-tune test_vit:r160_in1k"
    ):
        train("test_vit:r160_in1k", folder)


def test_what_a_model_object_says_itself_is_not_asked_again(finished, folder, tmp_path):
    for options, message in (
        ({"precision": "mixed_float16"}, "this model computes in float32"),
        ({"weights": "augreg"}, "weights='augreg' is for a preset's name"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            finetune(finished.model, folder, run_dir=tmp_path / "run", **options)


def test_a_run_of_objects_is_not_resumed_on_the_command_line(copied, run):
    rewrite_record(copied, status="interrupted", options={})
    code, _, err = run("train", "--resume", "--run-dir", copied)
    assert code == 2
    assert "was started in Python with a model object and a data object: resume it there" in err


# --- interruption and resuming


def assert_same(run, other):
    """Compares the weights and all metrics except the seconds."""
    weights = [(each / "model" / "model.safetensors").read_bytes() for each in (run, other)]
    rows = [[{**row, "seconds": 0} for row in read_history(each / "metrics.csv")] for each in (run, other)]
    assert weights[0] == weights[1]
    assert rows[0] == rows[1]


def interrupt_in_a_step(monkeypatch):
    """Lets Ctrl-C be pressed in the fifth step of an epoch."""
    step = ProgressBar.on_train_batch_end

    def press_control_c(self, batch, logs=None):
        step(self, batch, logs)
        if self.counter.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ProgressBar, "on_train_batch_end", press_control_c)


@pytest.mark.xfail(keras.backend.backend() == "torch", reason="torch is not deterministic bit for bit", strict=False)
@pytest.mark.parametrize("when", ["in a step", pytest.param("in the evaluation", marks=pytest.mark.slow)])
def test_an_interrupted_run_is_resumed_to_the_same_result(finished, options, tmp_path, monkeypatch, when):
    run = tmp_path / "run"

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if when == "in a step":
            interrupt_in_a_step(patch)
        else:
            patch.setattr("vit_keras.training.runs.session.evaluate", interrupt)
        with pytest.raises(TrainingInterrupted) as caught:
            train(**options, run_dir=run)
    assert caught.value.run_directory == run
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    resumed = train(**options, run_dir=run, resume=True)
    assert_same(run, finished.run_directory)
    assert resumed.record["results"] == finished.record["results"]
    left, expected = ({path.relative_to(root) for path in root.rglob("*")} for root in (run, finished.run_directory))
    assert left - {Path("checkpoints")} == expected - {Path("checkpoints")}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow divides steps")
def test_a_resumed_run_divides_its_steps_as_before_whatever_this_process_would_do(
    options, divide, tmp_path, monkeypatch
):
    divide(2)
    train(**options, run_dir=tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_in_a_step(patch)
        with pytest.raises(TrainingInterrupted):
            train(**options, run_dir=tmp_path / "run")
    divide(1)
    resumed = train(**options, run_dir=tmp_path / "run", resume=True)
    assert resumed.record["environment"]["parallel_operations"] == 2
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_an_existing_folder_is_not_changed_and_only_run_directories_are_resumed(options, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    before = snapshot(tmp_path)
    existing = "run exists, and nothing is overwritten: choose another --run-dir, add --resume"
    for name, resume, message in (
        ("run", False, existing),
        ("run", True, "run is not a run directory"),
        ("nowhere", True, "nowhere is not a run directory"),
    ):
        with pytest.raises(errors.StorageError, match=message):
            train(**options, run_dir=tmp_path / name, resume=resume)
        assert snapshot(tmp_path) == before
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_resuming_a_finished_run_returns_its_result(copied, options, finished):
    before, printed = snapshot(copied), io.StringIO()
    result = train(**options, run_dir=copied, resume=True, console=Console(file=printed, width=200))
    assert "copied is already complete" in printed.getvalue()
    assert result.record == finished.record
    assert result.evaluation.accuracy == finished.evaluation.accuracy
    assert snapshot(copied) == before


def test_a_run_that_was_started_with_something_else_is_not_resumed(copied, options):
    then = {"options": {**options, "epochs": 4, "seed": 6}}
    original = (copied / "run.json").read_bytes()
    cases = [(then, r"other options \(epochs: 4 then, 3 now; seed: 6 then, 5 now\)")]
    names = ("data", "recipe", "precision", "config")
    cases += [({name: "another"}, f"cannot be resumed, .*: {name}: 'another' then, .* now") for name in names]
    for recorded, message in cases:
        (copied / "run.json").write_bytes(original)
        rewrite_record(copied, status="interrupted", **recorded)
        before = snapshot(copied)
        with pytest.raises(ResumeError, match=message):
            train(**options, run_dir=copied, resume=True)
        assert snapshot(copied) == before


def test_a_run_is_resumed_under_other_versions_only_with_force(copied, options, finished):
    environment = {**finished.record["environment"], "backend": "other"}
    environment["versions"] = {**environment["versions"], "keras": "2.0"}
    rewrite_record(copied, environment=environment)
    message = f"backend: 'other' then, '{keras.backend.backend()}' now; keras: '2.0' then.* --force-resume"
    with pytest.raises(ResumeError, match=message):
        train(**options, run_dir=copied, resume=True)
    resumed = train(**options, run_dir=copied, resume=True, force_resume=True)
    assert resumed.record["status"] == "finished"


def test_a_damaged_or_incomplete_record_is_refused(options, finished, tmp_path):
    def assert_refused(content, use):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(CorruptFileError, match=r"run\.json"):
            use()

    for content in ("", "[]", '{"status": "interrupted"}', '{"status": "interrupted", "options": []}'):
        assert_refused(content, lambda: train(**options, run_dir=tmp_path, resume=True))
    for name in ("data", "results", "options"):
        record = {key: value for key, value in finished.record.items() if key != name}
        assert_refused(json.dumps(record), lambda: evaluate_run(tmp_path))


def test_options_of_another_version_or_command_are_refused(copied):
    resume = "run of `vit-keras finetune`; resume it with `vit-keras finetune --resume"
    for changes, error, message in (
        ({"options": {"new_option": 1}}, CorruptFileError, "new_option"),
        ({"command": "finetune"}, ResumeError, resume),
    ):
        rewrite_record(copied, **changes)
        with pytest.raises(error, match=message):
            recorded_options(RunDirectory(copied), "train", ["model", "data"])


def test_a_second_process_is_refused_and_damaged_checkpoints_are_named_and_nothing_is_trained(copied, options):
    rewrite_record(copied, status="interrupted")
    with RunLock(copied), pytest.raises(errors.RunLockedError, match=f"{os.getpid()}"):
        train(**options, run_dir=copied, resume=True)
    shutil.rmtree(copied / "model")
    (copied / "checkpoints" / "step-00000003").mkdir(parents=True)
    (copied / "checkpoints" / "step-00000003" / "manifest.json").write_text("{")
    with pytest.raises(CheckpointCorruptError, match="step-00000003"):
        train(**options, run_dir=copied, resume=True)
    assert not (copied / "model").exists()


def test_changed_images_and_an_unfinished_run_are_not_evaluated(copied, finished):
    changed = {"data": {**finished.record["data"], "fingerprint": "0" * 64}}
    for changes, message in (
        (changed, "have changed since .*copied was trained"),
        ({"status": "interrupted"}, "is not finished; resume it with `vit-keras train --resume --run-dir"),
    ):
        rewrite_record(copied, **changes)
        with pytest.raises(ResumeError, match=message):
            evaluate_run(copied)


def test_the_default_run_directory_has_the_name_of_the_data(options, tmp_path, monkeypatch):
    def interrupt(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "_fit", interrupt)
    (tmp_path / "runs" / "pets-1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(**options)
    assert Path("runs", "pets-2", "run.json").is_file()


def test_a_run_on_a_table_records_how_it_was_read(options, folder, tmp_path):
    table = tmp_path / "table.csv"
    rows = [f"{path.relative_to(folder)};{path.parent.name};{path.stem}" for path in sorted(folder.rglob("*.png"))]
    table.write_text("\n".join(["where;what;label", *rows]))
    reading = {"image_dir": str(folder), "image_column": "where", "label_column": ["what"]}
    options = {**options, "data": str(table), "epochs": 1, **reading}
    result = train(**options, run_dir=tmp_path / "run")
    assert load_class_names(tmp_path / "run" / "model") == ("cat", "dog")
    assert {name: result.record["options"][name] for name in reading} == reading
    assert recorded_options(RunDirectory(tmp_path / "run"), "train", options) == options
    assert evaluate_run(tmp_path / "run")["test_accuracy"] == result.record["results"]["test_accuracy"]
    assert train(**options, run_dir=tmp_path / "run", resume=True).record == result.record
    with pytest.raises(ResumeError, match="label_column"):
        train(**{**options, "label_column": "label"}, run_dir=tmp_path / "run", resume=True)


def test_images_without_labels_are_refused():
    images = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), "uint8")
    data = load_unlabeled(images, preprocessing=Preprocessing(image_size=(16, 16)))
    with pytest.raises(InvalidArgumentError, match=r"arrays has no labels.* vk\.pretrain learns from images alone"):
        train("test_vit", data)
