import tracemalloc

import keras
import numpy as np
import pytest

import vit_keras as vk
from vit_keras.data import Preprocessing
from vit_keras.data.images.decode import read_image
from vit_keras.errors import DataError, InvalidArgumentError, StorageError

pytestmark = pytest.mark.any_backend


@pytest.fixture
def photos(image_folder):
    (image_folder / "dog" / "broken.png").write_bytes(b"\x89PNG")
    return image_folder


@pytest.fixture
def expected(tiny_model, photos):
    """The input of the head for each image that can be read, by plain Keras."""
    files = sorted(path for path in photos.rglob("*.png") if path.name != "broken.png")
    pixels = np.stack([read_image(path, Preprocessing(image_size=(16, 16))) for path in files])
    return files, keras.Model(tiny_model.input, tiny_model.get_layer("head").input).predict(pixels, verbose=0)


def test_an_npz_file_has_a_row_per_image(tiny_preset, photos, expected, tmp_path):
    done = []
    saved = vk.save_features(
        tiny_preset, photos, out=tmp_path / "f.npz", batch_size=5, on_progress=lambda *pair: done.append(pair)
    )
    assert (saved.count, saved.failed, saved.feature_dim, done[-1]) == (12, 1, 16, (12, 12))
    with np.load(saved.path, allow_pickle=False) as file:
        arrays = dict(file)
    assert {name: array.shape for name, array in arrays.items()} == {
        "features": (12, 16), "images": (12,), "labels": (12,), "errors": (12,),
    }  # fmt: skip
    read = arrays["errors"] == ""
    files, features = expected
    assert arrays["images"][read].tolist() == [str(path) for path in files]
    np.testing.assert_allclose(arrays["features"][read], features, rtol=1e-4, atol=1e-5)
    assert np.isnan(arrays["features"][~read]).all()
    assert "broken.png" in arrays["errors"][~read][0]
    assert arrays["labels"].tolist() == ["cat"] * 6 + ["dog"] * 6


def test_a_parquet_file_has_a_row_per_image(tiny_preset, photos, expected, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    vk.save_features(tiny_preset, photos, out=tmp_path / "f.parquet")
    rows = parquet.read_table(tmp_path / "f.parquet").to_pylist()
    assert [row["label"] for row in rows] == ["cat"] * 6 + ["dog"] * 6
    assert [row["features"] is None for row in rows] == [row["error"] is not None for row in rows]
    found = np.array([row["features"] for row in rows if row["error"] is None])
    np.testing.assert_allclose(found, expected[1], rtol=1e-4, atol=1e-5)


def test_memory_does_not_grow_with_the_number_of_images(tiny_model, photos, tmp_path):
    image, peaks = photos / "cat" / "00.png", []
    vk.save_features(tiny_model, [image] * 8, out=tmp_path / "first.npz", batch_size=8)
    for count in (200, 600):
        marks = []

        def measure(done, total, marks=marks):
            if done == 16:
                tracemalloc.start()
            if done == total:
                marks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()

        vk.save_features(tiny_model, [image] * count, out=tmp_path / f"{count}.npz", batch_size=8, on_progress=measure)
        peaks += marks
    assert peaks[1] - peaks[0] < 400 * 300  # bytes: what is kept of an image is its name


def test_what_is_refused_leaves_no_file(tiny_model, tiny_config, photos, tmp_path):
    (tmp_path / "mine.npz").write_bytes(b"mine")
    broken = vk.rebuild(tiny_model)
    broken.get_layer("final_norm").gamma.assign(np.full(16, np.nan))
    before = sorted(tmp_path.iterdir())
    for model, images, options, error, message in (
        (tiny_model, photos, {"out": tmp_path / "mine.npz"}, StorageError, "nothing is overwritten"),
        (tiny_model, photos, {"out": tmp_path / "f.csv"}, InvalidArgumentError, "must end in .npz or .parquet"),
        (tiny_model, photos, {"on_error": "error"}, DataError, "broken.png"),
        (tiny_model, photos, {"batch_size": 0}, InvalidArgumentError, "batch_size must be at least 1"),
        (broken, photos / "cat", {}, DataError, "00.png are not finite"),
        ("test_vit", photos, {}, InvalidArgumentError, "a preset without weights: give test_vit:TAG"),
    ):
        with pytest.raises(error, match=message):
            vk.save_features(model, images, **{"out": tmp_path / "f.npz", **options})
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "mine.npz").read_bytes() == b"mine"
