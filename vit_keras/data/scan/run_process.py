"""Which process of a run this is; imports Keras only where there are several."""

from contextlib import AbstractContextManager

from vit_keras.distributed.cluster import is_joined
from vit_keras.distributed.shared_errors import share_errors


def run_process() -> tuple[int, int]:
    """Returns which process of a run this is, from 0, and how many there are; outside `run_on`, (0, 1)."""
    if not is_joined():
        return (0, 1)
    from vit_keras.distributed.devices import devices_in_use

    return devices_in_use().process


def share_errors_of_run() -> AbstractContextManager[None]:
    """Returns `share_errors` in a run of several processes, which all read the same data; a program that loads data by itself is left alone."""
    return share_errors(together=run_process()[1] > 1)
