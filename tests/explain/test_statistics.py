import numpy as np
import oracle
import pytest
from explain.families import FAMILIES, small_model

from vit_keras import ViTConfig, vit
from vit_keras.errors import InvalidArgumentError
from vit_keras.explain import (
    attention_maps,
    mean_attention_distance,
    overlay,
    patch_filters,
    position_similarity,
    prefix_attention,
    show,
    statistics,
    token_colors,
)
from vit_keras.models.vit import model_config

CONFIG = ViTConfig(image_size=(12, 16), patch_size=4, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=24, num_registers=2)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return oracle.randomize(vit(CONFIG, num_classes=3), seed=2)


def test_distance_is_that_of_the_middles_of_patches(model, images):
    maps = attention_maps(model, images)[..., 3:, 3:]
    expected = np.zeros((2, 2))
    for layer, head in np.ndindex(2, 2):
        found = []
        for image in range(2):
            for query in range(12):
                weights = maps[layer, image, head, query] / maps[layer, image, head, query].sum()
                away = [np.hypot(4 * (key // 4 - query // 4), 4 * (key % 4 - query % 4)) for key in range(12)]
                found.append(weights @ away)
        expected[layer, head] = np.mean(found)
    np.testing.assert_allclose(mean_attention_distance(model, images), expected, rtol=1e-5)


def test_a_head_that_looks_at_no_patch_is_at_no_distance(model, images, monkeypatch):
    maps = np.zeros((1, 2, 2, 15, 15))
    maps[..., 0] = 1.0
    monkeypatch.setattr(statistics, "attention_maps", lambda *given, **arguments: maps)
    np.testing.assert_array_equal(mean_attention_distance(model, images), 0)


def test_positions_are_compared_by_their_cosine(model):
    similarity = position_similarity(model)
    vectors = np.asarray(oracle.weights_of(model)["patch_encoder/position_embedding"])[0, 3:]
    one, other = vectors[1 * 4 + 2], vectors[2 * 4 + 0]
    expected = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert similarity.shape == (3, 4, 3, 4)
    assert similarity[1, 2, 2, 0] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose([similarity[y, x, y, x] for y, x in np.ndindex(3, 4)], 1, rtol=1e-6)
    with pytest.raises(InvalidArgumentError, match="only learned positions"):
        position_similarity(vit(CONFIG.replace(position_embedding="sincos2d")))


def test_filters_are_the_directions_the_projection_varies_in(model):
    filters = patch_filters(model, count=5)
    assert filters.shape == (5, 4, 4, 3)
    np.testing.assert_allclose(filters.reshape(5, -1).min(1), 0, atol=1e-7)
    np.testing.assert_allclose(filters.reshape(5, -1).max(1), 1, rtol=1e-6)
    kernel = oracle.weights_of(model)["patch_encoder/projection/kernel"]
    centered = kernel - kernel.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(centered @ centered.T)
    largest = vectors[:, values.argmax()]
    assert abs(np.corrcoef(filters[0].reshape(-1), largest)[0, 1]) == pytest.approx(1, abs=1e-4)
    with pytest.raises(InvalidArgumentError, match="single projection"):
        patch_filters(vit(CONFIG.replace(stem="conv")))


def test_tokens_alike_have_colors_alike():
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(2, 8))
    kinds = rng.integers(0, 2, (3, 4, 5))
    colors = token_colors(directions[kinds] + 0.001 * rng.normal(size=(3, 4, 5, 8)))
    assert 0 <= colors.min() < colors.max() <= 1
    first = colors[..., 0]
    assert first[kinds == 0].std() < 0.01
    assert abs(first[kinds == 0].mean() - first[kinds == 1].mean()) > 0.9
    with pytest.raises(InvalidArgumentError, match="batch, rows"):
        token_colors(np.zeros((4, 8)))


def test_tokens_in_front_have_names(model, images):
    found = prefix_attention(model, images, layer=0)
    assert list(found) == ["class_token", "register_0", "register_1"]
    maps = attention_maps(model, images, layers=0)[0]
    np.testing.assert_array_equal(found["register_1"], maps[:, :, 2, 3:].reshape(2, 2, 3, 4))
    distilled = next(name for name, config in FAMILIES.items() if config.distillation_token)
    small = small_model(distilled)
    pictures = np.zeros((1, *model_config(small).image_size, 3), "uint8")
    assert list(prefix_attention(small, pictures)) == ["class_token", "distillation_token"]


def test_pictures_are_drawn(images, tmp_path):
    laid = overlay(images[0], np.arange(12).reshape(3, 4))
    assert (laid.shape, laid.dtype) == ((12, 16, 3), np.uint8)
    assert laid[-2:, -2:].mean() > laid[:2, :2].mean()  # the greatest number is brightest
    figure = show([images[0], laid, np.eye(3)], titles=["image", "laid over", "map"], columns=2)
    figure.savefig(tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    for function, wrong, message in (
        (show, [[]], "nothing to show"),
        (show, [[np.zeros((2, 2, 2, 2))]], "pictures: expected arrays"),
        (overlay, [images[0], np.zeros(3)], "a finite map"),
        (overlay, [np.zeros((8, 8, 4)), np.zeros((2, 2))], "1 or 3 channels"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            function(*wrong)
