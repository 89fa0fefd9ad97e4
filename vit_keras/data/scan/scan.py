"""Inspects every file of a listing once, in worker processes, and resumes after an interruption."""

import contextlib
import hashlib
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vit_keras.data.scan.columns import Columns
from vit_keras.data.scan.inspection import Limits
from vit_keras.data.scan.listing import Listing
from vit_keras.data.scan.manifest import MANIFEST, Manifest, build_manifest, format_rows, write_manifest
from vit_keras.errors import StorageError
from vit_keras.runtime.cache import cache_folder
from vit_keras.runtime.worker_process import WorkerDiedError, WorkerProcess

if sys.platform != "win32":
    import fcntl

FORMAT = 4  # of the rows; 1 did not read TIFF and PPM, 2 had other notes, 3 did not read AVIF and HEIC
_PROGRESS = "progress.jsonl"
_MOST_WORKERS = 8
_WORTH_A_PROCESS = 16  # files, which take about as long as it takes to start
_WORKER = "vit_keras.data.scan.worker"


def scan(
    listing: Listing,
    *,
    limits: Limits | None = None,
    workers: int | None = None,
    patience: float = 30.0,
    on_progress: Callable[[int, int], None] | None = None,
    folder: Path | None = None,
) -> Manifest:
    """Inspects every file of a listing once; nothing is written next to the files.

    Each file is decoded in a worker process with a memory limit; a file that takes more than `patience` seconds or crashes the
    process is left out. A scan that was killed resumes where it was, and unchanged files are not read again. `folder` is that of the
    manifest; by default in the cache.
    """
    limits = limits or Limits()
    folder = folder or manifest_folder(listing.table or listing.root)
    header = {"format": FORMAT, "limits": vars(limits)}
    columns = Columns(len(listing.paths))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            _read_earlier_rows(folder, header, listing, columns)
            missing = [index for index, found in enumerate(columns.found) if not found]
            done = len(listing.paths) - len(missing)
            if missing:
                with (folder / _PROGRESS).open("a", encoding="ascii") as log:
                    for index, row in _inspected(listing, missing, limits, workers=workers, patience=patience):
                        columns.put(index, row)
                        log.write(json.dumps({"path": listing.paths[index]} | row) + "\n")
                        log.flush()
                        done += 1
                        if on_progress is not None:
                            on_progress(done, len(listing.paths))
            manifest = build_manifest(listing, columns, folder)
            write_manifest(manifest, header, format_rows(listing, columns), folder)
            (folder / _PROGRESS).unlink(missing_ok=True)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"{folder}: the manifest could not be written ({error}). VIT_KERAS_CACHE chooses another folder."
        ) from error
    return manifest


def manifest_folder(root: Path) -> Path:
    """Returns the folder of the manifest of a folder with images, or of a table."""
    whole = os.fsencode(root.resolve())
    name = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in root.resolve().name)[:40]
    return cache_folder() / "manifests" / f"{name}-{hashlib.sha256(whole).hexdigest()[:16]}"


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Waits until no other process scans into this folder."""
    with (folder / "lock").open("ab") as lock:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_earlier_rows(folder: Path, header: dict[str, Any], listing: Listing, columns: Columns) -> None:
    """Fills in the rows of unchanged files from earlier scans with the same limits, and truncates the log to complete rows."""
    places = {path: index for index, path in enumerate(listing.paths)}
    statuses = _Statuses(listing)
    _read_rows(folder / MANIFEST, header, columns, places, statuses)
    log = folder / _PROGRESS
    complete = _read_rows(log, header, columns, places, statuses)
    if complete:
        os.truncate(log, complete)
    else:
        log.write_text(json.dumps(header) + "\n", "ascii")


def _read_rows(
    path: Path, header: dict[str, Any], columns: Columns, places: dict[str, int], statuses: "_Statuses"
) -> int:
    """Returns the size of the complete part of a file of rows, in bytes; 0 if its header is another."""
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        first = file.readline()
        if _parsed(first) != header or not first.endswith(b"\n"):
            return 0
        complete = len(first)
        for line in file:
            row = _parsed(line)
            if row is None or not line.endswith(b"\n"):
                break
            complete += len(line)
            with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):  # a row changed by hand
                index = places[row["path"]]
                if (row.get("size"), row.get("mtime_ns")) == statuses.find(index):
                    columns.put(index, row)
    return complete


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


class _Statuses:
    """Size (bytes) and modification time (ns) of the file that each image is in; of a shard, read once."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._of_shards = {shard: _read_status(shard) for shard in (listing.members.shards if listing.members else ())}

    def find(self, index: int) -> tuple[int, int] | None:
        """Returns them; None if there is no such file."""
        path, _, _ = self._listing.find_part(index)
        return self._of_shards[path] if self._of_shards else _read_status(path)


def _read_status(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _inspected(
    listing: Listing, missing: list[int], limits: Limits, *, workers: int | None, patience: float
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields index and row of each file, in the order they are done."""
    count = min(workers or os.cpu_count() or 1, _MOST_WORKERS, -(-len(missing) // _WORTH_A_PROCESS))
    results: queue.SimpleQueue[tuple[int, dict[str, Any]] | BaseException] = queue.SimpleQueue()
    jobs, turn = iter(missing), threading.Lock()
    inspectors: list[_Inspector] = []
    threads: list[threading.Thread] = []
    try:
        inspectors.extend(_Inspector(limits, patience) for _ in range(count))

        def work(inspector: _Inspector) -> None:
            try:
                while True:
                    with turn:
                        index = next(jobs, None)
                    if index is None:
                        return
                    results.put((index, inspector.inspect(_describe_job(listing, index))))
            except BaseException as error:  # raised again in the caller's thread
                results.put(error)

        threads.extend(threading.Thread(target=work, args=(inspector,), daemon=True) for inspector in inspectors)
        for thread in threads:
            thread.start()
        for _ in range(len(missing)):
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        jobs = iter(())
        for inspector in inspectors:
            inspector.end()
        for thread in threads:
            thread.join()
        for inspector in inspectors:
            inspector.end()  # a process that its thread started after the first call


def _describe_job(listing: Listing, index: int) -> dict[str, Any]:
    path, offset, length = listing.find_part(index)
    return {"path": path} if length is None else {
        "path": path, "offset": offset, "length": length, "name": listing.paths[index]
    }  # fmt: skip


class _Inspector:
    """A process that inspects files, replaced whenever a file ends it or takes too long."""

    def __init__(self, limits: Limits, patience: float) -> None:
        self.limits, self.patience = limits, patience
        self._ended = False
        self._process = self._start()

    def _start(self) -> WorkerProcess:
        process = WorkerProcess(_WORKER)
        try:
            process.send(vars(self.limits))
            process.receive()
        except WorkerDiedError as error:
            process.kill()
            raise StorageError(
                f"The process that inspects images could not be started: {_WORKER} ended at once."
            ) from error
        return process

    def inspect(self, job: dict[str, Any]) -> dict[str, Any]:
        """Returns the row of an image, or the reason why the process did not answer."""
        try:
            self._process.send(job)
            return self._process.receive(self.patience)[0]
        except WorkerDiedError:
            code = self._process.wait()
            reason = f"the decoder crashed on it ({f'signal {-code}' if code < 0 else f'exit {code}'})"
        except TimeoutError:
            self._process.kill()
            reason = f"took over {self.patience:g} s to read (I/O)"
        if not self._ended:
            self._process = self._start()
        return {"reason": reason}

    def end(self) -> None:
        self._ended = True
        self._process.kill()
