"""Inspects every file of a listing once, in worker processes, and resumes after an interruption."""

import contextlib
import functools
import hashlib
import json
import os
import queue
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data.scan.columns import Columns
from vit_keras.data.scan.inspection import Limits
from vit_keras.data.scan.listing import Listing
from vit_keras.data.scan.manifest import MANIFEST, Manifest, build_manifest, format_rows, write_manifest
from vit_keras.data.scan.run_process import run_process
from vit_keras.data.scan.sharing import check_same_files, divide, exchange_rows, gather_found, is_same_file
from vit_keras.distributed.shared_errors import share_errors
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
    manifest; by default in the cache. The processes of a launch, inside `run_on`, share the files, and all get the same manifest.
    """
    folder = folder or manifest_folder(listing.table or listing.root)
    job = _Scan(listing, limits or Limits(), folder, workers, patience, on_progress)
    process = run_process()
    if process[1] > 1:
        return job.run_together(process)
    with job.explain_errors(), job.lock():
        job.read()
        job.inspect(job.missing)
        return job.write()


@dataclass(frozen=True, eq=False)
class _Scan:
    """The steps of a scan."""

    listing: Listing
    limits: Limits
    folder: Path
    workers: int | None
    patience: float
    on_progress: Callable[[int, int], None] | None

    @functools.cached_property
    def columns(self) -> Columns:
        return Columns(len(self.listing.paths))

    @functools.cached_property
    def statuses(self) -> "_Statuses":
        return _Statuses(self.listing)

    @property
    def header(self) -> dict[str, Any]:
        return {"format": FORMAT, "limits": vars(self.limits)}

    @property
    def missing(self) -> list[int]:
        """The files without a row."""
        return np.flatnonzero(~self.columns.found).tolist()

    @contextlib.contextmanager
    def explain_errors(self) -> Iterator[None]:
        """Raises errors of the manifest's folder as `StorageError`."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            yield
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(
                f"{self.folder}: the manifest could not be written ({error}). VIT_KERAS_CACHE chooses another folder."
            ) from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Waits until no other process scans into this folder."""
        with (self.folder / "lock").open("ab") as lock:
            if sys.platform != "win32":
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read(self, log: str = _PROGRESS) -> None:
        """Fills in the rows of unchanged files from earlier scans with the same limits, and truncates the log to complete rows."""
        places = {path: index for index, path in enumerate(self.listing.paths)}
        names = sorted(path.name for path in self.folder.glob("progress*.jsonl") if path.name != log)
        for name in (MANIFEST, *names):
            _read_rows(self.folder / name, self.header, self.columns, places, self.statuses)
        complete = _read_rows(self.folder / log, self.header, self.columns, places, self.statuses)
        if complete:
            os.truncate(self.folder / log, complete)
        else:
            (self.folder / log).write_text(json.dumps(self.header) + "\n", "ascii")

    def inspect(self, missing: list[int], log: str = _PROGRESS, *, processes: int = 1) -> None:
        """Fills in the rows of these files; `processes` inspect as many at the same time."""
        if not missing:
            return
        count = len(self.listing.paths)
        done = count - len(missing) * processes
        with (self.folder / log).open("a", encoding="ascii") as file:
            for index, row in _inspected(
                self.listing, missing, self.limits, workers=self.workers, patience=self.patience
            ):
                self.columns.put(index, row)
                file.write(json.dumps({"path": self.listing.paths[index]} | row) + "\n")
                file.flush()
                done += processes
                if self.on_progress is not None:
                    self.on_progress(max(0, done), count)

    def write(self) -> Manifest:
        """Writes and returns the manifest, and removes the logs."""
        manifest = build_manifest(self.listing, self.columns, self.folder)
        write_manifest(manifest, self.header, format_rows(self.listing, self.columns), self.folder)
        for log in self.folder.glob("progress*.jsonl"):
            log.unlink(missing_ok=True)
        return manifest

    def run_together(self, process: tuple[int, int]) -> Manifest:
        """Runs the scan with the other processes of a launch, whose folders may be the same one or their own."""
        log = f"progress-{process[0]}.jsonl"
        check_same_files(self.listing)
        with share_errors(), self.explain_errors(), self.lock():
            self.read(log)
        unseen, known = divide(gather_found(self.columns.found), process)
        with share_errors(), self.explain_errors():
            self.inspect(unseen, log, processes=process[1])
        exchange_rows(self.columns, [*unseen, *known], self.statuses.find, socket.gethostname())
        with share_errors(), self.explain_errors(), self.lock():
            if process[0] == 0:
                self.write()
        is_written = is_same_file(_read_status(str(self.folder / MANIFEST)))
        with share_errors(), self.explain_errors(), self.lock():
            if not is_written:
                self.write()
        return build_manifest(self.listing, self.columns, self.folder)


def manifest_folder(root: Path) -> Path:
    """Returns the folder of the manifest of a folder with images, or of a table."""
    whole = os.fsencode(root.resolve())
    name = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in root.resolve().name)[:40]
    return cache_folder() / "manifests" / f"{name}-{hashlib.sha256(whole).hexdigest()[:16]}"


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
