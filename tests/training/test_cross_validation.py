"""Cross-validation: mean and spread from the folds' own runs; resumed after an interruption."""

import json

import keras
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tracing import eager_steps

import vit_keras as vk
from vit_keras.errors import ResumeError
from vit_keras.evaluation.evaluate import evaluate
from vit_keras.models.vit import vit
from vit_keras.training import finetune, train
from vit_keras.training.runs.directory import TrainingInterrupted

pytestmark = [pytest.mark.any_backend, pytest.mark.filterwarnings("ignore:Even though the `tf.config")]

QUIET = Console(quiet=True)


@pytest.fixture(scope="module", autouse=True)
def untraced():
    with eager_steps():
        yield


@pytest.fixture(scope="module")
def model(tiny_config):
    keras.utils.set_random_seed(0)
    return vit(tiny_config.replace(num_layers=1))


@pytest.fixture(scope="module")
def images(make_data):
    return make_data(32, gap=20, batch_size=8)


@pytest.fixture(scope="module")
def validated(model, images, tmp_path_factory):
    return finetune(
        model, images, method="linear_probe", folds=3, run_dir=tmp_path_factory.mktemp("cv") / "run", console=QUIET
    )


@pytest.mark.slow
def test_the_result_is_on_every_image_once(validated, images):
    assert len(validated.evaluation.labels) == sum(images.sizes.values()) == 64
    folds = [
        json.loads((validated.run_directory / "folds" / str(number) / "run.json").read_text()) for number in (1, 2, 3)
    ]
    accuracies = [fold["results"]["test_accuracy"] for fold in folds]
    results = validated.record["results"]
    assert results["fold_accuracy_values"] == accuracies
    np.testing.assert_allclose(results["fold_accuracy_mean"], np.mean(accuracies))
    np.testing.assert_allclose(results["fold_accuracy_std"], np.std(accuracies, ddof=1))
    counts = [fold["data"]["images"]["test"] for fold in folds]
    np.testing.assert_allclose(results["test_accuracy"], np.average(accuracies, weights=counts))
    assert (validated.record["folds"], validated.record["evaluated_on"]) == (3, "test")


@pytest.mark.slow
def test_report_and_model_card_say_how_it_was_measured(validated):
    report = (validated.run_directory / "report.html").read_text()
    assert "mean and standard deviation over 3 folds" in report
    card = (validated.run_directory / "model" / "README.md").read_text()
    assert (
        "Evaluated on 64 test images, each of them by one of 3 models, trained without it (cross-validation)." in card
    )
    assert "cross-validation with 3 folds of all 64 images" in card


@pytest.mark.slow
def test_the_saved_model_predicts(validated, images):
    assert len(vk.predict(validated.run_directory, images.splits["test"].images)) == 16
    assert evaluate(validated.run_directory, images).accuracy > 0.5


@pytest.mark.slow
def test_an_interrupted_cross_validation_resumes_to_the_same_result(model, images, validated, tmp_path, monkeypatch):
    how = {"method": "linear_probe", "folds": 3, "run_dir": tmp_path / "run", "console": QUIET}
    original = vk.training.runs.session.evaluate
    calls = []

    def interrupt(*args, **options):
        calls.append(args)
        if len(calls) == 2:  # in the second fold
            raise KeyboardInterrupt
        return original(*args, **options)

    monkeypatch.setattr("vit_keras.training.runs.session.evaluate", interrupt)
    with pytest.raises(TrainingInterrupted) as caught:
        finetune(model, images, **how)
    assert caught.value.run_directory == tmp_path / "run"
    monkeypatch.undo()
    with pytest.raises(ResumeError, match="folds: 3 then, 4 now"):
        finetune(model, images, **{**how, "folds": 4}, resume=True)
    resumed = finetune(model, images, **how, resume=True)
    np.testing.assert_array_equal(resumed.evaluation.probabilities, validated.evaluation.probabilities)
    assert resumed.record["results"] == validated.record["results"]
    assert finetune(model, images, **how, resume=True).record == resumed.record


@pytest.mark.slow
def test_a_model_is_trained_from_scratch_in_folds_with_a_complete_recipe(model, images, tmp_path):
    recipe = vk.recipes.small_images(model, images, epochs=1)
    result = train(model, images, recipe=recipe, folds=2, run_dir=tmp_path / "run", console=QUIET)
    assert len(result.evaluation.labels) == 64
    assert 0 <= result.record["results"]["nearest_neighbour_accuracy"] <= 1


def test_without_a_test_split_the_result_is_on_the_validation_images(model, images, tmp_path):
    split = images.splits["train"]
    data = vk.data.load((split.images, split.labels), split=(0.25, 0), batch_size=8)
    assert set(data.splits) == {"train", "validation"}
    result = finetune(model, data, method="linear_probe", run_dir=tmp_path / "run", console=QUIET)
    assert len(result.evaluation.labels) == data.sizes["validation"] == 8
    assert result.record["evaluated_on"] == "validation"
    assert "validation_accuracy" in result.record["results"]
    assert "test_accuracy" not in result.record["results"]
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "Evaluated on 8 validation images, which also chose the best epoch" in card
    with pytest.raises(vk.errors.InvalidArgumentError, match='no test split: pass split="validation"'):
        vk.evaluate(tmp_path / "run", data, split="test")
    assert vk.evaluate(tmp_path / "run", data).accuracy == result.evaluation.accuracy


@pytest.mark.slow
def test_the_command_line_cross_validates_and_evaluates_again(run, tiny_preset, image_folder, tmp_path):
    how = ("--method", "linear_probe", "--folds", "2", "--run-dir", tmp_path / "run")
    code, out, err = run("finetune", tiny_preset, image_folder, *how)
    assert code == 0, err
    assert "cross-validation with 2 folds of all 11 images" in out
    assert "fold 2 of 2" in out
    assert "2 folds" in out.rsplit("test accuracy", 1)[1]
    code, out, err = run("evaluate", tmp_path / "run", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["test_accuracy"] == result["recorded"]
    code, out, err = run("finetune", "--resume", "--run-dir", tmp_path / "run")
    assert code == 0, err
    assert "already complete" in out


@pytest.mark.slow
def test_the_command_line_leaves_out_the_test_split(run, tiny_preset, image_folder, tmp_path):
    how = ("--method", "linear_probe", "--split", "0.2", "0", "--run-dir", tmp_path / "run")
    code, out, err = run("finetune", tiny_preset, image_folder, *how)
    assert code == 0, err
    assert "9 train, 2 validation images" in out
    assert "no test split: results are on the validation images" in out
    assert "validation accuracy" in out
    code, out, _ = run("evaluate", tmp_path / "run", "--json")
    assert code == 0
    result = json.loads(out)
    assert result["validation_accuracy"] == result["recorded"]


def test_a_folder_of_floats_keeps_its_range_with_the_model(tiny_preset, tmp_path):
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0.0), ("light", 0.5)):
        (tmp_path / "scans" / name).mkdir(parents=True)
        for number in range(8):
            values = rng.uniform(low, low + 0.5, (16, 16)).astype("float32")
            Image.fromarray(values).save(tmp_path / "scans" / name / f"{number}.tif")
    data = vk.data.load(tmp_path / "scans", image_size=16, pixel_range=(0, 1))
    result = finetune(vk.from_preset(tiny_preset), data, method="linear_probe", run_dir=tmp_path / "run", console=QUIET)
    split = data.splits["test"]
    paths = [split.files.name(index) for index in range(len(split))]
    by_file = vk.predict(tmp_path / "run", paths)
    by_pixels = result.model.predict(np.stack([split.image(index) for index in range(len(split))]), verbose=0)
    assert [each.classes[0] for each in by_file] == [data.class_names[place] for place in by_pixels.argmax(axis=1)]
