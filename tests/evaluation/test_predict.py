import csv
import json
import shutil
import sys
import tracemalloc
from contextlib import ExitStack
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

import vit_keras as vk
from vit_keras.data import Preprocessing
from vit_keras.data.images.decode import read_image
from vit_keras.errors import CorruptFileError, DataError, InvalidArgumentError, StorageError
from vit_keras.evaluation.predict import stream_predictions


@pytest.fixture
def picture(tmp_path, rng):
    path = tmp_path / "one.png"
    Image.fromarray(rng.integers(0, 256, (30, 40, 3)).astype("uint8")).save(path)
    return path


def test_the_first_images_of_a_model_are_not_traced_on_tensorflow_and_the_next_are(tiny_model, tiny_preset, picture):
    model = vk.load_model(tiny_preset)
    rows = [vk.predict(model, picture)[0].probabilities]
    assert (model.predict_function is None) == (keras.backend.backend() == "tensorflow")
    rows += [vk.predict(model, picture)[0].probabilities, vk.predict(model, [picture] * 9)[0].probabilities]
    assert model.predict_function is not None
    (logits,) = tiny_model.predict(read_image(picture, Preprocessing(image_size=(16, 16)))[None], verbose=0)
    np.testing.assert_allclose(rows, [np.sort(np.exp(logits) / np.exp(logits).sum())[::-1]] * 3, rtol=1e-4)


def test_every_form_of_an_image_gives_what_the_model_says_of_its_pixels(tiny_model, tiny_preset, picture):
    (logits,) = tiny_model.predict(read_image(picture, Preprocessing(image_size=(16, 16)))[None], verbose=0)
    expected = np.sort(np.exp(logits) / np.exp(logits).sum())[::-1]
    array, image = np.asarray(Image.open(picture)), Image.open(picture)
    (named,) = vk.predict(tiny_preset, picture)
    assert set(named.classes) == {"cat", "dog", "owl"}
    for form in (str(picture), array, array / 255, array[None], image, image.convert("RGBA"), [picture.parent]):
        (row,) = vk.predict(tiny_model, form)
        np.testing.assert_allclose([row.probabilities, named.probabilities], [expected] * 2, rtol=1e-3)
    mixed = vk.predict(tiny_model, [array, [image, picture], array[None]], top=2, batch_size=3)
    assert [row.image for row in mixed] == ["image 0", "image 1", str(picture), "image 3"]
    for row in mixed:
        np.testing.assert_allclose(row.probabilities, expected[:2], rtol=1e-3)
        assert set(row.classes) <= {"0", "1", "2"}


@pytest.mark.any_backend
def test_pil_images_are_read_like_files(tiny_model, tmp_path, rng):
    pixels = rng.integers(0, 256, (24, 18, 4)).astype("uint8")
    turned = Image.Exif()
    turned[0x0112] = 6
    images = {
        "turned.png": (Image.fromarray(pixels[..., :3]), {"exif": turned}),
        "clear.png": (Image.fromarray(pixels), {}),
        "palette.gif": (Image.fromarray(pixels[..., 0]).convert("P"), {"transparency": 3}),
        "deep.png": (Image.fromarray(pixels[..., 0].astype("uint16") * 257), {}),
        "print.tif": (Image.fromarray(pixels[..., :3]).convert("CMYK"), {}),
        "gray.png": (Image.fromarray(pixels[..., 0]), {}),
    }
    for name, (image, options) in images.items():
        image.save(tmp_path / name, **options)
    files = [tmp_path / name for name in images]
    with ExitStack() as stack:
        rows = vk.predict(tiny_model, [*files, *(stack.enter_context(Image.open(file)) for file in files)])
    probabilities = [row.probabilities for row in rows]
    np.testing.assert_allclose(probabilities[:6], probabilities[6:], rtol=1e-3)
    assert len(set(probabilities[:6])) == 5  # the 16-bit image is the gray one


@pytest.mark.any_backend
def test_an_image_that_cannot_be_read_has_a_row_with_the_reason_or_is_raised(tiny_model, picture):
    broken, missing = picture.with_name("broken.png"), picture.with_name("missing.png")
    broken.write_bytes(picture.read_bytes()[:60])
    bright = np.full((8, 8, 3), np.nan)
    rows = vk.predict(tiny_model, [broken, picture, missing, bright], batch_size=2)
    assert [row.error is None for row in rows] == [False, True, False, False]
    assert [row.image for row in rows.errors] == [str(broken), str(missing), "image 3"]
    assert rows[1].probabilities == pytest.approx(vk.predict(tiny_model, picture)[0].probabilities, rel=1e-4)
    assert f"{missing}\n  not classified: {missing}: there is no such file" in str(rows)
    for image, error in ((broken, CorruptFileError), (missing, StorageError), (bright, DataError)):
        with pytest.raises(error):
            vk.predict(tiny_model, [picture, image], on_error="error")


@pytest.mark.any_backend
def test_rows_print_and_become_a_data_frame(tiny_preset, picture, monkeypatch):
    rows = vk.predict(tiny_preset, [picture, picture.with_name("missing.png")], top=2)
    assert str(rows).splitlines()[0] == str(picture)
    assert "%  " in str(rows).splitlines()[1]
    assert repr(rows[:1]) == str(rows[0])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        rows.to_dataframe()
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    table = rows.to_dataframe()
    assert list(table) == ["image", "class_1", "probability_1", "class_2", "probability_2", "error"]
    assert table["class_1"] == [rows[0].classes[0], None]
    assert table["error"][0] is None


@pytest.mark.any_backend
def test_all_probabilities_and_the_accuracy_where_folders_name_classes(tiny_model, tiny_preset, image_folder, tmp_path):
    (image_folder / "notes").mkdir()
    shutil.copy(image_folder / "cat" / "00.png", image_folder / "notes" / "x.png")
    (image_folder / "dog" / "broken.png").write_bytes(b"\x89PNG")
    rows = vk.predict(tiny_preset, image_folder, top=None, batch_size=4)
    files = sorted(path for path in image_folder.rglob("*") if path.is_file())
    assert [row.image for row in rows] == [str(path) for path in files]
    assert [row.truth for row in rows] == ["cat"] * 6 + ["dog"] * 6 + [None]
    rule = Preprocessing(image_size=(16, 16))
    read = [path for path in files if path.name != "broken.png"]
    logits = tiny_model.predict(np.stack([read_image(path, rule) for path in read]), verbose=0).astype("float64")
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classified = [row for row in rows if row.error is None]
    for row, probabilities in zip(classified, expected, strict=True):
        assert dict(zip(row.classes, row.probabilities, strict=True)) == pytest.approx(
            dict(zip(("cat", "dog", "owl"), probabilities, strict=True)), rel=1e-3
        )
    assert rows.accuracy == (expected[:11].argmax(axis=1) == [0] * 6 + [1] * 5).mean()
    assert vk.predict(tiny_preset, image_folder / "notes").accuracy is None


@pytest.mark.any_backend
def test_predictions_are_saved_as_a_table(tiny_preset, image_folder, tmp_path):
    (image_folder / "dog" / "broken.png").write_bytes(b"\x89PNG")
    rows = vk.predict(tiny_preset, image_folder, top=2)
    with open(rows.save(tmp_path / "rows.csv"), encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert list(cells[0]) == ["image", "class_1", "probability_1", "class_2", "probability_2", "truth", "error"]
    for row, cell in zip(rows, cells, strict=True):
        assert (cell["image"], cell["truth"], cell["error"]) == (row.image, row.truth, row.error or "")
        found = [float(cell[f"probability_{rank}"]) for rank in (1, 2)] if row.error is None else []
        assert found == list(row.probabilities)
    lines = [json.loads(line) for line in rows.save(tmp_path / "rows.jsonl").read_text().splitlines()]
    assert lines == [row.to_dict() for row in rows]
    assert [line["classes"][0]["name"] for line in lines[:-1]] == [row.classes[0] for row in rows[:-1]]


@pytest.mark.any_backend
def test_memory_does_not_grow_with_the_number_of_images(tiny_model, picture):
    stream = stream_predictions(tiny_model, [picture] * 500, top=1, batch_size=8)
    iter_rows, peaks = iter(stream), []
    next(iter_rows)  # the model is compiled
    for _ in range(2):
        tracemalloc.start()
        for _ in range(240):
            next(iter_rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
    assert len(stream) == 500


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ("https://example.org/cat.jpg", {}, "URLs are not supported. Download the file"),
        (3, {}, "int is not an image: expected a path"),
        (np.zeros((8, 8, 5)), {}, r"shape \(8, 8, 5\) is not an image"),
        (np.array(["a"]), {}, "is not an image"),
        (np.zeros((1, 8, 8, 3)), {"top": 0}, "top and batch_size must be at least 1, got top=0"),
        (np.zeros((1, 8, 8, 3)), {"on_error": "skip"}, "on_error must be one of 'quarantine', 'error', got 'skip'"),
    ],
)
@pytest.mark.any_backend
def test_what_is_no_image_is_refused(tiny_model, images, options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        vk.predict(tiny_model, images, **options)


@pytest.mark.any_backend
def test_no_images_or_no_head_are_refused_but_an_empty_list(tiny_model, tiny_config, tmp_path):
    assert len(vk.predict(tiny_model, [])) == 0
    with pytest.raises(InvalidArgumentError, match="this folder contains no images"):
        vk.predict(tiny_model, tmp_path)
    with pytest.raises(InvalidArgumentError, match="has no head"):
        vk.predict(vk.vit(tiny_config), np.zeros((8, 8, 3), "uint8"))
