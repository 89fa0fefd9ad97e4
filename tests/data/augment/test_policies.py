import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vit_keras.data.augment.operations import OPERATIONS
from vit_keras.data.augment.policies import RandAugment, SingleOperation, ThreeAugment, parse_policy
from vit_keras.errors import InvalidArgumentError

GOLDEN = Path(__file__).parents[2] / "golden" / "augmentation"
DOT = Image.new("RGB", (1, 1))


@pytest.fixture(scope="module")
def picture():
    with np.load(GOLDEN / "operations.npz", allow_pickle=False) as arrays:
        return Image.fromarray(arrays["rgb"])


@pytest.fixture
def applied(monkeypatch):
    """Records what RandAugment applies, as (set, number of the operation, magnitude), in place of applying it."""
    calls = []

    def recording(kind, number):
        return SimpleNamespace(apply=lambda image, magnitude, rng: calls.append((kind, number, magnitude)) or image)

    for kind in ("increasing", "plain"):
        operations = tuple(recording(kind, number) for number in range(15))
        monkeypatch.setattr(f"vit_keras.data.augment.policies._{kind.upper()}", operations)
    return calls


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("rand-m9-mstd0.5-inc1", RandAugment(magnitude=9, magnitude_std=0.5, increasing=True)),
        ("rand", RandAugment(magnitude=10, magnitude_std=0, highest=10, num_operations=2, rate=0.5, increasing=False)),
        ("rand-n3-inc0-p1-mmax15-m12", RandAugment(magnitude=12, highest=15, num_operations=3, rate=1)),
        ("rand-m5-mstd100", RandAugment(magnitude=5, magnitude_std=100)),
        ("rand-m5-mstd101", RandAugment(magnitude=5, magnitude_std=math.inf)),
        ("3-augment", ThreeAugment(jitter=0.3)),
        ("3-augment-j0.5", ThreeAugment(jitter=0.5)),
        ("autocontrast-p0.5", SingleOperation(name="autocontrast", rate=0.5)),
        ("solarize_add-m9-p.1", SingleOperation(name="solarize_add", magnitude=9, rate=0.1)),
    ],
)
def test_a_name_is_parsed(name, policy):
    assert parse_policy(name) == policy


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "rand-m9-mstd0.5-inc1"),
        ("rnad-m9", "closest are rand"),
        ("autocontrats", "closest are autocontrast"),
        ("random-m9", "no policy"),
        ("rand-", "'' is not one of m, n, p, mstd, mmax, inc"),
        ("rand-m9-m9", "'m9' is not one of .* each at most once"),
        ("rand-n2.5", "'n2.5' is not one of"),
        ("rand-p1.5-n0", r"rate=1\.5.*from 0 to 1|num_operations=0.*rate=1\.5"),
        ("3-augment-m9", "'m9' is not one of j"),
        ("3-augment-j1.5", r"jitter=1\.5"),
        ("invert-j2", "'j2' is not one of m, p"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_closest(name, message):
    with pytest.raises(InvalidArgumentError, match=message):
        parse_policy(name)


def test_an_illegal_number_is_named():
    for field in ("magnitude", "magnitude_std", "highest", "num_operations", "rate"):
        for value in (-1, math.nan, "1"):
            with pytest.raises(InvalidArgumentError, match=field):
                RandAugment(**{field: value})


@pytest.mark.parametrize("name", ["rand-m15-n3-p1-mstd101-mmax20", "3-augment", "equalize-p0.5"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_same_draws_give_the_same_bytes_and_others_do_not(picture, name, mode):
    image, policy = picture.convert(mode), parse_policy(name)
    first, second = ([policy.apply(image, np.random.default_rng(seed)) for seed in range(20)] for _ in range(2))
    assert {result.size for result in first} == {image.size}
    assert {result.mode for result in first} == {mode}
    assert [result.tobytes() for result in first] == [result.tobytes() for result in second]
    assert len({result.tobytes() for result in first}) > 1


def test_rand_augment_chooses_alike_and_applies_the_fraction(applied, rng):
    policy = parse_policy("rand-m9-mstd0.5-inc1")
    per_image = []
    for _ in range(6000):
        before = len(applied)
        policy.apply(DOT, rng)
        per_image.append(len(applied) - before)
    assert {kind for kind, _, _ in applied} == {"increasing"}
    np.testing.assert_allclose(np.bincount(per_image) / 6000, [0.25, 0.5, 0.25], atol=0.03)
    chosen = np.bincount([number for _, number, _ in applied], minlength=15) / len(applied)
    np.testing.assert_allclose(chosen, 1 / 15, atol=0.016)  # five standard deviations


def test_rand_augment_draws_the_second_change_regardless_of_the_first(applied, rng):
    policy = parse_policy("rand-p1")
    for _ in range(9000):
        policy.apply(DOT, rng)
    assert {kind for kind, _, _ in applied} == {"plain"}
    numbers = np.array([number for _, number, _ in applied]).reshape(-1, 2)
    together = np.histogram2d(*numbers.T, bins=15, range=[[0, 15]] * 2)[0] / 9000
    np.testing.assert_allclose(together, 1 / 225, atol=0.0036)  # five standard deviations; the same one twice too


@pytest.mark.parametrize(
    ("name", "mean", "deviation", "at_the_end"),
    [
        ("rand-p1-m5", 5, 0, 0),
        ("rand-p1-m5-mstd1", 5, 1, 0),
        ("rand-p1-m10-mstd1", 10 - 0.3989, 0.5838, 0.5),  # a normal distribution cut in the middle
        ("rand-p1-m0-mstd1", 0.3989, 0.5838, 0),
        ("rand-p1-m8-mstd1000", 4, 8 / 12**0.5, 0),
        ("rand-p1-m14", 10, 0, 1),
        ("rand-p1-m14-mmax20", 14, 0, 0),
    ],
)
def test_the_strength_is_drawn_around_the_magnitude_and_cut(applied, rng, name, mean, deviation, at_the_end):
    for _ in range(4000):
        parse_policy(name).apply(DOT, rng)
    strengths = np.array([magnitude for _, _, magnitude in applied])
    assert abs(strengths.mean() - mean) < 0.08
    assert abs(strengths.std() - deviation) < 0.06
    assert abs((strengths == 10).mean() - at_the_end) < 0.03
    assert strengths.min() >= 0


def script(kind, order=(), uniforms=()):
    """Returns a random generator with given draws."""
    draws = iter(uniforms)
    return SimpleNamespace(
        integers=lambda low, high: kind,
        permutation=lambda count: np.array(order),
        uniform=lambda low, high: next(draws),
    )


@pytest.mark.parametrize(("kind", "name", "radius"), [(0, "grey", []), (1, "solarize", []), (2, "blur", [1.3])])
def test_three_augment_gives_torchvision_s_bytes(picture, kind, name, radius):
    with np.load(GOLDEN / "three_augment.npz", allow_pickle=False) as references:
        reference = references[name]
    changed = ThreeAugment().apply(picture, script(kind, [2, 0, 1], [*radius, 1.2, 0.8, 1.1]))
    np.testing.assert_array_equal(np.asarray(changed), reference)


def test_three_augment_always_applies_one_of_three_alike(picture, rng):
    policy = ThreeAugment(jitter=0)
    gray, solarized = (policy.apply(picture, script(kind)).tobytes() for kind in (0, 1))
    results = [policy.apply(picture, rng).tobytes() for _ in range(1500)]
    blurred = [result for result in results if result not in (gray, solarized)]
    assert len(set(blurred)) > 50  # radii
    for count in (results.count(gray), results.count(solarized), len(blurred)):
        assert abs(count / 1500 - 1 / 3) < 0.06


def test_three_augment_jitters_in_every_order_with_uniform_factors(rng):
    orders, factors = [], []

    class Recording(np.random.Generator):
        def permutation(self, count):
            orders.append(tuple(super().permutation(count).tolist()))
            return np.array(orders[-1])

        def uniform(self, low, high):
            value = super().uniform(low, high)
            if low > 0.1:  # 0.1 is the least radius of the blur
                factors.append(value)
            return value

    recording = Recording(rng.bit_generator)
    for _ in range(1200):
        ThreeAugment(jitter=0.3).apply(DOT, recording)
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert min(counts) > 140  # two hundred are expected
    assert len(factors) == 3600
    assert 0.7 <= min(factors) < 0.71
    assert 1.29 < max(factors) <= 1.3
    assert abs(np.mean(factors) - 1) < 0.015


def test_a_single_operation_is_applied_to_that_fraction_or_always(picture, rng):
    policy = parse_policy("equalize-p0.3")
    results = [policy.apply(picture, rng).tobytes() for _ in range(1500)]
    assert set(results) == {picture.tobytes(), OPERATIONS["equalize"].apply(picture, 5.0, rng).tobytes()}
    assert abs(results.count(picture.tobytes()) / 1500 - 0.7) < 0.06
    for name in OPERATIONS:
        assert parse_policy(name).apply(picture, rng).tobytes() != picture.tobytes()
