import numpy as np
import pytest
from keras import ops

from vit_keras.pretraining.sigreg import sigreg


def oracle(sample):
    """The integral over all t in closed form, for one direction."""
    count = len(sample)
    pairs = np.exp(-((sample[:, None] - sample) ** 2) / 2).mean()
    return count * np.sqrt(2 * np.pi) * (pairs - np.sqrt(2) * np.exp(-(sample**2) / 4).mean() + 1 / np.sqrt(3))


def statistic(embeddings, directions, **options):
    return ops.convert_to_numpy(sigreg(ops.convert_to_tensor(embeddings.astype("float32")), directions, **options))


def test_it_is_the_trapezoidal_rule_of_the_papers_integral(rng):
    embeddings, directions = rng.normal(size=(3, 50, 6)) * 1.3, rng.normal(size=(6, 4)).astype("float32")
    found = statistic(embeddings, directions)
    assert found.shape == (3, 4)
    times = np.linspace(-3, 3, 33)
    for view in range(3):
        for column in range(4):
            projected = embeddings[view] @ directions[:, column] / np.linalg.norm(directions[:, column])
            empirical = np.exp(1j * projected[:, None] * times).mean(axis=0)
            target = np.exp(-(times**2) / 2)
            integral = np.trapezoid(np.abs(empirical - target) ** 2 * target, times)
            np.testing.assert_allclose(found[view, column], 50 * integral, rtol=1e-4)


@pytest.mark.any_backend
def test_it_approaches_the_closed_form_with_more_knots_over_all_t(rng):
    for sample in (rng.normal(size=200), 3 * rng.normal(size=200), rng.uniform(size=200), np.zeros(200)):
        found = statistic(sample[:, None], np.ones((1, 1), "float32"), knots=400, limit=8.0)[0]
        assert found == pytest.approx(oracle(sample), rel=1e-3, abs=1e-3)


@pytest.mark.any_backend
def test_known_values(rng):
    directions = rng.normal(size=(16, 256)).astype("float32")
    # Means over samples of the expectation sqrt(2 pi) (1 - 1 / sqrt(3)) = 1.0594, of which 1.0525 is at |t| up to 3.
    gaussian = [statistic(rng.normal(size=(256, 16)), directions).mean() for _ in range(20)]
    assert np.mean(gaussian) == pytest.approx(1.0525, abs=0.1)
    assert statistic(np.zeros((256, 16)), directions).mean() == pytest.approx(0.40205 * 256, rel=1e-3)
    assert statistic(0.1 * rng.normal(size=(256, 16)), directions).mean() == pytest.approx(99.0, rel=0.02)
    assert statistic(3 * rng.normal(size=(256, 16)), directions).mean() == pytest.approx(128.2, rel=0.05)
    one = np.repeat(rng.normal(size=(256, 1)), 16, axis=1)
    assert statistic(one, directions).mean() == pytest.approx(43.5, rel=0.25)
