import keras
import numpy as np
import pytest
from backends import only_elsewhere, some_elsewhere

from vit_keras.layers.base.grids import INDEX_OF_PADDING, grid_indices, pad_images, resize_grid, resize_to_packed

torch = pytest.importorskip("torch")

RULES = {
    "bicubic_antialias": {"mode": "bicubic", "antialias": True},
    "bicubic": {"mode": "bicubic"},
    "bilinear": {"mode": "bilinear"},
    "bilinear_antialias": {"mode": "bilinear", "antialias": True},
    "bilinear_corners": {"mode": "bilinear", "align_corners": True},
    "bilinear_crop": {"mode": "bilinear"},
    "bilinear_corners_crop": {"mode": "bilinear", "align_corners": True},
}


def by_torch(positions, before, after, **arguments):
    grid = torch.from_numpy(positions).reshape(1, *before, -1).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(grid, **arguments)[..., : after[0], : after[1]]
    assert tuple(resized.shape[2:]) == after
    return resized.permute(0, 2, 3, 1).reshape(1, after[0] * after[1], -1).numpy()


@pytest.mark.parametrize("rule", [*RULES, "bicubic_offset"])
@pytest.mark.parametrize(
    ("before", "after"),
    some_elsewhere([((7, 7), (5, 11)), ((4, 6), (9, 3)), ((1, 2), (3, 1)), ((3, 4), (3, 5))], every=4),
)
def test_positions_are_resized_as_torch_does(rule, before, after):
    positions = np.random.default_rng(0).normal(size=(1, before[0] * before[1], 5)).astype("float32")
    found = keras.ops.convert_to_numpy(resize_grid(positions, before=before, after=after, rule=rule))
    if rule == "bicubic_offset":  # as DINO and DINOv2 call it
        scale = tuple((new + 0.1) / old for new, old in zip(after, before, strict=True))
        expected = by_torch(positions, before, after, mode="bicubic", scale_factor=scale)
    else:
        square = (max(after),) * 2
        expected = by_torch(positions, before, after, size=square if rule.endswith("_crop") else after, **RULES[rule])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("rule", [*RULES, "bicubic_offset"])
def test_a_grid_of_equal_size_keeps_its_bits_where_sizes_are_tensors(rule):
    positions = np.random.default_rng(0).normal(size=(1, 12, 5)).astype("float32")
    after = tuple(keras.ops.convert_to_tensor(count) for count in (3, 4))
    if keras.backend.backend() != "tensorflow":
        after = (3, 4)
    found = resize_grid(positions, before=(3, 4), after=after, rule=rule)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found), positions)


@pytest.mark.parametrize(
    "rule", only_elsewhere((*RULES, "bicubic_offset"), "bicubic_antialias", "bilinear_corners_crop")
)
def test_positions_of_packed_images_are_resized_as_those_of_each_grid(rule):
    before, grids = (4, 5), [(4, 5), (2, 7), (9, 1)]
    positions = np.random.default_rng(0).normal(size=(1, 20, 6)).astype("float32")
    indices = np.full((3, 20, 2), INDEX_OF_PADDING, "int32")
    for each, (rows, columns) in zip(indices, grids, strict=True):
        each[: rows * columns] = np.indices((rows, columns)).reshape(2, -1).T
    found = resize_to_packed(keras.ops.convert_to_tensor(positions), indices, before=before, rule=rule)
    for each, after in zip(keras.ops.convert_to_numpy(found), grids, strict=True):
        expected = keras.ops.convert_to_numpy(resize_grid(positions, before=before, after=after, rule=rule))[0]
        np.testing.assert_allclose(each[: len(expected)], expected, atol=1e-6)
        assert not each[len(expected) :].any()


def test_images_are_padded_at_the_bottom_and_at_the_right():
    images = np.random.default_rng(0).normal(size=(2, 5, 8, 3)).astype("float32")
    padded = keras.ops.convert_to_numpy(pad_images(images, 4))
    np.testing.assert_array_equal(padded, np.pad(images, ((0, 0), (0, 3), (0, 0), (0, 0))))


def test_the_indices_are_rows_and_columns():
    found = keras.ops.convert_to_numpy(grid_indices(2, 3, num_prefix_tokens=1))
    assert found.tolist() == [[-1, -1], [0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
