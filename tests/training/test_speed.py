import pytest

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.training import memory, speed

CONFIG = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)


def test_a_batch_that_should_not_fit_is_refused_with_one_that_should(monkeypatch):
    monkeypatch.setattr(speed, "free_bytes", lambda device: 2**22)
    most = memory.largest_batch(CONFIG, num_classes=1000, free=2**22)
    assert 1 < most < 1000
    with pytest.raises(InvalidArgumentError, match=f"about {most} would.*remat.*gradient_accumulation_steps"):
        speed.measure_speed(CONFIG, batch_sizes=[most + 1], precision="float32", seconds=0.01)
    found = speed.measure_speed(CONFIG, batch_sizes=[most], precision="float32", seconds=0.01)
    assert found.largest_batch == most


@pytest.mark.slow
def test_sizes_that_do_not_fit_are_left_out_of_training_by_default(monkeypatch):
    most = 20
    free = int((memory.training_bytes(CONFIG, num_classes=1000, batch_size=most) + 1000) / 0.9)
    monkeypatch.setattr(speed, "free_bytes", lambda device: free)
    found = speed.measure_speed(CONFIG, precision="float32", seconds=0.01)
    assert [rate.batch_size for rate in found.inference] == [1, 16, 64]
    assert [rate.batch_size for rate in found.training] == [1, 16]
