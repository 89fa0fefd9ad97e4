"""A table of a million images: the time and memory that each step from the file to the splits takes, compared with `pyarrow.csv.read_csv`.

    python benchmarks/manifest.py [--rows 1000000] [--images 20] [--rounds 3] [--quick]

The rows are synthetic; their files are hard links to a few real images, in 1,000 folders. `read` is the table in memory; `list` is all that
`vk.data.load` does before it decodes images: the table, its files, labels, checks and class names. `splits` draws validation and test
images. CPU seconds are those of all threads of the process, which depend less on other load. `decode` says how long a file takes to check, once, in one worker; memory is the peak of a new process above its start.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np

_CLASSES = 1000
_STEPS = ("pyarrow.csv.read_csv", "read csv", "list csv", "read parquet", "list parquet")


def make_files(root: Path, rows: int, images: int) -> None:
    """Makes a CSV and a Parquet file of that many rows, and their files."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    rng = np.random.default_rng(0)
    real = []
    for number in range(images):
        real.append(root / f"real-{number}.jpg")
        Image.fromarray(rng.integers(0, 256, (256, 256, 3), "uint8")).save(real[-1], quality=75)
    for folder in range(min(rows, _CLASSES)):
        (root / "images" / f"{folder:03d}").mkdir(parents=True)
    paths = [f"images/{row % _CLASSES:03d}/{row:07d}.jpg" for row in range(rows)]
    for row, path in enumerate(paths):
        os.link(real[row % images], root / path)
    labels = [f"class_{label:04d}" for label in rng.integers(0, _CLASSES, rows)]
    (root / "table.csv").write_text(
        "path,label\n" + "".join(f"{path},{label}\n" for path, label in zip(paths, labels, strict=True))
    )
    pq.write_table(pa.table({"path": paths, "label": labels}), root / "table.parquet")


def run_step(step: str, root: Path) -> dict[str, Any]:
    """Returns the seconds and the peak memory of one step, in this process."""
    import psutil
    import pyarrow.csv as pa_csv
    import pyarrow.parquet  # noqa: F401

    from vit_keras.data.tables.list_tables import list_tables
    from vit_keras.data.tables.options import TableOptions
    from vit_keras.data.tables.read_table import read_table

    what, _, kind = step.partition(" ")
    path = root / f"table.{kind or 'csv'}"
    path.read_bytes()
    steps = {"read": lambda: read_table(path, TableOptions()), "list": lambda: list_tables(path)}
    before = psutil.Process().memory_info().rss
    start, start_of_cpu = time.perf_counter(), time.process_time()
    result = steps[what]() if what in steps else pa_csv.read_csv(path)
    seconds, of_cpu = time.perf_counter() - start, time.process_time() - start_of_cpu
    found = {"seconds": seconds, "cpu_seconds": of_cpu, "peak_bytes_above_start": harness.memory("VmHWM") - before}
    if step == "list csv":
        found |= time_splits(result)
    return found


def time_splits(listing: Any) -> dict[str, Any]:
    """Returns the seconds to draw the splits of a listing, as though all files differed."""
    from vit_keras.data.dataset.holdout import split_indices

    contents = np.random.default_rng(0).integers(0, 256, (len(listing.paths), 32), "uint8")
    start = time.perf_counter()
    ids = np.unique(contents.view(">u8")[:, 0], return_inverse=True)[1]
    split_indices(
        listing.labels, listing.class_names, ("test", "validation"), rates=(0.1, 0.1), seed=0, duplicate_ids=ids
    )
    return {"seconds_of_splits": time.perf_counter() - start}


def time_decoding(root: Path, images: int) -> float:
    """Returns the seconds that one file takes to be checked."""
    from vit_keras.data.scan.inspection import Limits, inspect

    files = [root / f"real-{number}.jpg" for number in range(images)]
    inspect(files[0], Limits())
    start = time.perf_counter()
    for file in files:
        inspect(file, Limits())
    return (time.perf_counter() - start) / images


def main() -> None:
    """Runs each step in new processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="10,000 rows, one round")
    parser.add_argument("--files", type=Path, help="folder of the files; made there, unless they exist")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(run_step(options.step, options.files)))
        return
    rows, rounds = (10_000, 1) if options.quick else (options.rows, options.rounds)
    with tempfile.TemporaryDirectory() as temporary:
        root = options.files or Path(temporary)
        if not (root / "table.parquet").is_file():
            root.mkdir(exist_ok=True)
            make_files(root, rows, options.images)
        found: dict[str, list[dict[str, Any]]] = {step: [] for step in _STEPS}
        for _ in range(rounds):
            for step in _STEPS:
                command = [sys.executable, __file__, "--files", str(root), "--step", step]
                found[step].append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
        per_file = time_decoding(root, options.images)
    seconds = {step: harness.spread([each["seconds"] for each in runs]) for step, runs in found.items()}
    of_cpu = {step: harness.spread([each["cpu_seconds"] for each in runs]) for step, runs in found.items()}
    base, base_of_cpu = (each["pyarrow.csv.read_csv"]["median"] for each in (seconds, of_cpu))
    result = {
        "rows": rows,
        "seconds": seconds,
        "cpu_seconds": of_cpu,
        "times_of_read_csv": {step: seconds[step]["median"] / base for step in _STEPS},
        "cpu_times_of_read_csv": {step: of_cpu[step]["median"] / base_of_cpu for step in _STEPS},
        "peak_gib_above_start": {
            step: max(each["peak_bytes_above_start"] for each in runs) / 2**30 for step, runs in found.items()
        },
        "seconds_of_splits": harness.spread([each["seconds_of_splits"] for each in found["list csv"]]),
        "seconds_to_check_a_file": per_file,
        "hours_to_check_all_files_on_one_core": per_file * rows / 3600,
    }
    print(json.dumps(result, indent=1))
    harness.record("manifest", result, quick=options.quick)


if __name__ == "__main__":
    main()
