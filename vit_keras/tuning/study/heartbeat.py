"""Signs of life: each process of a search changes a file of its own, and the others watch whether it still changes."""

import contextlib
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vit_keras.errors import StorageError
from vit_keras.runtime.file_lock import try_lock

LEASE_SECONDS = 60.0
"""Silence of a process, after which others take its trials."""
BEAT_SECONDS = 5.0
_SUFFIX = ".alive"
_LOCKED, _KERNEL, _SECONDS = "locked", "kernel", "seconds"  # fields of the file
DEAD = float("inf")


def beat_path(folder: Path, name: str) -> Path:
    """Returns the file that a process changes."""
    return folder / f"{name}{_SUFFIX}"


def awake_or_asleep_seconds() -> float:
    """Returns seconds of a clock that also counts the time in which the machine sleeps, where the system has one."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Heartbeat:
    """Changes a process's file every `BEAT_SECONDS` inside its `with` block; afterwards the file is removed.

    Args:
        path: See `beat_path`.
        seconds: Returns the running time of the search, which processes that join take over.
        on_beat: Called before each beat, with the seconds since the last one; an error in it ends the beats.
    """

    def __init__(self, path: Path, *, seconds: Callable[[], float], on_beat: Callable[[float], object]) -> None:
        self.path = path
        self._seconds = seconds
        self._on_beat = on_beat
        self._count = 0
        self._last = awake_or_asleep_seconds()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._file = -1
        self._locked = False

    def __enter__(self) -> "Heartbeat":
        """Creates the file and starts the beats."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            self._locked = sys.platform != "win32" and try_lock(self._file) is True  # until this process ends
            self.beat()
        except OSError as error:
            raise StorageError(f"{self.path}: could not be written ({error}).") from error
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Ends the beats and removes the file."""
        self._ended.set()
        self._thread.join()
        os.close(self._file)
        with contextlib.suppress(OSError):
            self.path.unlink()

    def beat(self) -> None:
        """Changes the file."""
        self._count += 1
        fields = {"beats": self._count, _SECONDS: round(self._seconds(), 3), _KERNEL: _kernel(), _LOCKED: self._locked}
        content = json.dumps(fields).encode()
        os.ftruncate(self._file, len(content))
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, content)
        os.fsync(self._file)
        self._last = awake_or_asleep_seconds()

    def _run(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                self._on_beat(awake_or_asleep_seconds() - self._last)
                self.beat()
            except Exception:
                # The shared folder is gone for now: this process goes silent, and the next record raises the error.
                self._last = min(self._last, awake_or_asleep_seconds() - LEASE_SECONDS)


class Watch:
    """Tells how long processes have been silent, by this process's own clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[str, tuple[bytes | None, float, float]] = {}  # content, silence, when it was looked at
        self._alive: set[str] = set()

    def silence(self, name: str) -> float:
        """Returns the seconds without a change of a process's file while this process was looking; `DEAD` if it has surely ended.

        Time in which this process did not look, because it was stopped or asleep itself, does not count.
        """
        path = beat_path(self.folder, name)
        content = _read(path)
        now = time.monotonic()
        before, silent, looked = self._seen.get(name, (content, 0.0, now))
        if content != before:
            silent = 0.0
            self._alive.add(name)
        else:
            silent += min(now - looked, 2 * BEAT_SECONDS)
        self._seen[name] = (content, silent, now)
        return DEAD if content is not None and _is_dead(path, content) else silent

    def has_changed(self, name: str) -> bool:
        """Returns whether a process's file was ever seen to change."""
        return name in self._alive

    def running_seconds(self, name: str) -> float:
        """Returns the running time of the search that a process has reached."""
        return float(_parse(_read(beat_path(self.folder, name)) or b"").get(_SECONDS, 0.0))


class Lease:
    """Tells a process that trains for another one whether that one is silent, so that it stops before others take its trial."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = _read(path)
        self._changed = self._looked = awake_or_asleep_seconds()

    def silence(self) -> float:
        """Returns the seconds since the file was last seen to change; looks at most once a second."""
        now = awake_or_asleep_seconds()
        if now - self._looked >= 1.0:
            self._looked, content = now, _read(self.path)
            if content != self._seen:
                self._seen, self._changed = content, now
        return now - self._changed


def _is_dead(path: Path, content: bytes) -> bool:
    """Returns whether a process on this machine has ended: its lock is free. Locks of other machines may be invisible here."""
    fields = _parse(content)
    if sys.platform == "win32" or not fields.get(_LOCKED) or fields.get(_KERNEL) != _kernel():
        return False
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return try_lock(file) is True
    finally:
        os.close(file)


def _kernel() -> str:
    """Returns a string that processes have in common whose locks are seen by each other: that of a running kernel."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _parse(content: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(content)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
