"""A process that looks at image files for `scan`: paths come in on stdin, rows go out on stdout, a line of JSON each.

A process of its own, with a limit on its memory: what a hostile file does to a decoder ends here.
"""

import json
import os
import sys
from pathlib import Path

from vit_keras.data.scan.inspection import Limits, inspect

_MEMORY = 3 * 2**29  # bytes beyond what the process has when it starts; the largest image allowed takes them


def main() -> None:
    """Answers every path with a row, until stdin ends."""
    _limit_memory()
    limits = Limits(**json.loads(sys.stdin.readline()))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(inspect(Path(json.loads(line)), limits)) + "\n")
        sys.stdout.flush()


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
