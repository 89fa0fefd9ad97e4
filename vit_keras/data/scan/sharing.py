"""Shares what the processes of a launch found in the files: each checks a part, and all leave out the same files."""

import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vit_keras.data.scan.columns import Columns
from vit_keras.data.scan.listing import Listing
from vit_keras.distributed.agreement import check_agreement
from vit_keras.distributed.cluster import gather, gather_bytes


def check_same_files(listing: Listing) -> None:
    """Raises `ClusterError` where the processes list other files."""
    names = zlib.crc32("\n".join(listing.paths).encode(errors="surrogateescape"))
    check_agreement({"data": {"files": len(listing.paths), "checksum of the file names": names}})


def divide(found: np.ndarray, process: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Returns the files that a process checks, and the files whose known rows it sends to others.

    Args:
        found: `(processes, files)`, whether each process has a row of each file.
        process: Which process, and how many there are.
    """
    number, count = process
    is_known, is_everywhere = found.any(axis=0), found.all(axis=0)
    unseen = np.flatnonzero(~is_known)[number::count]
    sends = is_known & ~is_everywhere & (found.argmax(axis=0) == number)
    return unseen.tolist(), np.flatnonzero(sends).tolist()


def gather_found(found: np.ndarray) -> np.ndarray:
    """Returns what `divide` takes, given which files this process has a row of."""
    rows = gather_bytes(np.packbits(found).tobytes())
    return np.stack([np.unpackbits(np.frombuffer(row, "uint8"), count=len(found)) for row in rows]).astype(bool)


def exchange_rows(
    columns: Columns, sends: Sequence[int], find_status: Callable[[int], tuple[int, int] | None], host: str
) -> None:
    """Adds the rows of the other processes, and the reasons of all why files can't be used.

    A file that another process has checked must have the same size here; its modification time is that of this host.

    Args:
        columns: Of this process.
        sends: The files whose rows it sends.
        find_status: Returns size (bytes) and modification time (ns) of a file here; None if there is none.
        host: The name of this host.
    """
    for rows in gather_bytes(_pack([[index, columns.row(index)] for index in sends])):
        for index, row in _unpack(rows):
            if columns.found[index]:
                continue
            status = find_status(index)
            size = None if status is None else status[0]
            if "size" in row and row["size"] >= 0 and row["size"] != size:
                what = "is missing" if size is None else f"has {size:,} bytes"
                row = {"reason": f"differs between the hosts: {row['size']:,} bytes on one, and it {what} on {host}"}
            columns.put(index, {**row, **({} if status is None else {"size": status[0], "mtime_ns": status[1]})})
    for reasons in gather_bytes(_pack(sorted(columns.reasons.items()))):
        for index, reason in _unpack(reasons):
            columns.reasons.setdefault(index, reason)
            columns.notes.pop(index, None)


def is_same_file(status: tuple[int, int] | None) -> bool:
    """Returns whether a file of this process is that of the first one, by size and modification time."""
    of_first: list[int] | None = gather(status)[0]
    return of_first == (None if status is None else list(status))


def _pack(value: Any) -> bytes:
    return zlib.compress(json.dumps(value).encode(), level=1)


def _unpack(content: bytes) -> Any:
    return json.loads(zlib.decompress(content))
