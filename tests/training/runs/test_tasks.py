"""Runs on several labels per image and on numbers, from data to prediction."""

import json

import keras
import numpy as np
import pytest
from pages import Page, assert_needs_nothing_else
from rich.console import Console
from sklearn.metrics import average_precision_score, f1_score, mean_absolute_error, r2_score

import vit_keras as vk
from vit_keras.errors import InvalidArgumentError, LabelError
from vit_keras.training.runs.directory import TrainingInterrupted

QUIET = Console(quiet=True)
NAMES = ("red", "green", "blue")
CONFIG = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)


def make_images(count=160):
    """Images with a bar of each color that their tags name, and noise."""
    rng = np.random.default_rng(0)
    tags = (rng.random((count, 3)) < [0.5, 0.4, 0.3]).astype("uint8")
    images = rng.integers(0, 120, (count, 16, 16, 3))
    for color in range(3):
        images[tags[:, color] == 1, :, 5 * color : 5 * color + 4, color] += 110
    return images.astype("uint8"), tags


def make_numbers(images):
    """A large number with a small spread, and a small one."""
    return np.stack([1000 + images[..., 0].mean((1, 2)), images[..., 2].mean((1, 2)) / 1e4], axis=1)


@pytest.fixture(scope="module")
def tagged():
    return vk.data.load(make_images(), class_names=NAMES, batch_size=16)


@pytest.fixture(scope="module")
def numbered():
    images, _ = make_images()
    return vk.data.load((images, make_numbers(images)), class_names=("level", "share"), batch_size=16)


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return vk.vit(CONFIG, num_classes=7)


@pytest.fixture(scope="module")
def tagged_run(tagged, tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("runs") / "tags"
    return vk.train(vk.vit(CONFIG), tagged, epochs=6, run_dir=folder, console=QUIET)


@pytest.fixture(scope="module")
def numbered_run(numbered, tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("runs") / "numbers"
    return vk.train(vk.vit(CONFIG), numbered, epochs=6, run_dir=folder, console=QUIET)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype("float64")))


def test_a_run_on_tags_reports_what_scikit_learn_computes_from_its_model(tagged_run, tagged):
    test, validation = tagged.splits["test"], tagged.splits["validation"]
    probabilities = sigmoid(tagged_run.model.predict(test.images, verbose=0))
    results = tagged_run.record["results"]
    expected = average_precision_score(test.labels, probabilities, average="macro")
    assert results["test_mean_average_precision"] == pytest.approx(expected)
    threshold = tagged_run.model.threshold
    assert results["test_micro_f1"] == pytest.approx(f1_score(test.labels, probabilities >= threshold, average="micro"))
    held_out = sigmoid(tagged_run.model.predict(validation.images, verbose=0))
    scores = [
        f1_score(validation.labels, held_out >= at / 100, average="macro", zero_division=0) for at in range(1, 100)
    ]
    assert scores[round(100 * threshold) - 1] == pytest.approx(max(scores))
    assert expected > tagged.splits["train"].labels.mean() + 0.2
    assert tagged_run.record["recipe"]["task"] == "multi_label"
    assert {"val_mean_average_precision", "val_loss"} <= tagged_run.history[0].keys()


def test_the_saved_model_knows_its_task_names_and_threshold(tagged_run, tagged, tmp_path):
    model, test = tagged_run.model, tagged.splits["test"]
    settings = json.loads((tagged_run.run_directory / "model" / "config.json").read_text())
    assert (settings["task"], settings["threshold"]) == ("multi_label", model.threshold)
    model.save(tmp_path / "model.keras")
    for source in (tagged_run.run_directory, tmp_path / "model.keras"):
        rows = vk.predict(source, test.images[:5])
        assert [row.threshold for row in rows] == [model.threshold] * 5
        for row, logits in zip(rows, model.predict(test.images[:5], verbose=0), strict=True):
            assert set(row.labels) == {NAMES[at] for at in np.flatnonzero(sigmoid(logits) >= model.threshold)}
            assert row.probabilities == pytest.approx(np.sort(sigmoid(logits))[::-1], rel=1e-4)
        found = vk.evaluate(source, tagged)
        assert found.mean_average_precision == pytest.approx(tagged_run.evaluation.mean_average_precision)
        assert found.class_names == NAMES


@pytest.mark.any_backend
def test_labels_of_other_columns_are_matched_by_name_and_of_another_task_refused(tagged_run, tagged, numbered):
    reordered = tagged.reorder_classes(("blue", "green", "red"))
    found = vk.evaluate(tagged_run.model, reordered)
    assert found.class_names == ("blue", "green", "red")
    assert found.macro_f1 == pytest.approx(tagged_run.evaluation.macro_f1)
    with pytest.raises(
        InvalidArgumentError, match="The model is for task='multi_label', and the labels are regression"
    ):
        vk.evaluate(tagged_run.model, numbered)
    with pytest.raises(LabelError, match="2 columns, and the model 3 outputs"):
        vk.evaluate(tagged_run.model, (tagged.splits["test"].images, tagged.splits["test"].labels[:, :2]))


@pytest.mark.any_backend
def test_one_hot_arrays_are_evaluated_as_the_task_of_the_model(tagged_run, tagged):
    labels = np.eye(3, dtype="uint8")[np.arange(16) % 3]
    assert vk.evaluate(tagged_run.model, (tagged.splits["test"].images[:16], labels)).task == "multi_label"


def test_a_run_on_numbers_gives_them_in_the_users_units(numbered_run, numbered):
    test = numbered.splits["test"]
    settings = json.loads((numbered_run.run_directory / "model" / "config.json").read_text())
    assert settings["task"] == "regression"
    assert "own_head" not in settings
    predictions = vk.load_model(numbered_run.run_directory).predict(test.images, verbose=0)
    results = numbered_run.record["results"]
    assert results["test_r2"] == pytest.approx(r2_score(test.labels, predictions), abs=1e-5)
    expected = mean_absolute_error(test.labels[:, 1], predictions[:, 1])
    assert results["test_mean_absolute_error of share"] == pytest.approx(expected, rel=1e-4)
    assert results["test_r2"] > 0.3
    (row,) = vk.predict(numbered_run.run_directory, test.images[0])
    assert row.to_dict()["values"] == pytest.approx(dict(zip(("level", "share"), predictions[0].tolist(), strict=True)))
    assert [len(each) for each in (row.classes, row.labels)] == [0, 0]


def test_the_recipe_gives_the_same_model_in_plain_keras(numbered, model):
    recipe = vk.recipes.finetune(model, numbered, epochs=3, label_smoothing=0.0)
    labels = numbered.splits["train"].labels
    assert recipe.target_mean == pytest.approx(labels.mean(axis=0), rel=1e-4)
    assert recipe.target_scale == pytest.approx(labels.std(axis=0), rel=1e-3)
    student = recipe.prepare(model)
    student.compile(**recipe.compile_kwargs())
    start = student.evaluate(numbered.validation, verbose=0, return_dict=True)
    student.fit(recipe.batches(), epochs=3, validation_data=numbered.validation, callbacks=recipe.callbacks(), verbose=0, shuffle=False)  # fmt: skip
    end = student.evaluate(numbered.validation, verbose=0, return_dict=True)
    assert start["r2"] == pytest.approx(0, abs=0.05)  # a new head predicts the mean
    assert end["loss"] < start["loss"]
    predictions = student.predict(numbered.splits["validation"].images, verbose=0)
    assert end["r2"] == pytest.approx(r2_score(numbered.splits["validation"].labels, predictions), abs=1e-3)


@pytest.mark.any_backend
@pytest.mark.parametrize("method", ["linear_probe", pytest.param("lora", marks=pytest.mark.slow)])
def test_a_fitted_head_starts_a_run_of_either_task(method, tagged, numbered, model, tmp_path):
    for data, name in ((tagged, "test_mean_average_precision"), (numbered, "test_r2")):
        folder = tmp_path / f"{data.task}"
        result = vk.finetune(model, data, method=method, epochs=1, run_dir=folder, console=QUIET)
        assert result.record["results"][name] > (0.4 if method == "linear_probe" else 0)
        assert result.model.task == data.task
    again = vk.recipes.finetune(result.model, numbered).prepare(result.model)  # its head goes on from where it was
    test = numbered.splits["test"].images
    expected = result.model.predict(test, verbose=0)
    np.testing.assert_allclose(again.predict(test, verbose=0), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.any_backend
def test_a_head_of_another_task_is_new_and_the_recipe_says_so(tagged_run, numbered):
    other = vk.data.load((make_images()[0], np.arange(160) % 3), class_names=NAMES, batch_size=16)
    recipe = vk.recipes.finetune(tagged_run.model, other)
    (reason,) = [choice.reason for choice in recipe.choices if choice.what == "head"]
    assert reason == "it was trained for the task multi_label, and these data are single_label"
    assert not keras.ops.convert_to_numpy(recipe.prepare(tagged_run.model).layers[-1].kernel).any()
    with pytest.raises(
        InvalidArgumentError, match="is for task='single_label', and the labels of arrays are regression"
    ):
        recipe.prepare(tagged_run.model, numbered)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_an_interrupted_run_ends_in_the_same_result(task, tagged, numbered, tagged_run, numbered_run, tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def __init__(self, at):
            super().__init__()
            self.at = at

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == self.at:
                raise KeyboardInterrupt

        def get_state(self):
            return {}

        def set_state(self, state): ...

    data, expected = (tagged, tagged_run) if task == "multi_label" else (numbered, numbered_run)
    keras.utils.set_random_seed(0)
    model, folder = vk.vit(CONFIG), tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        vk.train(model, data, epochs=6, run_dir=folder, console=QUIET, callbacks=[Interrupt(3)])
    result = vk.train(model, data, epochs=6, run_dir=folder, console=QUIET, resume=True, callbacks=[Interrupt(None)])
    images = data.splits["test"].images
    got, wanted = (each.model.predict(images, verbose=0) for each in (result, expected))
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    for row, other in zip(result.history, expected.history, strict=True):
        for name in row.keys() - {"seconds"}:
            assert row[name] == pytest.approx(other[name], rel=1e-4, abs=1e-6), name


@pytest.mark.any_backend
def test_the_report_of_tags_has_their_scores_curves_and_worst_images(tagged_run):
    page = Page((tagged_run.run_directory / "report.html").read_text("utf-8"))
    assert_needs_nothing_else(page)
    evaluation = tagged_run.evaluation
    place = page.words.index("mean average precision")
    assert page.words[place - 1] == f"{evaluation.mean_average_precision:.1%}"
    assert {"Precision and recall", "average precision", "red", "green", "blue"} <= set(page.words)
    assert not {"Confusion matrix", "Calibration"} & set(page.words)
    figures = {path.name for path in (tagged_run.run_directory / "figures").iterdir()}
    assert figures - {"example.png"} == {"classes.png", "learning_curves.png"}
    card = (tagged_run.run_directory / "model" / "README.md").read_text("utf-8")
    assert "3 classes, any number per image: red, green, blue" in card
    assert f"| mean average precision | {evaluation.mean_average_precision:.1%} |" in card


@pytest.mark.any_backend
def test_the_report_of_numbers_has_scatter_plots_and_the_largest_errors(numbered_run, numbered):
    page = Page((numbered_run.run_directory / "report.html").read_text("utf-8"))
    assert_needs_nothing_else(page)
    assert {"Largest errors", "Predictions", "level", "share", "prediction minus label"} <= set(page.words)
    assert page.words[page.words.index("R2, mean of the targets") - 1] == f"{numbered_run.evaluation.r2:.3f}"
    assert len(page.pictures) == len(numbered.splits["test"])
    figures = {path.name for path in (numbered_run.run_directory / "figures").iterdir()}
    assert figures - {"example.png"} == {"learning_curves.png", "scatter.png"}
    card = (numbered_run.run_directory / "model" / "README.md").read_text("utf-8")
    assert "2 numbers to predict: level, share" in card
    assert f"| level | {numbered_run.evaluation.targets[0].mean_absolute_error:.4g} |" in card
