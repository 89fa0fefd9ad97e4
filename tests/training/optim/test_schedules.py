import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.training.optim.schedules import WarmupLinear, make_schedule


def test_a_schedule_starts_at_the_peak_without_a_warmup_ends_at_zero_and_has_a_known_shape():
    for shape in ("cosine", "linear"):
        schedule = make_schedule(shape, 0.5, steps=100, warmup_steps=0)
        assert [float(schedule(step)) for step in (0, 50, 100)] == pytest.approx([0.5, 0.25, 0.0], abs=1e-6)
    assert make_schedule("constant", 1, steps=100, warmup_steps=0) == 1.0


def test_a_constant_rate_may_have_a_warmup():
    schedule = make_schedule("constant", 1.0, steps=100, warmup_steps=4)
    assert [float(schedule(step)) for step in (0, 2, 4, 99)] == [0.0, 0.5, 1.0, 1.0]


def test_a_schedule_ends_at_zero_and_stays_there():
    schedule = WarmupLinear(0.5, warmup_steps=10, decay_steps=90)
    assert [float(schedule(step)) for step in (0, 5, 10, 55, 100, 200)] == [0.0, 0.25, 0.5, 0.25, 0.0, 0.0]
    with pytest.raises(InvalidArgumentError, match="step"):
        make_schedule("step", 1.0, steps=2, warmup_steps=1)
