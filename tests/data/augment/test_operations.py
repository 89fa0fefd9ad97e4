from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_keras.data.augment.operations import OPERATIONS, PLAIN_OPERATIONS

GOLDEN = Path(__file__).parents[2] / "golden" / "augmentation"
SETS = {"increasing": OPERATIONS, "plain": PLAIN_OPERATIONS}


def read(name):
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


REFERENCES, ARGUMENTS = read("operations"), read("arguments")
CASES = [key for key in REFERENCES if "/" in key]


class Always:
    """A random generator that always draws the same number."""

    def __init__(self, number):
        self.number = number

    def random(self):
        return self.number


def image_of(mode):
    return Image.fromarray(REFERENCES[mode])


def test_every_operation_has_a_reference_in_color_and_gray():
    for mode in ("rgb", "l"):
        assert {key.split("/")[1] for key in CASES if key.startswith(mode + "/")} == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_gives_timm_s_bytes(name):
    for case in (case for case in CASES if case.split("/")[1] == name):
        mode, _, argument, kernel = case.split("/")
        rng = Always(0.1 if kernel == "bicubic" else 0.9)
        changed = OPERATIONS[name].change(image_of(mode), float(argument), rng)
        np.testing.assert_array_equal(np.asarray(changed), REFERENCES[case], err_msg=case)


@pytest.mark.parametrize("key", [key for key in ARGUMENTS if "/" in key])
def test_a_magnitude_means_what_it_means_to_timm(key):
    kind, name = key.split("/")
    for row, draw in zip(ARGUMENTS[key], (0.1, 0.9), strict=True):
        rng = Always(draw)
        ours = [SETS[kind][name].argument(magnitude, rng) for magnitude in ARGUMENTS["magnitudes"].tolist()]
        assert ours == row.tolist()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("magnitude", [0.0, 9.99, 30.0])
@pytest.mark.parametrize("kind", SETS)
def test_every_magnitude_keeps_size_and_mode(kind, magnitude, mode, rng):
    for size in ((13, 8), (1, 1)):
        image = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3)).astype("uint8")).convert(mode)
        before = image.tobytes()
        for name, operation in SETS[kind].items():
            changed = operation.apply(image, magnitude, rng)
            assert (changed.size, changed.mode) == (size, mode), name
        assert image.tobytes() == before  # never changed in place


@pytest.mark.parametrize("name", ["rotate", "translate_x"])
def test_a_move_goes_either_way_with_either_kernel_one_time_in_two(name, rng):
    image = image_of("l")
    results = [OPERATIONS[name].apply(image, 7.0, rng).tobytes() for _ in range(400)]
    counts = [results.count(result) for result in set(results)]
    assert len(counts) == 4
    assert min(counts) > 65  # a hundred is expected; four standard deviations below are 65


def test_magnitude_0_leaves_an_image_alone_and_10_does_not():
    image = image_of("rgb")
    for name in set(OPERATIONS) - {"autocontrast", "equalize", "invert", "posterize"}:
        assert OPERATIONS[name].apply(image, 0.0, Always(0.1)).tobytes() == image.tobytes(), name
        assert OPERATIONS[name].apply(image, 10.0, Always(0.1)).tobytes() != image.tobytes(), name
