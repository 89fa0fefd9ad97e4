"""What a notebook shows of a data set."""

import dataclasses

import numpy as np
import pytest

import vit_keras as vk
from vit_keras.data import ImageData, Split

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype("uint8")


def make_data(labels: np.ndarray, class_names: tuple[str, ...], task: str) -> ImageData:
    split = Split(IMAGES, labels)
    return ImageData(
        name="<pets>", class_names=class_names, splits=dict.fromkeys(("train", "validation", "test"), split), task=task
    )


@pytest.fixture
def pets() -> ImageData:
    return make_data(np.array([0, 0, 0, 0, 1, 1], "int32"), ("cat", "<b>dog"), "single_label")


def test_the_text_is_one_line(pets: ImageData) -> None:
    assert repr(pets) == "ImageData(<pets>: 6 train, 6 validation, 6 test images of 8x8x3, 2 classes)"
    assert len(repr(vk.data.load("emoji"))) < 200


def test_html_has_counts_and_images_and_escapes_names(pets: ImageData) -> None:
    html = dataclasses.replace(pets, decisions=("read <so>",))._repr_html_()
    assert "<b>dog" not in html
    assert "&lt;b&gt;dog" in html
    assert "&lt;so&gt;" in html
    assert html.count("data:image/png;base64,") == 6
    assert '<td class="name">cat</td><td class="number">4</td>' in html


def test_several_labels_per_image() -> None:
    labels = np.array([[1, 1], [1, 0], [0, 1], [0, 0], [1, 1], [1, 0]], "uint8")
    html = make_data(labels, ("sky", "sea"), "multi_label")._repr_html_()
    assert '<td class="name">sky</td><td class="number">4</td>' in html
    assert '<td class="name">sea</td><td class="number">3</td>' in html


def test_targets_show_their_range() -> None:
    labels = np.array([[1.5], [2], [3], [4], [5], [6]], "float32")
    html = make_data(labels, ("age",), "regression")._repr_html_()
    assert "1.5 to 6, mean 3.583" in html
