"""Parts of a batch: joined, they are the whole batch."""

from dataclasses import replace

import numpy as np
import pytest

import vit_keras as vk
from vit_keras.data.augment.batch_rows import BatchRows

pytestmark = pytest.mark.any_backend


def test_rows_come_with_their_partners():
    rows = BatchRows(batch_size=6, start=2, stop=4, mixes=True)
    assert rows.places.tolist() == [2, 3, 3, 2]
    assert replace(rows, mixes=False).places.tolist() == [2, 3]
    assert replace(rows, start=0, stop=6).places.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("augmentation", ["moved", "strong"])
@pytest.mark.parametrize("count", [2, 4])
def test_the_parts_of_processes_join_to_the_batch_of_one(augmentation, count):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 12, 12, 3)).astype("uint8"), np.arange(40) % 3
    data = vk.data.load(
        {"train": (images, labels), "validation": (images[:4], labels[:4])}, image_size=12, batch_size=8
    )

    def read(part):
        return [
            (np.asarray(pixels), np.asarray(targets))
            for pixels, targets in part.training_batches(epochs=2, augmentation=augmentation, first_step=3)
        ]

    whole, parts = read(data), [read(replace(data, shard=(part, count))) for part in range(count)]
    assert len(whole) == 5
    for step, expected in enumerate(whole):
        for kind in (0, 1):
            joined = np.concatenate([part[step][kind] for part in parts])
            np.testing.assert_allclose(
                joined, expected[kind], atol=0.01
            )  # of 255: one operation rounds by the batch's size
