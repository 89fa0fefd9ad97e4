"""Worker process of `scan`: inspects one image file per message.

It has a limit on its memory, so that a hostile file can only harm this process.
"""

import os
import sys
from pathlib import Path

from vit_keras.data.scan.inspection import Limits, inspect
from vit_keras.runtime.worker_process import ParentConnection

_MEMORY = 3 * 2**29  # bytes beyond what the process has when it starts; the largest image allowed takes them


def main() -> None:
    """Answers each path with a row of the manifest until the parent ends."""
    _limit_memory()
    parent = ParentConnection()
    limits = Limits(**parent.receive())
    parent.send({"ready": True})
    while True:
        job = parent.receive()
        parent.send(inspect(Path(job.pop("path")), limits, **job))


def _limit_memory() -> None:
    if sys.platform != "linux":
        return
    import resource

    used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = used + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))


if __name__ == "__main__":
    main()
