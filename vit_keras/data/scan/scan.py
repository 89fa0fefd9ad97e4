"""Looks at every file of a listing once, in processes of its own, and goes on where it was interrupted."""

import contextlib
import hashlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from vit_keras.data.scan.columns import Columns
from vit_keras.data.scan.inspection import Limits
from vit_keras.data.scan.listing import Listing
from vit_keras.data.scan.manifest import MANIFEST, Manifest, build_manifest, format_rows, write_manifest
from vit_keras.errors import StorageError
from vit_keras.runtime.cache import cache_folder
from vit_keras.runtime.processes import start_module

if sys.platform != "win32":
    import fcntl

FORMAT = 3  # of the rows; 1 did not read TIFF and PPM, 2 had other notes
_PROGRESS = "progress.jsonl"
_MOST_WORKERS = 8
_WORTH_A_PROCESS = 16  # files, which take about as long as it takes to start
_TICK = 0.05  # seconds between looks at the clock
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

    Each file is decoded in a worker process with a memory limit; a file that takes too long or crashes the process is left out. A
    scan that was killed resumes where it was, and unchanged files are not read again.

    Args:
        listing: The files.
        limits: Requirements of a usable image.
        workers: Number of processes; by default one per core, at most 8.
        patience: Seconds that a file may take.
        on_progress: Called with the number of files done and the number of all files.
        folder: Folder of the manifest; by default in the cache, named after the listing's root.

    Raises:
        StorageError: The folder can't be written, or the processes can't be started.
    """
    limits = limits or Limits()
    folder = folder or manifest_folder(listing.root)
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
    """Returns the folder of the manifest of a folder with images."""
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
    _read_rows(folder / MANIFEST, header, listing, columns, places)
    log = folder / _PROGRESS
    complete = _read_rows(log, header, listing, columns, places)
    if complete:
        os.truncate(log, complete)
    else:
        log.write_text(json.dumps(header) + "\n", "ascii")


def _read_rows(path: Path, header: dict[str, Any], listing: Listing, columns: Columns, places: dict[str, int]) -> int:
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
                if _is_unchanged(listing.root / listing.paths[index], row):
                    columns.put(index, row)
    return complete


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _is_unchanged(path: Path, row: dict[str, Any]) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (row.get("size"), row.get("mtime_ns"))


def _inspected(
    listing: Listing, missing: list[int], limits: Limits, *, workers: int | None, patience: float
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields number and row of each file, in the order they are done."""
    count = min(workers or os.cpu_count() or 1, _MOST_WORKERS, -(-len(missing) // _WORTH_A_PROCESS))
    results: queue.SimpleQueue[tuple[int, dict[str, Any]] | BaseException] = queue.SimpleQueue()
    jobs, turn = iter(missing), threading.Lock()
    crew: list[_Worker] = []
    threads: list[threading.Thread] = []
    try:
        crew.extend(_Worker(limits, patience) for _ in range(count))

        def work(worker: _Worker) -> None:
            try:
                while True:
                    with turn:
                        index = next(jobs, None)
                    if index is None:
                        return
                    results.put((index, worker.ask(listing.root / listing.paths[index])))
            except BaseException as error:  # handed to the caller, whose thread it ends
                results.put(error)

        threads.extend(threading.Thread(target=work, args=(worker,), daemon=True) for worker in crew)
        for thread in threads:
            thread.start()
        for _ in range(len(missing)):
            yield _next(results, crew)
    finally:
        jobs = iter(())
        for worker in crew:
            worker.end()
        for thread in threads:
            thread.join()
        for worker in crew:
            worker.close()


def _next(
    results: "queue.SimpleQueue[tuple[int, dict[str, Any]] | BaseException]", crew: "list[_Worker]"
) -> tuple[int, dict[str, Any]]:
    while True:
        try:
            result = results.get(timeout=_TICK)
        except queue.Empty:
            for worker in crew:
                worker.end_if_overdue()
            continue
        if isinstance(result, BaseException):
            raise result
        return result


class _Worker:
    """A process that looks at files, started again whenever a file ends it."""

    def __init__(self, limits: Limits, patience: float) -> None:
        self.limits, self.patience = limits, patience
        self._since: float | None = None  # when the file at hand was begun
        self._overdue: float | None = None  # when a file was begun that took too long
        self._ended = False
        self.process = self._started()

    def _started(self) -> "subprocess.Popen[str]":
        process = start_module(_WORKER, text=True)
        with contextlib.suppress(OSError):
            _pipe(process.stdin).write(json.dumps(vars(self.limits)) + "\n")
            _pipe(process.stdin).flush()
        if _pipe(process.stdout).readline() != "ready\n":
            process.kill()
            with contextlib.suppress(OSError):
                process.communicate()
            raise StorageError(f"The process that looks at images could not be started: {_WORKER} ended at once.")
        return process

    def ask(self, path: Path) -> dict[str, Any]:
        """Returns the row of a file, or why the process did not live to tell."""
        while True:
            begun = self._since = time.monotonic()
            answer = ""
            with contextlib.suppress(OSError):
                _pipe(self.process.stdin).write(json.dumps(os.fspath(path)) + "\n")
                _pipe(self.process.stdin).flush()
                answer = _pipe(self.process.stdout).readline()
            self._since = None
            row = _parsed(answer.encode())
            if row is not None:
                return row
            code = self.process.wait()
            if self._ended:
                return {}
            self.close()
            self.process = self._started()
            late, self._overdue = self._overdue, None
            if late == begun:
                return {"reason": f"took over {self.patience:g} s to read (I/O)"}
            if late is None:
                return {"reason": f"the decoder crashed on it ({f'signal {-code}' if code < 0 else f'exit {code}'})"}
            # The file before was done just when its time was up; this one is not to blame.

    def end_if_overdue(self) -> None:
        """Kills the process where a file takes too long."""
        since = self._since
        if since is not None and time.monotonic() - since > self.patience:
            self._overdue = since
            self.process.kill()

    def end(self) -> None:
        """Kills the process for good."""
        self._ended = True
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Closes the pipes of a process that has ended."""
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # what was not written any more
                _pipe(pipe).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise StorageError("The process that looks at images has no pipes.")
    return pipe
