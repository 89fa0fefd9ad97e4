"""The journal of a search: an append-only file of events, shared by all processes that search, from which it resumes.

Optuna's JournalStorage was weighed for this and is not used: it would bring SQLAlchemy and Alembic and its own trials, which know no
rungs; it has no heartbeat, so the trial of a killed worker stays running; two processes that break its lock at once may both hold it,
and then both write; and a line that a crash left incomplete makes its file unreadable.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vit_keras.errors import CorruptFileError, ResumeError, StorageError
from vit_keras.tuning.study.journal_lock import JournalLock

VERSION = 1
_SHOWN = 5  # differences in an error
_TORN = b" # incomplete, ignored"  # ends a line that a crash left incomplete


class Journal:
    """An append-only file of JSON records, each flushed to the disk before the search continues.

    A line is a record, or a list of records that belong together, written with one call. It begins with the number of records before
    it: of several lines with one number, the first counts and the others don't. So a process that decided on what it had read learns
    whether another one was faster, even if it was stopped for an hour between reading and writing, and nobody can undo or repeat what
    another one did. `lock` only spares the processes such races.

    An incomplete last line, left by a crash, is ignored; any other damaged line is an error. Reading changes nothing, so a running
    search can be read.

    Raises:
        CorruptFileError: A line is damaged.
        StorageError: The file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = JournalLock(path.with_name(f"{path.name}.lock"))
        self.records: list[dict[str, Any]] = []
        self._size = 0  # bytes of complete lines that were read
        self._lines = 0
        self._is_torn = False
        self._began = time.monotonic()
        self.read()
        self.start_clock()

    @property
    def seconds(self) -> float:
        """Running time of the search, without interruptions."""
        return time.monotonic() - self._began

    @property
    def cli_options(self) -> dict[str, Any]:
        """Options of the command line that started the search."""
        return dict(self.records[0].get("told", {})) if self.records else {}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The settings that the search was started with.

        Raises:
            CorruptFileError: The journal is not that of a search, or of another version.
        """
        first = self.records[0] if self.records else {}
        if first.get("what") != "study" or first.get("version") != VERSION or "fingerprint" not in first:
            raise CorruptFileError(
                f"{self.path}: this is not the journal of a search of version {VERSION}; nothing was changed."
            )
        return dict(first["fingerprint"])

    def start_clock(self) -> None:
        """Continues the running time from the last record, whenever that was written."""
        last = max((float(record.get("at", 0.0)) for record in self.records), default=0.0)
        self._began = time.monotonic() - last

    def advance_clock(self, seconds: float) -> None:
        """Takes over a running time that another process had reached; the clocks of machines are never compared."""
        self._began = min(self._began, time.monotonic() - seconds)

    def read(self) -> None:
        """Adds what any process has written since to `records`."""
        *lines, torn = self._read_bytes().split(b"\n")
        for line in lines:
            self._lines += 1
            self._size += len(line) + 1
            self.records += self._parse(line)
        self._is_torn = bool(torn)

    def commit(self, records: Sequence[Mapping[str, Any]]) -> bool:
        """Writes records of what JSON can hold after those that were read, and flushes them to the disk.

        Returns False, and none of them counts, if another process has written since; its records are read now.
        """
        number, at = len(self.records), round(self.seconds, 3)
        made = [{**record, "at": at} for record in records]
        numbered = [{"number": number, **made[0]}, *made[1:]]
        line = json.dumps(numbered if len(numbered) > 1 else numbered[0], allow_nan=False).encode() + b"\n"
        self._write(_TORN + b"\n" + line if self._is_torn else line, create=number == 0)
        self.read()
        written: list[dict[str, Any]] = json.loads(json.dumps(made), object_hook=_rename_method)
        return self.records[number : number + len(made)] == written

    def append(self, what: str, **fields: Any) -> None:
        """Writes a record, whatever other processes have written since."""
        with self.lock:
            while True:
                self.read()
                if self.commit([{"what": what, **fields}]):
                    return

    def check_fingerprint(
        self, fingerprint: Mapping[str, Any], *, cli_options: Mapping[str, Any] | None = None
    ) -> bool:
        """Writes the fingerprint and command line options of a new search, or compares them with those of the one that is there.

        Returns whether the search is new.

        Raises:
            ResumeError: There is a search with other settings; the message lists the differences.
        """
        now = json.loads(json.dumps(fingerprint))
        start = {"what": "study", "version": VERSION, "fingerprint": now, "told": dict(cli_options or {})}
        with self.lock:
            self.read()
            if not self.records and self.commit([start]):
                return True
        then = self.fingerprint
        changed = list_changes(then, now)
        if changed:
            raise ResumeError(
                f"{self.path.parent} holds a search with other settings: {changed}. Resume or join it with the same settings, or start a "
                "new search in another run_dir; `warm_start` reuses the best trials of this one."
            )
        return False

    def _read_bytes(self) -> bytes:
        """Returns what the file has after the lines that were read; it is opened anew, which makes a network file system ask its server."""
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._size:
                    raise StorageError(f"{self.path}: it is shorter than it was; another process replaced it.")
                file.seek(self._size)
                return file.read()
        except FileNotFoundError as error:
            if self._size:
                raise StorageError(f"{self.path}: it is gone; another process removed or moved it.") from error
            return b""
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"{self.path}: could not be read ({error}).") from error

    def _write(self, content: bytes, *, create: bool) -> None:
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | (os.O_CREAT if create else 0), 0o666)
            try:
                written = os.write(file, content)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise StorageError(f"{self.path}: could not be written ({error}).") from error
        if written < len(content):
            raise StorageError(
                f"{self.path}: could not be written ({written} of {len(content)} bytes; the disk is full)."
            )

    def _parse(self, line: bytes) -> list[dict[str, Any]]:
        """Returns the records of a line; none if it doesn't count."""
        if line.endswith(_TORN):
            return []
        where = f"{self.path}, line {self._lines}"
        try:
            content = json.loads(line, object_hook=_rename_method)
        except ValueError as error:
            raise CorruptFileError(f"{where}: not JSON ({error}).") from error
        records: list[dict[str, Any]] = content if isinstance(content, list) and content else [content]
        if not all(isinstance(record, dict) and isinstance(record.get("what"), str) for record in records):
            raise CorruptFileError(f"{where}: this is not a record of a search.")
        number = len(self.records)
        if records[0].pop("number", number) != number:
            return []
        self.advance_clock(max(float(record.get("at", 0.0)) for record in records))
        return records


def list_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Returns the differences of two sets of settings as text; an empty string if there are none."""
    names = (name for name in sorted(then.keys() | now.keys()) if then.get(name) != now.get(name))
    changed = [f"{name}: {_short(then.get(name))} then, {_short(now.get(name))} now" for name in names]
    more = f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return "; ".join(changed[:_SHOWN]) + more


def _rename_method(values: dict[str, Any]) -> dict[str, Any]:
    """Returns values with today's name of a fine-tuning method: earlier versions wrote "adapters" for "lora"."""
    if "method" in values:
        values["method"] = json.loads(json.dumps(values["method"]).replace('"adapters"', '"lora"'))
    return values


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
