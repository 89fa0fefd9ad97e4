"""The journal of a search: an append-only file of events, from which the search resumes."""

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
    """An append-only file of JSON records, each flushed to the disk before the search continues.

    A record is one line, written with one call. An incomplete last line, left by a crash, is ignored and removed before the next
    record is written; any other damaged line is an error. Reading changes nothing, so a running search can be read.
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
        """Running time of the search, without interruptions."""
        return time.monotonic() - self._began

    @property
    def cli_options(self) -> dict[str, Any]:
        """Options of the command line that started the search."""
        return dict(self.records[0].get("told", {})) if self.records else {}

    def append(self, what: str, **fields: Any) -> dict[str, Any]:
        """Writes a record of what JSON can hold, flushes it to the disk, and returns it."""
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
        """Closes the file; the next record opens it again."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def check_fingerprint(
        self, fingerprint: Mapping[str, Any], *, cli_options: Mapping[str, Any] | None = None
    ) -> None:
        """Writes the fingerprint and command line options of a new search; to resume, raises `ResumeError` with the differences, if any."""
        now = json.loads(json.dumps(fingerprint))
        if not self.records:
            self.append("study", version=VERSION, fingerprint=now, told=dict(cli_options or {}))
            return
        first = self.records[0]
        if first.get("what") != "study" or first.get("version") != VERSION:
            raise CorruptFileError(
                f"{self.path}: this is not the journal of a search of version {VERSION}; nothing was changed."
            )
        then = first["fingerprint"]
        names = (name for name in sorted(then.keys() | now.keys()) if then.get(name) != now.get(name))
        changed = [f"{name}: {_short(then.get(name))} then, {_short(now.get(name))} now" for name in names]
        if changed:
            raise ResumeError(
                f"{self.path.parent} holds a search with other settings: {'; '.join(changed[:_SHOWN])}"
                f"{f'; and {len(changed) - _SHOWN} more' if len(changed) > _SHOWN else ''}. Resume it with the same settings, or start a "
                "new search in another run_dir; `warm_start` reuses the best trials of this one."
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
                raise CorruptFileError(f"{self.path}, line {number}: this is not a record of a search.")
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
