"""Models with `max_num_patches` are trained and used on folders of images of any aspect ratio."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import vit_keras as vk
from vit_keras.data.augment.augmentation import STRENGTHS
from vit_keras.data.dataset.pipeline import make_training_image
from vit_keras.data.dataset.pool_worker import answer
from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.packing import packed_grid

CONFIG = vk.ViTConfig(
    image_size=16, patch_size=4, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=24, class_token=False, pooling="map",
    max_num_patches=20,
)  # fmt: skip
SIZES = ((20, 40), (50, 20), (30, 30), (16, 70))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Bright and dark images of four aspect ratios."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for label, level in (("dark", 40), ("bright", 200)):
        (root / label).mkdir()
        for index in range(24):
            noise = rng.integers(-30, 30, (*SIZES[index % 4], 3))
            Image.fromarray((level + noise).clip(0, 255).astype("uint8")).save(root / label / f"{index}.png")
    return root


def load(folder, **changes):
    return vk.data.load(folder, preprocessing=vk.data.default_preprocessing(CONFIG.replace(**changes)), batch_size=8)


@pytest.mark.any_backend
def test_batches_are_packed_and_each_image_keeps_its_aspect_ratio(folder):
    data = load(folder)
    assert data.image_shape == (20, 18, 3)
    assert "at most 20 patches" in repr(data)
    grids = {packed_grid(image) for images, _ in data.validation for image in images.numpy()}
    assert grids <= {(3, 6), (7, 2), (4, 4), (2, 10), (2, 9), (6, 3)}
    assert len(grids) > 1
    assert data.fingerprint != load(folder, max_num_patches=19).fingerprint
    assert "<img" in data._repr_html_()


@pytest.mark.parametrize("name", ["none", "moved", "light"])
@pytest.mark.any_backend
def test_images_are_augmented_one_by_one_the_same_every_time(folder, name):
    data = load(folder)
    first, again = (
        [images.numpy() for images, _ in data.training_batches(epochs=2, augmentation=name)] for _ in range(2)
    )
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    half = len(first) // 2
    assert not all(np.array_equal(*pair) for pair in zip(first[:half], first[half:], strict=True))
    plain = np.concatenate([images.numpy() for images, _ in data.training_batches(epochs=1)])
    mean = {label: [] for label in ("dark", "bright")}
    for image in plain:
        mean["dark" if image[0, 2:].mean() < 128 else "bright"].append(image[0, 2:].mean())
    assert max(mean["dark"]) < 90
    assert min(mean["bright"]) > 150


@pytest.mark.any_backend
def test_worker_processes_make_the_same_images(folder):
    split, augmentation = load(folder).splits["train"], STRENGTHS["light"]
    request = {
        "preprocessing": json.dumps(split.preprocessing.to_dict()),
        "augmentation": json.dumps(augmentation.to_dict()),
        "files": [(*split.files.on_disk(index), 7, index) for index in range(4)],
    }
    images, failed = answer(request)
    assert not failed
    for index, image in enumerate(images):
        np.testing.assert_array_equal(image, make_training_image(split, index, augmentation, (7, index)))


@pytest.mark.parametrize("name", ["medium", "strong", "3-augment"])
@pytest.mark.any_backend
def test_mixing_is_refused_in_words(folder, name):
    assert STRENGTHS[name].mixes
    with pytest.raises(InvalidArgumentError, match="MixUp and CutMix mix images of one size"):
        load(folder).training_batches(epochs=1, augmentation=name)


@pytest.mark.any_backend
def test_arrays_are_packed_too_and_packed_data_cannot_be_packed_again():
    images = np.random.default_rng(0).integers(0, 256, (24, 12, 40, 3)).astype("uint8")
    labels = np.arange(24) % 2
    data = vk.data.load((images, labels), preprocessing=vk.data.default_preprocessing(CONFIG), batch_size=8)
    assert data.image_shape == (20, 18, 3)
    next(iter(data.training_batches(epochs=1, augmentation="moved")))
    with pytest.raises(DataError, match="packed for another model"):
        data.resize(vk.data.default_preprocessing(CONFIG.replace(max_num_patches=16)))


def test_finetune_then_predict_evaluate_and_resume_the_directory(folder, tmp_path):
    keras.utils.set_random_seed(0)
    model = vk.vit(CONFIG, num_classes=2)
    run = vk.finetune(
        model, folder, epochs=2, run_dir=tmp_path / "run", batch_size=8, method="finetune", learning_rate=3e-3
    )
    assert vk.load_preprocessing(tmp_path / "run").max_num_patches == 20
    rows = vk.predict(tmp_path / "run", [folder / "dark" / "0.png", folder / "bright" / "1.png"])
    assert [row.classes[0] for row in rows] == ["dark", "bright"]
    assert vk.evaluate(tmp_path / "run", folder).accuracy == pytest.approx(1.0)
    loaded = vk.load_model(tmp_path / "run")
    batch = vk.data.preprocess_images([folder / "dark" / "0.png"], vk.load_preprocessing(tmp_path / "run"))
    np.testing.assert_allclose(loaded.predict(batch, verbose=0), run.model.predict(batch, verbose=0), atol=1e-6)
