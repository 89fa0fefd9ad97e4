"""Everything that happened in a search, a line each: the truth that a search goes on from."""

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vit_keras.errors import CorruptFileError, ResumeError, StorageError

VERSION = 1
_SHOWN = 5  # differences in an error


class Journal:
    """An append-only file of JSON records, each on the disk before anything follows from it.

    A record is one line, written with one call. A last line that was torn by a crash is no record, and is cut off before the next is
    written; a damaged line before it is an error, for what follows it may have followed from it. Reading changes nothing, so that a
    search can be looked at while it runs.

    Args:
        path: The file; made by the first record.

    Raises:
        CorruptFileError: A line is not a record.
        StorageError: The file can't be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = Journal(Path(folder) / "journal.jsonl").append("waiting", trial=3)
        ...     [record["trial"] for record in Journal(Path(folder) / "journal.jsonl").records]
        [3]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file = -1
        self._whole = 0  # bytes of whole lines
        self.records = self._read()
        before = max((float(record.get("at", 0.0)) for record in self.records), default=0.0)
        self._began = time.monotonic() - before

    @property
    def seconds(self) -> float:
        """How long the search has gone on, its interruptions left out."""
        return time.monotonic() - self._began

    @property
    def told(self) -> dict[str, Any]:
        """What the command line that began the search was told."""
        return dict(self.records[0].get("told", {})) if self.records else {}

    def append(self, what: str, **fields: Any) -> dict[str, Any]:
        """Writes a record, waits until it is on the disk, and returns it.

        Args:
            what: Its kind.
            **fields: What JSON holds.

        Raises:
            StorageError: It can't be written.
        """
        record = {"what": what, **fields, "at": round(self.seconds, 3)}
        line = json.dumps(record, allow_nan=False) + "\n"
        with self._lock:
            try:
                if self._file < 0:
                    self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
                    os.ftruncate(self._file, self._whole)
                self._whole += os.write(self._file, line.encode())
                os.fsync(self._file)
            except OSError as error:
                raise StorageError(f"{self.path}: could not be written ({error}).") from error
        self.records.append(record)
        return record

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def check_fingerprint(self, fingerprint: Mapping[str, Any], *, told: Mapping[str, Any] | None = None) -> None:
        """Writes what a new search is begun with, or compares it with what an old one was begun with.

        Args:
            fingerprint: Space, data, objectives and the like, as JSON holds them.
            told: What a command line was told, for a new search; `self.told` has it afterwards.

        Raises:
            ResumeError: An old one was begun with something else; every difference is named.
        """
        now = json.loads(json.dumps(fingerprint))
        if not self.records:
            self.append("study", version=VERSION, fingerprint=now, told=dict(told or {}))
            return
        first = self.records[0]
        if first.get("what") != "study" or first.get("version") != VERSION:
            raise CorruptFileError(
                f"{self.path}: this is no journal of a search, or of another version than {VERSION}; nothing was changed."
            )
        then = first["fingerprint"]
        changed = [
            f"{name}: {_short(then.get(name))} then, {_short(now.get(name))} now"
            for name in sorted(then.keys() | now.keys())
            if then.get(name) != now.get(name)
        ]
        if changed:
            raise ResumeError(
                f"{self.path.parent} is a search that was begun with something else: {'; '.join(changed[:_SHOWN])}"
                f"{f'; and {len(changed) - _SHOWN} more' if len(changed) > _SHOWN else ''}. Go on with what it was begun with, or "
                "start a new one elsewhere; `warm_start` takes over what this one learned."
            )

    def _read(self) -> list[dict[str, Any]]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"{self.path}: could not be read ({error}).") from error
        lines = content.split(b"\n")
        torn = lines.pop()
        records = []
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line, object_hook=_rename_method)
            except ValueError as error:
                raise CorruptFileError(f"{self.path}, line {number}: not JSON ({error}).") from error
            if not isinstance(record, dict) or not isinstance(record.get("what"), str):
                raise CorruptFileError(f"{self.path}, line {number}: this is no record of a search.")
            records.append(record)
        self._whole = len(content) - len(torn)
        return records


def _rename_method(values: dict[str, Any]) -> dict[str, Any]:
    """Returns values with today's name of a fine-tuning method: earlier versions wrote "adapters" for "lora"."""
    if "method" in values:
        values["method"] = json.loads(json.dumps(values["method"]).replace('"adapters"', '"lora"'))
    return values


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
