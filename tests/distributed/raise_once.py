"""Raises errors in one process of a launch, and prints what each process raises; a test runs it."""

import json
import sys
from pathlib import Path

import keras  # noqa: F401  (first: what it registers imports all others)

import vit_keras as vk
from vit_keras.distributed.cluster import gather_bytes, process_id, seconds_waited
from vit_keras.distributed.shared_errors import share_errors
from vit_keras.errors import DataError

CASES = {
    "none": (None, None),
    "of the library": (1, DataError("no images")),
    "of files": (0, OSError(28, "No space left on device", "weights")),
    "of all": ("all", DataError("no folder")),
    "again none": (None, None),
}


def main():
    vk.join_launch()
    found = {}
    for name, (process, error) in CASES.items():
        try:
            with share_errors():
                if process in ("all", process_id()):
                    raise error
            found[name] = None
        except Exception as raised:
            found[name] = [type(raised).__name__, str(raised)]
    found["bytes"] = [part.decode() for part in gather_bytes(b"abc" * process_id())]
    found["nothing"] = [part.decode() for part in gather_bytes(b"")]
    found["waited"] = seconds_waited()
    Path(sys.argv[1], f"{process_id()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
