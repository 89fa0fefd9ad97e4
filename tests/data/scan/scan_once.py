"""Scans folders as one of several processes, and writes what it read and found; `test_sharing.py` runs it.

    python tests/data/scan/scan_once.py FOLDER OUT

FOLDER has the same images in `0` and `1`, as two hosts have them on disks of their own, and one less in `2`.
"""

import json
import os
import sys
from pathlib import Path

import keras  # noqa: F401  (first: what it registers imports all others)

from vit_keras.data.images.read_options import ReadOptions
from vit_keras.data.scan import scan as scanning
from vit_keras.data.sources.folder import scan_source
from vit_keras.distributed.cluster import process_id
from vit_keras.distributed.devices import run_on

READ = []
inspect = scanning._Inspector.inspect
write_manifest = scanning.write_manifest


def inspect_and_note(self, job):
    READ.append(job["path"])
    return inspect(self, job)


def fail(*arguments):
    raise OSError(28, "No space left on device")


def run(root, cache, name, *, is_full=False):
    """Returns what a scan read and found."""
    os.environ["VIT_KERAS_CACHE"] = str(cache)
    READ.clear()
    scanning.write_manifest = fail if is_full else write_manifest
    try:
        _, manifest = scan_source(root, ReadOptions())
    except Exception as error:
        return {"name": name, "error": [type(error).__name__, str(error)]}
    statuses = [os.stat(root / path) for path in manifest.paths]
    return {
        "name": name,
        "read": sorted(str(Path(path).relative_to(root)) for path in READ),
        "paths": manifest.paths,
        "left_out": {item.path: item.reason for item in manifest.quarantined},
        "fingerprint": manifest.fingerprint,
        "is_own": [
            (status.st_size, status.st_mtime_ns) == (size, mtime)
            for status, size, mtime in zip(
                statuses, manifest.columns.sizes.tolist(), manifest.columns.mtimes.tolist(), strict=True
            )
        ],
        "files": sorted(path.name for path in manifest.folder.iterdir()),
    }


def main():
    folder, out = map(Path, sys.argv[1:])
    scanning._Inspector.inspect = inspect_and_note
    with run_on():
        number = process_id()
        own, shared = out / f"cache-{number}", out / "cache"
        found = [
            run(folder / "0", own, "own caches"),
            run(folder / "0", own, "again"),
            run(folder / "0", out / f"cache-{number}" if number == 0 else out / "empty", "one cache is empty"),
            run(folder / "0", shared, "one cache"),
            run(folder / str(number), out / f"copies-{number}", "own copies"),
            run(folder / "0", out / f"full-{number}", "full disk", is_full=number == 1),
            run(folder / ("0" if number == 0 else "2"), out / f"lists-{number}", "other files"),
            run(folder / ("0" if number == 0 else "3"), out / f"none-{number}", "no files"),
        ]
        (out / f"{number}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
