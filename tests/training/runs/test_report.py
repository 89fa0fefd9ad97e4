import base64
import io
import itertools
import math
import re
import shutil

import numpy as np
import pytest
from pages import Page, assert_needs_nothing_else
from PIL import Image

from vit_keras import data
from vit_keras.data import Split
from vit_keras.errors import StorageError
from vit_keras.training.runs import error_pictures, figures
from vit_keras.training.runs.facts import images_per_second
from vit_keras.training.runs.report import write_report

pytestmark = pytest.mark.any_backend

HISTORY = [
    {"epoch": 1.0, "loss": 1.0, "accuracy": 0.5, "val_loss": 0.9, "val_accuracy": 0.6, "learning_rate": 0.1, "seconds": 2.0},
    {"epoch": 2.0, "loss": 0.5, "accuracy": 0.7, "val_loss": 0.8, "val_accuracy": 0.7, "learning_rate": 0.0, "seconds": 3.0},
]  # fmt: skip
NAMES = ("cat", "dog", "owl")


@pytest.fixture
def split_of(labels):
    def make(labels=labels, side=16):
        images = np.random.default_rng(0).integers(0, 256, (len(labels), side, side, 3)).astype("uint8")
        return Split(images, labels)

    return make


@pytest.fixture
def page_of(record, evaluation_of, split_of, tmp_path):
    def made(evaluation=None, *, split=None, names=NAMES, history=HISTORY, **changes):
        write_report(
            tmp_path / "report.html",
            record={**record, **changes},
            history=history,
            evaluation=evaluation or evaluation_of(),
            split=split or split_of(),
            class_names=names,
        )
        return Page((tmp_path / "report.html").read_text("utf-8"))

    return made


def titles(page):
    return [value for name, value in page.attributes if name == "title"]


def test_the_page_is_self_contained_and_suits_small_and_dark_screens(page_of):
    page = page_of()
    assert_needs_nothing_else(page)
    assert ("content", "width=device-width, initial-scale=1") in page.attributes
    assert "prefers-color-scheme: dark" in page.text
    assert "currentColor" in page.text


def test_the_headline_has_the_accuracy_its_interval_and_the_baseline(page_of):
    words = page_of().words
    assert words[words.index("70.0%") + 1] == "accuracy; 95 % interval 39.7% to 89.2%"
    assert words[words.index("42.0%") + 1] == "accuracy of the nearest-neighbor baseline"
    assert not any("nearest-neighbor" in word for word in page_of(results={"test_accuracy": 0.7}).words)


@pytest.mark.parametrize("rows", [[], [{"loss": math.nan, "accuracy": math.inf}], [{"epoch": 3.0, "loss": 0.1}], [{}]])
def test_every_metric_has_a_curve_without_what_is_missing_or_infinite(page_of, rows):
    page = page_of(history=[*HISTORY, *rows])
    assert page.tags.count("svg") == 4  # loss, accuracy, learning rate, reliability
    assert page.words.count("validation") == 2
    assert {"loss", "accuracy", "learning rate", "epoch"} <= set(page.words)


def test_a_linear_probe_has_no_curves_and_the_speed_is_unknown_without_the_seconds(page_of, record):
    page = page_of(history=[])
    assert "Learning curves" not in page.words
    assert page.tags.count("svg") == 1
    assert not any("per second" in word for word in page.words)
    speeds = [images_per_second(record, rows) for rows in (HISTORY, [{"loss": 1.0}], [])]
    assert speeds == [2 * 1500 / 5, None, None]


def test_the_confusion_matrix_has_counts_and_the_fraction_of_the_row_as_color(page_of):
    page = page_of()
    cells = re.findall(r'<td style="background:rgb\(([^)]*)\)" title="([^"]*)"[^>]*>(\d+)<', page.text)
    assert [int(count) for _, _, count in cells] == [3, 1, 0, 0, 3, 0, 1, 1, 1]
    assert cells[1][:2] == ("214 69 65 / 0.25", "cat as dog: 25.0%")
    assert cells[4][:2] == ("79 124 255 / 1.00", "dog as dog: 100.0%")


def test_for_many_classes_the_most_confused_pairs_are_listed(page_of, evaluation_of, split_of):
    names = tuple(f"kind {label}" for label in range(31))
    labels = np.repeat(np.arange(31), 2)
    predicted = np.where(labels == 7, 9, labels)
    page = page_of(evaluation_of(predicted, labels, 0.9, 31), split=split_of(labels), names=names)
    place = page.words.index("Most confused pairs")
    assert [word for word in page.words[place + 1 :] if word.strip()][4:8] == ["kind 7", "kind 9", "2", "100.0%"]
    assert "matrix" not in {value for name, value in page.attributes if name == "class"}


def test_classes_are_sorted_by_recall_and_those_without_images_have_no_scores(page_of, evaluation_of):
    words = [word for word in page_of(evaluation_of(classes=4), names=(*NAMES, "yak")).words if word.strip()]
    place = words.index("F1") + 1
    assert words[place : place + 6] == ["owl", "3", "100.0%", "33.3%", "6-79%", "50.0%"]
    assert [words[place + 6], words[place + 12]] == ["cat", "dog"]
    assert words[place + 18 : place + 24] == ["yak", "0", "-", "-", "-", "-"]


def test_the_calibration_is_judged_and_the_most_confident_errors_are_shown_with_both_classes(
    page_of, evaluation_of, split_of, labels
):
    split = split_of()
    page = page_of(split=split)
    assert "Mean confidence 77.9%, accuracy 70.0%: overconfident" in page.text
    pictures = [base64.b64decode(picture.partition(",")[2]) for picture in page.pictures]
    shown = [np.asarray(Image.open(io.BytesIO(picture))) for picture in pictures]
    np.testing.assert_array_equal(shown, split.images[[2, 8, 7]])
    assert "<b>dog</b> 94%<br>true: cat 3%" in page.text
    gray = page_of(evaluation_of(confidence=0.5), split=Split(split.images[..., :1].copy(), labels))
    assert "underconfident" in gray.text
    assert len(gray.pictures) == 3
    words = page_of(evaluation_of(predicted=labels)).words
    assert words[words.index("Errors") + 2] == "None."


def test_larger_images_are_shrunk_and_have_a_total_limit(page_of, evaluation_of, split_of, monkeypatch):
    labels = np.zeros(60, "int32")
    page = page_of(evaluation_of(labels + 1, labels, 0.9), split=split_of(labels, side=224))
    assert len(page.pictures) == 48
    assert "and 12 more" in page.words
    assert all(picture.startswith("data:image/jpeg") for picture in page.pictures)
    assert len(page.text) < 2_000_000
    monkeypatch.setattr(error_pictures, "_MAX_IMAGE_BYTES", 1000)
    page = page_of()
    assert len(page.pictures) == 1
    assert page.words.count("not shown") == 2


def test_removed_images_are_not_shown(page_of, evaluation_of, make_folder):
    folder = make_folder({"cat": 20, "dog": 20})
    split = data.load(str(folder), image_size=16).splits["test"]
    shutil.rmtree(folder)
    predicted = 1 - split.labels
    with pytest.warns(UserWarning, match="replaces it"):
        page = page_of(evaluation_of(predicted, split.labels, 0.9), split=split)
    assert page.pictures == []
    assert page.words.count("not shown") == len(predicted)


def test_time_cost_and_the_whole_record_are_in_tables(page_of, tiny_config):
    words = [word for word in page_of().words if word.strip()]
    facts = dict(itertools.pairwise(words))
    assert facts["training images per second, including validation"] == "600"
    assert facts["seconds: total"] == "1300.5"
    assert facts["parameters, including the head"] == f"{tiny_config.num_params + 17 * 3:,}"
    assert facts["augmentation.flip_rate"] == "0.5"
    assert facts["limit"] == "none"
    assert facts["hidden_dim"] == "16"
    assert facts["versions.keras"] == "3.15.1"
    assert words[words.index("head_first") + 1] == "62 images per class: enough"


def test_devices_and_waits_of_each_process_are_listed(page_of):
    devices = {
        "count": 4, "processes": 2, "description": "4 x gpu in 2 processes, data parallel",
        "names": ["gpu:0", "gpu:1", "gpu:8", "gpu:9"],
    }  # fmt: skip
    waiting = [
        {"host": "node-a", "data": 3.0, "processes": 6.0, "training": 60.0},
        {"host": "node-b", "data": 12.0, "processes": 0.0, "training": 60.0},
    ]
    page = page_of(devices=devices, waiting=waiting)
    assert_needs_nothing_else(page)
    facts = dict(itertools.pairwise(word for word in page.words if word.strip()))
    assert facts["devices of the run"] == "4 x gpu in 2 processes, data parallel"
    assert facts["names of the devices"] == "gpu:0, gpu:1, gpu:8, gpu:9"
    assert facts["training images per second and device, including validation"] == "150"  # 600 of all
    assert facts["waited for images (process 0 on node-a)"] == "5.0% of the training time"
    assert facts["waited for images (process 1 on node-b)"] == "20.0% of the training time"
    assert facts["waited for other processes (process 0 on node-a)"] == "10.0% of the training time"
    assert facts["waited for other processes (process 1 on node-b)"] == "0.0% of the training time"
    alone = page_of(devices={**devices, "processes": 1}, waiting=[{"data": 15.0, "processes": 0.0, "training": 60.0}])
    assert (
        dict(itertools.pairwise(word for word in alone.words if word.strip()))["waited for images"]
        == "25.0% of the training time"
    )
    assert "other processes" not in "".join(alone.words).replace("Other processes", "")
    unknown = page_of(devices=devices, waiting=[{"processes": 0.0, "training": 60.0}])  # several devices of TensorFlow
    assert "of the training time" not in unknown.text
    assert "of the training time" not in page_of().text  # of an earlier version


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a\"onload='x", "&amp;", "$x_1$ $", "été 猫 😀", "two\nlines"]
)
def test_names_are_escaped(page_of, record, name):
    page = page_of(
        names=(name, "dog", "owl"),
        data={**record["data"], "name": name, "notes": [name]},
        options={name: name},
        choices=[[name, name, name]],
        recipe={"name": name},
    )
    assert "script" not in page.tags
    assert "onload" not in {kind for kind, _ in page.attributes}
    spelled = name.replace("\n", "\\n")
    assert page.words.count(spelled) >= 8
    assert f"{spelled} as dog: 25.0%" in titles(page)


def test_a_page_is_deterministic_and_kept_if_the_next_cannot_be_written(page_of, tmp_path, monkeypatch):
    before = page_of().text
    assert page_of().text == before

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(StorageError, match=r"report\.html: could not be written .*No space left"):
        page_of(history=[])
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text("utf-8") == before


def test_learning_curves_are_drawn_at_their_epochs(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_save", lambda figure, out: drawn.append(figure))
    (tmp_path / "metrics.csv").write_text("epoch,loss,val_loss,accuracy\n1,1.0,0.9,0.5\n2,0.5,,0.7\n")
    figures.draw_learning_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    losses, accuracies = (axes.lines for axes in drawn[0].axes)
    assert [line.get_xdata().tolist() for line in (*losses, *accuracies)] == [[1, 2]] * 3
    assert math.isnan(losses[1].get_ydata()[1])
