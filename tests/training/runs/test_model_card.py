import json
import re

import numpy as np
import pytest
from markdown_it import MarkdownIt
from pages import Page

from vit_keras.errors import CorruptFileError, StorageError
from vit_keras.evaluation.metrics import Evaluation
from vit_keras.training.runs.model_card import model_card_notes
from vit_keras.zoo.preset_directory import load_class_names
from vit_keras.zoo.save_preset import write_card

NAMES = ("cat", "dog", "owl")
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
PREDICTED = np.array([0, 0, 1, 0, 1, 1, 1, 1, 0, 2])


def evaluation_of(predicted=PREDICTED, labels=LABELS, classes=3):
    probabilities = np.full((len(predicted), classes), 0.2 / (classes - 1))
    probabilities[np.arange(len(predicted)), predicted] = 0.8
    return Evaluation(probabilities, labels)


@pytest.fixture
def record(tiny_config):
    return {
        "precision": "float32",
        "config": tiny_config.to_dict(),
        "recipe": {"name": "small_images", "source": "https://arxiv.org/abs/2205.01580", "epochs": 7, "steps_per_epoch": 11, "learning_rate": 0.004},
        "data": {"name": "pets", "images": {"train": 1500, "test": 10}, "fingerprint": "f00d", "notes": []},
        "environment": {"backend": "jax", "versions": {"keras": "3.15.1"}, "devices": ["cpu:0"], "processor": "a fast one"},
        "seconds": {"fit": 1234.5},
        "results": {"test_accuracy": 0.7, "nearest_neighbour_accuracy": 0.42},
    }  # fmt: skip


@pytest.fixture
def tables_of():
    def parsed(notes):
        """Cells of the tables of a Markdown text, as a browser shows them."""
        page = MarkdownIt("commonmark").enable("table").render(notes)
        rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
        cells = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
        return [["".join(Page(cell).words) for cell in row] for row in cells]

    return parsed


def test_results_have_intervals_and_a_baseline(record, tables_of):
    rows = tables_of(model_card_notes(record, evaluation_of(), NAMES))
    assert ["accuracy", "70.0%", "39.7% to 89.2%"] in rows
    assert ["expected calibration error", "10.0%", ""] in rows
    assert ["accuracy of the nearest-neighbor baseline", "42.0%", ""] in rows
    assert ["owl", "3", "100.0%", "33.3%", "6.1% to 79.2%"] in rows
    notes = model_card_notes({**record, "results": {"test_accuracy": 0.7}}, evaluation_of(), NAMES)
    assert "baseline" not in notes


def test_for_many_classes_the_ten_worst_are_listed(record, tables_of):
    labels = np.repeat(np.arange(40), 2)
    predicted = np.where(labels == 23, 5, labels)
    rows = tables_of(model_card_notes(record, evaluation_of(predicted, labels, 40), [f"kind {n}" for n in range(40)]))
    classes = [row[0] for row in rows if row[0].startswith("kind")]
    assert len(classes) == 10
    assert classes[0] == "kind 23"


def test_recipe_source_data_and_machine_are_named(record):
    notes = model_card_notes(record, evaluation_of(), NAMES)
    for words in (
        "Recipe: `small_images`, from https://arxiv.org/abs/2205.01580", "7 epochs of 11 steps, float32, jax backend",
        "a fast one", "cpu:0", "keras 3.15.1", "1,234 seconds", "pets: 1,500 train, 10 test images of 3 classes", "`f00d`",
    ):  # fmt: skip
        assert words in notes
    (numbers,) = re.findall(r"```json\n(.*?)\n```", notes, re.DOTALL)
    assert json.loads(numbers) == record["recipe"]


def test_licenses_are_left_to_be_filled_in(record):
    notes = model_card_notes(record, evaluation_of(), NAMES)
    assert notes.count("**To be filled in:**") == 2
    tuned = model_card_notes(
        {**record, "base": "ab12", "choices": [["method", "bias", "as asked"]]}, evaluation_of(), NAMES
    )
    assert tuned.count("**To be filled in:**") == 3
    assert "Started from weights with the SHA-256 `ab12`" in tuned
    assert "- Choice: method bias: as asked" in tuned


def test_limits_name_the_worst_class_and_count_classes_without_images(record):
    notes = model_card_notes(record, evaluation_of(classes=4), (*NAMES, "yak"))
    assert "Lowest recall of all classes: owl, 33.3%." in notes
    assert "Classes without test images: 1." in notes
    assert "It predicts one of its 4 classes" in notes


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a|b", "*bold* _it_", "`code`", "[link](http://x)", "two\nlines", "été 猫", "\\|", "# x"]
)  # fmt: skip
def test_names_are_escaped(record, tables_of, name):
    notes = model_card_notes(
        {**record, "data": {**record["data"], "name": name}, "choices": [[name, name, name]]},
        evaluation_of(),
        (name, "dog", "owl"),
    )
    spelled = name.replace("\n", "\\n")
    assert [spelled, "4", "75.0%", "75.0%", "30.1% to 95.4%"] in tables_of(notes)
    page = Page(MarkdownIt("commonmark").enable("table").render(notes))
    assert not {"script", "em", "a", "h1"} & set(page.tags)
    assert any(word.startswith(f"{spelled}: 1,500 train") for word in page.words)


def test_only_the_card_is_rewritten(record, tiny_preset, tmp_path):
    preset = tmp_path / "mine"
    preset.mkdir()
    for item in tiny_preset.iterdir():
        (preset / item.name).write_bytes(item.read_bytes())
    before = {item.name: item.read_bytes() for item in preset.iterdir()}
    write_card(preset, notes=model_card_notes(record, evaluation_of(), load_class_names(preset)))
    after = {item.name: item.read_bytes() for item in preset.iterdir()}
    card = after.pop("README.md").decode()
    assert after.items() <= before.items()
    assert "# mine" in card
    assert "## Results" in card


@pytest.mark.parametrize("fault", ["full", "no folder", "damaged"])
def test_a_card_that_cannot_be_written_keeps_the_last(tiny_preset, tmp_path, monkeypatch, fault):
    preset = tmp_path / "mine"
    preset.mkdir()
    for item in tiny_preset.iterdir():
        (preset / item.name).write_bytes(item.read_bytes())
    if fault == "damaged":
        (preset / "config.json").write_text("{")
    before = {item.name: item.read_bytes() for item in preset.iterdir()}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    if fault == "full":
        monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(CorruptFileError if fault == "damaged" else StorageError):
        write_card(preset / "nowhere" if fault == "no folder" else preset, notes="")
    assert {item.name: item.read_bytes() for item in preset.iterdir()} == before
