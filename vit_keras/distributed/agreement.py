"""What all processes of a launch must have in common before they train together."""

import socket
from typing import Any

from vit_keras.distributed.cluster import gather, process_count
from vit_keras.errors import ClusterError

_SHOWN = 5


def check_agreement(values: dict[str, Any]) -> None:
    """Raises `ClusterError` on every process where values that JSON holds differ between them, naming which and where.

    Every process of the launch calls it at the same place.
    """
    if process_count() == 1:
        return
    found = gather({"host": socket.gethostname(), "values": values})
    first = found[0]["values"]
    lines = [
        f"{name} ({before!r:.200} in process 0, {now!r:.200} in process {number} on {other['host']})"
        for number, other in enumerate(found)
        for name, before, now in list_differences(first, other["values"])
    ]
    if lines:
        more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        raise ClusterError(
            f"The processes of this launch differ in {'; '.join(lines[:_SHOWN])}{more}. Start all with the same arguments, data, versions "
            "and files."
        )


def list_differences(before: Any, now: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Returns the dotted names of the values that differ in two JSON values, with both values.

    >>> list_differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    [('b.c', 2, 3)]
    """
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted(before.keys() | now.keys())
            for line in list_differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if before == now else [(name, before, now)]
