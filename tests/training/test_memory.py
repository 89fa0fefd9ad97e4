import psutil
import pytest

from vit_keras.config import ViTConfig
from vit_keras.presets import load_preset
from vit_keras.training import memory

CONFIG = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)


def test_the_head_is_counted_among_the_parameters():
    config = load_preset("vit_base_patch16_224").config
    assert memory.model_cost(config, num_classes=1000)["parameters"] == 86_567_656


def test_half_precision_makes_room_for_twice_the_images():
    options = {"num_classes": 10, "free": 2**30}
    whole, half = (memory.largest_batch(CONFIG, bytes_per_number=number, **options) for number in (4, 2))
    assert half == pytest.approx(2 * whole, rel=0.01)


def test_free_memory_is_no_more_than_there_is():
    assert 0 < memory.free_bytes() <= psutil.virtual_memory().total
