"""Positions, patches and channels are resized as the other libraries do."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_keras.config import PatchResize, PositionResize
from vit_keras.errors import InvalidArgumentError
from vit_keras.weights.adapt.resize import resize_channels, resize_matrix, resize_patches, resize_positions

POSITION_RULES = get_args(PositionResize)
GRIDS = [((14, 14), (24, 24)), ((37, 37), (16, 16)), ((3, 5), (8, 2)), ((1, 1), (4, 4)), ((6, 6), (1, 1))]


TORCH_RULES = {
    "bicubic": {"mode": "bicubic", "align_corners": False},
    "bicubic_antialias": {"mode": "bicubic", "align_corners": False, "antialias": True},
    "bicubic_offset": {"mode": "bicubic", "recompute_scale_factor": False},  # DINO's
    "bilinear": {"mode": "bilinear", "align_corners": False},
    "bilinear_antialias": {"mode": "bilinear", "align_corners": False, "antialias": True},
    "bilinear_corners": {"mode": "bilinear", "align_corners": True},
    "bilinear_crop": {"mode": "bilinear", "align_corners": False},
    "bilinear_corners_crop": {"mode": "bilinear", "align_corners": True},
    "bicubic_antialias_crop": {"mode": "bicubic", "align_corners": False, "antialias": True},
}


@pytest.mark.parametrize(("before", "after"), GRIDS)
@pytest.mark.parametrize("rule", POSITION_RULES)
def test_positions_are_resized_as_torch_does(rng, rule, before, after):
    torch = pytest.importorskip("torch")
    positions = rng.normal(size=(1, before[0] * before[1], 6)).astype("float32")
    scales = tuple((new + 0.1) / old for old, new in zip(before, after, strict=True))
    square = (max(after),) * 2 if rule.endswith("_crop") else after
    size = {"scale_factor": scales} if rule == "bicubic_offset" else {"size": square}
    images = torch.from_numpy(positions).reshape(1, *before, -1).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(images, **size, **TORCH_RULES[rule])[..., : after[0], : after[1]]
    assert tuple(expected.shape[2:]) == after
    resized = resize_positions(positions, before=before, after=after, rule=rule)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected.permute(0, 2, 3, 1).reshape(1, -1, 6).numpy(), atol=1e-5)


@pytest.mark.parametrize(("before", "after"), GRIDS)
def test_aligned_corners_equal_googles_zoom(rng, before, after):
    zoom = pytest.importorskip("scipy.ndimage").zoom
    positions = rng.normal(size=(1, before[0] * before[1], 6)).astype("float32")
    factors = (*(new / old for old, new in zip(before, after, strict=True)), 1)
    expected = zoom(positions.reshape(*before, 6), factors, order=1).reshape(1, -1, 6)
    resized = resize_positions(positions, before=before, after=after, rule="bilinear_corners")
    np.testing.assert_allclose(resized, expected, atol=1e-5)


def test_the_matrix_equals_a_plain_loop():
    """Three new cells from five have centers 1/3, 2 and 11/3; with antialias, a triangle is 5/3 wide."""
    plain = [[2 / 3, 1 / 3, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1 / 3, 2 / 3]]
    np.testing.assert_allclose(resize_matrix(5, 3, kind="bilinear"), plain, atol=1e-12)
    wide = np.array([[max(0, 1 - abs(old - center) * 3 / 5) for old in range(5)] for center in (1 / 3, 2, 11 / 3)])
    expected = wide / wide.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(resize_matrix(5, 3, kind="bilinear", antialias=True), expected, atol=1e-12)


def test_the_cubic_half_way_between_two_cells_has_its_closed_form():
    row = resize_matrix(8, 4, kind="bicubic")[1]  # its center is 2.5
    cubic = -0.75
    np.testing.assert_allclose(row, [0, cubic / 8, 0.5 - cubic / 8, 0.5 - cubic / 8, cubic / 8, 0, 0, 0], atol=1e-12)


@pytest.mark.parametrize("rule", POSITION_RULES)
def test_positions_of_prefix_tokens_are_unchanged_and_not_in_the_grid(rng, rule):
    positions = rng.normal(size=(1, 2 + 12, 5)).astype("float32")
    both = resize_positions(positions, before=(3, 4), after=(5, 2), rule=rule, num_prefix=2)
    grid = resize_positions(positions[:, 2:], before=(3, 4), after=(5, 2), rule=rule)
    np.testing.assert_array_equal(both[:, :2], positions[:, :2])
    np.testing.assert_array_equal(both[:, 2:], grid)
    same = resize_positions(positions, before=(3, 4), after=(3, 4), rule=rule, num_prefix=2)
    np.testing.assert_array_equal(same, positions)
    assert not np.shares_memory(same, positions)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_positions_of_any_float_dtype_become_float32(rng, dtype):
    pytest.importorskip("ml_dtypes")
    positions = rng.normal(size=(1, 9, 4)).astype(dtype)
    expected = resize_positions(positions.astype("float32"), before=(3, 3), after=(4, 4), rule="bicubic")
    resized = resize_positions(positions, before=(3, 3), after=(4, 4), rule="bicubic")
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected, atol=1e-6)


SIDES = st.integers(1, 12)
RULES = st.sampled_from(POSITION_RULES)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(before=st.tuples(SIDES, SIDES), after=st.tuples(SIDES, SIDES), rule=RULES, value=st.floats(-10, 10, width=32))
def test_constant_positions_stay_constant(before, after, rule, value):
    positions = np.full((1, before[0] * before[1], 2), value, "float32")
    resized = resize_positions(positions, before=before, after=after, rule=rule)
    np.testing.assert_allclose(resized, np.full((1, after[0] * after[1], 2), value), atol=1e-5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(before=st.tuples(SIDES, SIDES), after=st.tuples(SIDES, SIDES), rule=RULES, seed=st.integers(0, 99))
def test_a_transposed_grid_gives_the_transposed_result(before, after, rule, seed):
    grid = np.random.default_rng(seed).normal(size=(*before, 2))
    straight = resize_positions(grid.reshape(1, -1, 2), before=before, after=after, rule=rule)
    turned = resize_positions(grid.swapaxes(0, 1).reshape(1, -1, 2), before=before[::-1], after=after[::-1], rule=rule)
    np.testing.assert_allclose(turned.reshape(*after[::-1], 2).swapaxes(0, 1), straight.reshape(*after, 2), atol=1e-5)


@pytest.mark.parametrize(
    ("resize", "change", "reason"),
    [
        (resize_positions, {"positions": np.zeros((1, 10, 4))}, r"\(1, 10, 4\).*3 x 3.*expected \(1, 9, hidden_dim\)"),
        (resize_positions, {"positions": np.zeros((9, 4))}, r"\(9, 4\)"),
        (resize_positions, {"num_prefix": 1}, "1 prefix tokens"),
        (resize_positions, {"num_prefix": -1}, "num_prefix=-1"),
        (resize_positions, {"before": (9, 0)}, "before columns=0"),
        (resize_positions, {"after": (2.0, 3)}, "after rows=2.0"),
        (resize_positions, {"after": 4}, r"after=4 is not \(rows, columns\)"),
        (resize_positions, {"rule": "lanczos"}, "rule='lanczos'; choose one of"),
        (resize_patches, {"kernel": np.zeros((75, 4))}, r"\(75, 4\).*4 x 4 px with 3 channels; expected \(48, hidden_dim\)"),
        (resize_patches, {"kernel": np.zeros((4, 4, 3, 4))}, r"\(4, 4, 3, 4\)"),
        (resize_patches, {"channels": 1}, "1 channels"),
        (resize_patches, {"after": 0}, "after=0"),
        (resize_patches, {"rule": "bicubic"}, "rule='bicubic'; choose one of"),
        (resize_channels, {"kernel": np.zeros((50, 4))}, r"\(50, 4\).*square patches with 3 channels"),
        (resize_channels, {"kernel": np.zeros((18, 4))}, "square patches"),
        (resize_channels, {"kernel": np.zeros((0, 4))}, "square patches"),
        (resize_channels, {"kernel": np.zeros(48)}, "square patches"),
        (resize_channels, {"after": 0}, "after=0"),
        (resize_channels, {"after": 2, "rule": "sum"}, "'sum' makes one channel, not 2; choose 'mean' or 'repeat'"),
        (resize_channels, {"rule": "median"}, "rule='median'; choose one of"),
    ],
)  # fmt: skip
def test_what_cannot_be_resized_is_refused_with_the_reason(resize, change, reason):
    arguments = {
        resize_positions: {"positions": np.zeros((1, 9, 4)), "before": (3, 3), "after": (4, 4), "rule": "bicubic"},
        resize_patches: {"kernel": np.zeros((48, 4)), "before": 4, "after": 6, "channels": 3, "rule": "bilinear"},
        resize_channels: {"kernel": np.zeros((48, 4)), "before": 3, "after": 1, "rule": "sum"},
    }[resize] | change
    with pytest.raises(InvalidArgumentError, match=reason):
        resize(arguments.pop("positions" if resize is resize_positions else "kernel"), **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"before": 0}, {"after": True}, {"kind": "nearest"}, {"scale": 0.0}, {"scale": 1.4}, {"scale": float("inf")},
        {"scale": float("nan")}, {"align_corners": True, "antialias": True}, {"align_corners": True, "scale": 2.0},
    ],
)  # fmt: skip
def test_illegal_arguments_of_a_matrix_are_refused(arguments):
    with pytest.raises(InvalidArgumentError, match="resize_matrix"):
        resize_matrix(**{"before": 4, "after": 6, "kind": "bicubic", **arguments})


def by_definition(kernel, before, after, channels, **arguments):
    """Returns a kernel resized as in FlexiViT's paper: B from resized unit patches, then `pinv(B).T @ kernel` per channel."""
    torch = pytest.importorskip("torch")
    units = torch.eye(before * before, dtype=torch.float64).reshape(-1, 1, before, before)
    resized = torch.nn.functional.interpolate(units, size=(after, after), align_corners=False, **arguments)
    matrix = resized.reshape(before * before, after * after).T.numpy()  # B: (after**2, before**2)
    by_channel = kernel.astype("float64").reshape(before * before, channels, -1)
    return np.einsum("oa,acd->ocd", np.linalg.pinv(matrix).T, by_channel).reshape(after * after * channels, -1)


@pytest.mark.parametrize(("before", "after"), [(16, 8), (8, 16), (12, 5), (16, 1), (1, 4)])
@pytest.mark.parametrize(
    ("rule", "arguments"),
    [("bicubic_antialias", {"mode": "bicubic", "antialias": True}), ("bilinear", {"mode": "bilinear"})],
)
def test_patches_are_resized_by_the_pseudo_inverse(rng, rule, arguments, before, after):
    kernel = rng.normal(size=(before * before * 3, 4)).astype("float32")
    resized = resize_patches(kernel, before=before, after=after, channels=3, rule=rule)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, by_definition(kernel, before, after, 3, **arguments), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", get_args(PatchResize))
def test_a_larger_patch_gives_the_same_token_and_an_equal_one_the_same_bits(rng, rule):
    small, kernel = rng.normal(size=(8, 8, 3)), rng.normal(size=(8 * 8 * 3, 4)).astype("float32")
    matrix = resize_matrix(8, 20, kind="bilinear" if rule == "bilinear" else "bicubic", antialias=rule != "bilinear")
    large = np.einsum("ya,xb,abc->yxc", matrix, matrix, small)
    resized = resize_patches(kernel, before=8, after=20, channels=3, rule=rule)
    np.testing.assert_allclose(large.reshape(-1) @ resized, small.reshape(-1) @ kernel, atol=1e-4)
    np.testing.assert_array_equal(resize_patches(kernel, before=8, after=8, channels=3, rule=rule), kernel)


@pytest.mark.parametrize(("rule", "after"), [("sum", 1), ("mean", 1), ("mean", 5), ("repeat", 5), ("repeat", 6)])
def test_channels_are_changed_by_the_rule_and_gray_images_give_the_same_tokens(rng, rule, after):
    kernel, gray = rng.normal(size=(4, 4, 3, 5)).astype("float32"), rng.normal(size=(4, 4, 1))
    flat = kernel.reshape(-1, 5)
    resized = resize_channels(flat, before=3, after=after, rule=rule)
    one = {"sum": kernel.sum(2, keepdims=True), "mean": kernel.mean(2, keepdims=True) * 3 / after}
    expected = one[rule].repeat(after, 2) if rule in one else kernel[:, :, np.arange(after) % 3] * 3 / after  # timm's
    np.testing.assert_allclose(resized.reshape(4, 4, after, 5), expected, atol=1e-6)
    if rule != "repeat" or after % 3 == 0:
        tokens, before = (gray.repeat(each, 2).reshape(-1) for each in (after, 3))
        np.testing.assert_allclose(tokens @ resized, before @ flat, atol=1e-5)
    np.testing.assert_array_equal(resize_channels(flat, before=3, after=3, rule=rule), flat)
