"""CRC-32C (Castagnoli), the checksum of TFRecord files, in numpy."""

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # bits reversed
_BLOCK = 64  # bytes that are summed at once


def masked_crc32c(content: bytes | memoryview) -> int:
    """Returns the CRC-32C of bytes as TFRecord files have it, rotated and shifted.

    >>> hex(masked_crc32c(b"123456789"))  # the checksum itself is 0xe3069283
    '0xc78ab0e5'
    """
    crc = crc32c(content)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(content: bytes | memoryview) -> int:
    """Returns the CRC-32C of bytes.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    values = np.frombuffer(content, "uint8")
    whole = len(values) // _BLOCK * _BLOCK
    crc = 0xFFFFFFFF
    if whole:
        # The checksum is linear: those of all blocks are found at once, and joined in pairs.
        places = _block_tables()
        sums = np.bitwise_xor.reduce(places[np.arange(_BLOCK), values[:whole].reshape(-1, _BLOCK)], axis=1)
        sums[0] ^= _advance(np.array([crc], "uint32"), _zeros_table(0))[0]
        crc = _join(sums)
    table = _byte_table()
    for value in values[whole:].tolist():
        crc = int(table[(crc ^ value) & 0xFF]) ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _join(sums: np.ndarray) -> int:
    """Returns the checksum of blocks one after the other, from those of each."""
    level = 0
    while len(sums) > 1:
        if len(sums) % 2:  # zeros in front change nothing
            sums = np.concatenate([np.zeros(1, "uint32"), sums])
        sums = _advance(sums[::2], _zeros_table(level)) ^ sums[1::2]
        level += 1
    return int(sums[0])


def _advance(sums: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Returns checksums as they are after more zeros, by the four bytes of each."""
    advanced: np.ndarray = (
        table[0, sums & 0xFF] ^ table[1, (sums >> 8) & 0xFF] ^ table[2, (sums >> 16) & 0xFF] ^ table[3, sums >> 24]
    )
    return advanced


@functools.cache
def _byte_table() -> np.ndarray:
    """Returns the checksum of each byte, `(256,)`."""
    table = np.arange(256, dtype="uint32")
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


@functools.cache
def _block_tables() -> np.ndarray:
    """Returns what each byte adds to the checksum of a block by its place in it, `(_BLOCK, 256)`."""
    table = _byte_table()
    rows = [table]
    for _ in range(_BLOCK - 1):
        rows.append(table[rows[-1] & 0xFF] ^ (rows[-1] >> 8))
    return np.stack(rows[::-1])


@functools.cache
def _zeros_table(level: int) -> np.ndarray:
    """Returns the effect of `_BLOCK * 2**level` zeros on a checksum, by its bytes, `(4, 256)`."""
    if level:
        table = _zeros_table(level - 1)
        return _advance(table, table)
    sums = np.stack([np.arange(256, dtype="uint32") << np.uint32(8 * byte) for byte in range(4)])
    table = _byte_table()
    for _ in range(_BLOCK):
        sums = table[sums & 0xFF] ^ (sums >> 8)
    return sums
