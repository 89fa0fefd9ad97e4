import json
import re
import shutil

import numpy as np
import pytest
from markdown_it import MarkdownIt
from pages import Page

from vit_keras.errors import CorruptFileError, StorageError
from vit_keras.training.runs.model_card import model_card_notes
from vit_keras.zoo.preset_directory import load_class_names
from vit_keras.zoo.save_preset import write_card

pytestmark = pytest.mark.any_backend

NAMES = ("cat", "dog", "owl")


def tables_of(notes):
    """Returns the cells of the tables of a Markdown text, as a browser shows them."""
    page = MarkdownIt("commonmark").enable("table").render(notes)
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    cells = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [["".join(Page(cell).words) for cell in row] for row in cells]


@pytest.fixture
def preset(tiny_preset, tmp_path):
    return shutil.copytree(tiny_preset, tmp_path / "mine")


def read_files(folder):
    return {item.name: item.read_bytes() for item in folder.iterdir()}


def test_results_have_intervals_and_a_baseline(record, evaluation_of):
    rows = tables_of(model_card_notes(record, evaluation_of(confidence=0.8), NAMES))
    assert ["accuracy", "70.0%", "39.7% to 89.2%"] in rows
    assert ["expected calibration error", "10.0%", ""] in rows
    assert ["accuracy of the nearest-neighbor baseline", "42.0%", ""] in rows
    assert ["owl", "3", "100.0%", "33.3%", "6.1% to 79.2%"] in rows
    notes = model_card_notes({**record, "results": {"test_accuracy": 0.7}}, evaluation_of(), NAMES)
    assert "baseline" not in notes


def test_for_many_classes_the_ten_worst_are_listed(record, evaluation_of):
    labels = np.repeat(np.arange(40), 2)
    predicted = np.where(labels == 23, 5, labels)
    rows = tables_of(
        model_card_notes(record, evaluation_of(predicted, labels, 0.8, 40), [f"kind {n}" for n in range(40)])
    )
    classes = [row[0] for row in rows if row[0].startswith("kind")]
    assert len(classes) == 10
    assert classes[0] == "kind 23"


def test_recipe_source_data_and_machine_are_named_and_licenses_left_to_be_filled_in(record, evaluation_of):
    notes = model_card_notes(record, evaluation_of(), NAMES)
    for words in (
        "Recipe: `small_images`, from https://arxiv.org/abs/2205.01580", "7 epochs of 11 steps, float32, jax backend",
        "a fast one", "cpu:0", "keras 3.15.1", "1,234 seconds", "pets: 1,500 train, 10 test images of 3 classes", "`f00d`",
    ):  # fmt: skip
        assert words in notes
    (numbers,) = re.findall(r"```json\n(.*?)\n```", notes, re.DOTALL)
    assert json.loads(numbers) == record["recipe"]
    assert notes.count("**To be filled in:**") == 2
    tuned = model_card_notes({**record, "base": "ab12"}, evaluation_of(), NAMES)
    assert tuned.count("**To be filled in:**") == 3
    assert "Started from weights with the SHA-256 `ab12`" in tuned
    assert r"- Choice: method head\_first: 62 images per class: enough" in tuned


def test_limits_name_the_worst_class_and_count_classes_without_images(record, evaluation_of):
    notes = model_card_notes(record, evaluation_of(classes=4), (*NAMES, "yak"))
    assert "Lowest recall of all classes: owl, 33.3%." in notes
    assert "Classes without evaluated images: 1." in notes
    assert "It predicts one of its 4 classes" in notes


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a|b", "*bold* _it_", "`code`", "[link](http://x)", "two\nlines", "été 猫", "\\|", "# x"]
)  # fmt: skip
def test_names_are_escaped(record, evaluation_of, name):
    named = {**record, "data": {**record["data"], "name": name}, "choices": [[name, name, name]]}
    notes = model_card_notes(named, evaluation_of(), (name, "dog", "owl"))
    spelled = name.replace("\n", "\\n")
    assert [spelled, "4", "75.0%", "75.0%", "30.1% to 95.4%"] in tables_of(notes)
    page = Page(MarkdownIt("commonmark").enable("table").render(notes))
    assert not {"script", "em", "a", "h1"} & set(page.tags)
    assert any(word.startswith(f"{spelled}: 1,500 train") for word in page.words)


def test_only_the_card_is_rewritten(record, evaluation_of, preset):
    before = read_files(preset)
    write_card(preset, notes=model_card_notes(record, evaluation_of(), load_class_names(preset)))
    after = read_files(preset)
    card = after.pop("README.md").decode()
    assert after.items() <= before.items()
    assert "# mine" in card
    assert "## Results" in card


@pytest.mark.parametrize("fault", ["full", "no folder", "damaged"])
def test_a_card_that_cannot_be_written_keeps_the_last(preset, monkeypatch, fault):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    if fault == "damaged":
        (preset / "config.json").write_text("{")
    before = read_files(preset)
    if fault == "full":
        monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(CorruptFileError if fault == "damaged" else StorageError):
        write_card(preset / "nowhere" if fault == "no folder" else preset, notes="")
    assert read_files(preset) == before
