import keras
import numpy as np
import pytest

from vit_keras.data import Split
from vit_keras.errors import DataError, EmptyDatasetError, InvalidArgumentError, StorageError
from vit_keras.models.vit import vit
from vit_keras.training.transfer import features as features_module
from vit_keras.training.transfer.features import extract_features

COUNT = 10


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (COUNT, 16, 16, 3)).astype("uint8"), np.arange(COUNT) % 3)


@pytest.fixture(scope="module")
def features(tiny_model, split):
    return extract_features(tiny_model, split, batch_size=4)


@pytest.fixture
def computed(monkeypatch):
    """The numbers of images computed instead of read; computed eagerly, which is faster here."""
    counts = []

    def eager(extractor, split, *rest):
        counts.append(len(split))
        return np.array(keras.ops.convert_to_numpy(extractor(split.images)))

    monkeypatch.setattr(features_module, "compute_features", eager)
    return counts


def test_the_head_maps_features_to_the_logits(tiny_model, split, features):
    head = tiny_model.get_layer("head")
    kernel, bias = map(keras.ops.convert_to_numpy, (head.kernel, head.bias))
    logits = keras.ops.convert_to_numpy(tiny_model(split.images))
    assert features.dtype == np.float32
    assert features.shape == (COUNT, 16)
    np.testing.assert_allclose(features @ kernel + bias, logits, atol=1e-5)


@pytest.mark.parametrize(("changes", "classes"), [({"distillation_token": True}, 3), ({}, None)])
@pytest.mark.any_backend
def test_with_two_heads_or_none_the_features_are_pooled_and_progress_is_reported(tiny_config, split, changes, classes):
    model, calls = vit(tiny_config.replace(num_layers=1, **changes), num_classes=classes), []
    pooled = keras.Model(model.input, model.get_layer("pooling").output) if classes else model
    found = extract_features(model, split, batch_size=4, on_progress=lambda *counts: calls.append(counts))
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(pooled(split.images)), atol=1e-5)
    assert calls == [(4, COUNT), (8, COUNT), (COUNT, COUNT)]


@pytest.mark.any_backend
def test_the_cache_depends_on_everything_but_the_head(tiny_model, tiny_config, split, computed, tmp_path):
    model = vit(tiny_config, num_classes=3)
    model.set_weights(tiny_model.get_weights())
    extract_features(model, split, cache=tmp_path)
    model.get_layer("head").bias.assign([1.0, 2.0, 3.0])
    extract_features(model, split, cache=tmp_path)
    assert len(computed) == 1
    model.get_layer("final_norm").beta.assign(np.full(16, 0.5, "float32"))
    extract_features(model, split, cache=tmp_path)
    extract_features(model, split.subset(np.arange(COUNT)[::-1]), cache=tmp_path)
    assert len(computed) == 3
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("damage", ["flip", "cut", "other"])
@pytest.mark.any_backend
def test_a_damaged_file_is_computed_again_with_a_warning(tiny_model, split, computed, tmp_path, damage):
    kept = extract_features(tiny_model, split, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = bytearray(path.read_bytes())
    if damage == "flip":
        whole[whole.index(kept[:1].tobytes()) + 2] ^= 1
    elif damage == "cut":
        del whole[-5:]
    else:
        (tmp_path / "others").mkdir()
        extract_features(tiny_model, Split(255 - split.images, split.labels), cache=tmp_path / "others")
        whole = next((tmp_path / "others").iterdir()).read_bytes()
    path.write_bytes(whole)
    with pytest.warns(UserWarning, match="computed again"):
        again = extract_features(tiny_model, split, cache=tmp_path)
    np.testing.assert_array_equal(again, kept)
    assert len(computed) == (3 if damage == "other" else 2)
    extract_features(tiny_model, split, cache=tmp_path)  # the file is intact again: no warning


@pytest.mark.any_backend
def test_the_second_call_reads_the_cache_and_a_full_disk_causes_only_a_warning(
    tiny_model, split, features, computed, tmp_path, monkeypatch
):
    def full(*arguments):
        raise StorageError("No space left on device.")

    first, second = (extract_features(tiny_model, split, cache=tmp_path / "new" / "folder") for _ in range(2))
    assert computed == [COUNT]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="Choose another"):
        extract_features(tiny_model, split, cache=tmp_path / "file")
    assert computed == [COUNT]  # refused before
    monkeypatch.setattr(features_module, "write_tensors", full)
    with pytest.warns(UserWarning, match="not cached"):
        found = extract_features(tiny_model, split, cache=tmp_path)
    np.testing.assert_array_equal(second, first)
    for one in (first, found):
        np.testing.assert_allclose(one, features, atol=1e-5)


@pytest.mark.any_backend
def test_bad_input(tiny_model, tiny_config, split):
    broken = vit(tiny_config.replace(num_layers=1), num_classes=3)
    broken.get_layer("final_norm").beta.assign(np.full(16, np.nan, "float32"))
    other = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten()])
    small = Split(split.images[:, :8, :8], split.labels)
    for model, images, options, error, message in (
        (tiny_model, split.subset(np.arange(0)), {}, EmptyDatasetError, "no images"),
        (tiny_model, small, {}, DataError, r"\(8, 8, 3\).*takes \(16, 16, 3\)"),
        (tiny_model, split, {"batch_size": 0}, InvalidArgumentError, "batch_size must be a positive integer, got 0"),
        (other, split, {}, InvalidArgumentError, "not made by vit_keras"),
        (broken, split, {}, DataError, "image 0 are not finite"),
    ):
        with pytest.raises(error, match=message):
            extract_features(model, images, **options)
