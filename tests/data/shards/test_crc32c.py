import numpy as np
import pytest

from vit_keras.data.shards.crc32c import crc32c


def slow_crc32c(content):
    """The definition: one bit at a time."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0x82F63B78 if crc & 1 else crc >> 1
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("length", [0, 1, 8, 63, 64, 65, 128, 192, 200, 64 * 7 + 5, 2000])
def test_it_is_the_checksum_that_the_definition_gives_bit_by_bit(rng, length):
    content = rng.integers(0, 256, length).astype("uint8").tobytes()
    assert crc32c(content) == crc32c(memoryview(content)) == slow_crc32c(content)


def test_it_has_the_values_of_rfc_3720():
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(np.arange(32, dtype="uint8").tobytes()) == 0x46DD794E
