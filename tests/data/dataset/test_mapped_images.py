"""Memory-mapped arrays are read by index and never copied as a whole; the expected pixels are numpy's and Pillow's."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vit_keras.data import load
from vit_keras.data.dataset.folds import make_folds
from vit_keras.data.dataset.mapped_images import MappedImages, find_map

COUNT = 40


@pytest.fixture
def save(tmp_path):
    """Returns a function that writes an array and returns it memory-mapped."""

    def map_array(array):
        np.save(tmp_path / "images.npy", array)
        return np.load(tmp_path / "images.npy", mmap_mode="r")

    return map_array


def arrays(shape=(8, 9, 3)):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (COUNT, *shape)).astype("uint8"), np.arange(COUNT) % 2


def test_maps_and_their_views_are_recognized(save):
    mapped = save(arrays()[0])
    for view in (mapped, mapped[3:], np.asarray(mapped), mapped[..., :1], np.asarray(mapped)[::2]):
        assert find_map(view)
    for copied in (np.array(mapped), mapped[[1, 2]], arrays()[0]):
        assert not find_map(np.array(copied))


def test_mapped_images_are_loaded_as_arrays_in_memory(save):
    images, labels = arrays()
    data, plain = load((save(images), labels)), load((images, labels))
    assert all(isinstance(split.images, MappedImages) for split in data.splits.values())
    assert data.fingerprint == plain.fingerprint
    for (found, label), (expected, same) in zip(data.validation, plain.validation, strict=True):
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(label, same)
    first, expected = (next(iter(each.training_batches(epochs=1, augmentation="light")))[0] for each in (data, plain))
    np.testing.assert_array_equal(first, expected)


def test_floats_are_scaled_and_sizes_and_channels_are_changed_when_they_are_read(save):
    values = np.random.default_rng(1).random((COUNT, 8, 8, 3)).astype("float32")
    labels = np.arange(COUNT) % 2
    mapped, plain = load((save(values), labels)), load((values, labels))
    assert isinstance(mapped.splits["train"].images, MappedImages)
    assert mapped.fingerprint == plain.fingerprint
    images, labels = arrays()
    data = load((save(images), labels), image_size=(6, 4), channels=1)
    split = data.splits["train"]
    assert isinstance(split.images, MappedImages)
    assert data.image_shape == (6, 4, 1)
    place = int(split.images.rows[0])
    # The image fills 6x4 px after a resize to 6x7, of which the middle is kept.
    scale = 8 / 6
    left = (round(9 / scale) - 4) / 2
    box = (round(left) * 9 / 7, 0, (round(left) + 4) * 9 / 7, 8)
    by_hand = Image.fromarray(images[place]).convert("L").resize((4, 6), Image.Resampling.BICUBIC, box=box)
    np.testing.assert_allclose(split.image(0)[..., 0].astype(int), np.asarray(by_hand).astype(int), atol=1)


def test_folds_of_mapped_images_stay_mapped(save):
    images, labels = arrays()
    folds = make_folds(load((save(images), labels)), 4)
    for part in folds.parts:
        test = part.splits["test"]
        assert isinstance(test.images, MappedImages)
        np.testing.assert_array_equal(np.asarray(test.images), images[test.images.rows])
        np.testing.assert_array_equal(test.labels, labels[test.images.rows])


_MEMORY = """
import sys, tracemalloc
from pathlib import Path
import numpy as np
import tensorflow as tf
from vit_keras.data import load

def used():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024

images = np.load(sys.argv[1], mmap_mode="r")
labels = np.arange(len(images)) % 4
next(iter(load((np.zeros((40, 64, 64, 3), "uint8"), np.arange(40) % 4)).train))  # what TensorFlow itself allocates
before = used()
tracemalloc.start()
data = load((images, labels), batch_size=32)
for batch, _ in data.train.take(4):
    assert batch.shape == (32, 64, 64, 3)
for batch, _ in data.training_batches(epochs=1, augmentation="medium").take(4):
    assert batch.shape == (32, 64, 64, 3)
print(tracemalloc.get_traced_memory()[1], used() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's own memory")
@pytest.mark.slow
def test_no_copy_of_a_mapped_array_is_made_in_memory(tmp_path):
    path, count = tmp_path / "images.npy", 26_000
    written = np.lib.format.open_memmap(path, mode="w+", dtype="uint8", shape=(count, 64, 64, 3))  # a sparse file
    written[::100, 0, 0, 0] = 1
    size = written.nbytes
    del written
    run = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(path)], capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
    peak, grown = map(int, run.stdout.split()[-2:])
    assert size > 300e6
    assert peak < size / 10
    assert grown < size / 3
