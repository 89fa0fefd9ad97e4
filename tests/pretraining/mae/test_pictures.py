import numpy as np
import oracle
import pytest

from vit_keras.config import ViTConfig
from vit_keras.pretraining.mae.pictures import draw_reconstructions

pytestmark = pytest.mark.any_backend

CONFIG = ViTConfig(
    image_size=(8, 13), partial_patches="crop", patch_size=4, hidden_dim=8, num_layers=1, num_heads=1, mlp_dim=8,
    pixel_mean=(0.5, 0.4, 0.3), pixel_std=(0.2, 0.3, 0.4),
)  # fmt: skip


@pytest.mark.parametrize("norm_targets", [True, False])
def test_perfect_predictions_give_the_input_back(rng, norm_targets):
    images = rng.integers(0, 256, (2, 8, 13, 3)).astype("uint8")
    targets = oracle.patches(oracle.pixel_normalization(images, CONFIG.pixel_mean, CONFIG.pixel_std), 4)
    if norm_targets:
        mean, deviation = targets.mean(-1, keepdims=True), np.sqrt(targets.var(-1, ddof=1, keepdims=True) + 1e-6)
        targets = (targets - mean) / deviation
    mask = np.array([[1, 0, 1, 1, 0, 1], [0, 0, 1, 1, 1, 1]])
    found = draw_reconstructions(images, targets, mask, config=CONFIG, norm_targets=norm_targets)
    assert list(found) == ["input", "masked", "reconstructed", "target"]
    whole = images[:, :, :12]
    np.testing.assert_array_equal(found["input"], whole)
    np.testing.assert_array_equal(found["reconstructed"], whole)
    is_masked = mask.reshape(2, 2, 3, 1).repeat(4, axis=1).repeat(4, axis=2) > 0
    np.testing.assert_array_equal(found["masked"], np.where(is_masked, 128, whole))
    np.testing.assert_array_equal(found["target"], np.where(is_masked, whole, 128))
    off = draw_reconstructions(images, targets + 0.5, mask, config=CONFIG, norm_targets=norm_targets)["reconstructed"]
    np.testing.assert_array_equal(np.where(is_masked, 0, off), np.where(is_masked, 0, whole))
    assert (off != whole)[is_masked[..., 0]].mean() > 0.5
