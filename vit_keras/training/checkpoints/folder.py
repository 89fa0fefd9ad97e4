"""One checkpoint as a folder: tensors, JSON, and a manifest that says what both must be."""

import errno
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.errors import CorruptFileError, ResumeError, StorageError
from vit_keras.runtime.files import write_text
from vit_keras.runtime.strict_json import parse_json
from vit_keras.version import __version__
from vit_keras.weights.formats.safetensors import SafetensorsFile
from vit_keras.weights.store import write_tensors

FORMAT = 1
"""Of the folder. Whatever the next one holds, its manifest is sealed the same way, so that it is known from a damaged one."""

TENSORS, STATE, MANIFEST = "state.safetensors", "state.json", "manifest.json"
FILES = frozenset({TENSORS, STATE, MANIFEST})

_DAMAGE = {errno.ENOENT, errno.ENOTDIR, errno.EIO}  # other errors are of this process or its user, not of the file
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}  # of file systems that do not sync folders


def write_folder(folder: Path, step: int, *, tensors: Mapping[str, np.ndarray], state: str) -> None:
    """Fills a folder with a checkpoint, down to the disk.

    Args:
        folder: Empty.
        step: Optimizer steps done.
        tensors: Arrays by name.
        state: A JSON object.

    Raises:
        StorageError: The tensors could not be written.
        OSError: Something else could not.
        CorruptFileError: What was written can't be read again, such as a tensor called `__metadata__`.
        UnsafeFileError: There are more tensors than are read.
    """
    names = sorted(tensors)
    write_tensors({name: tensors[name] for name in names}, folder / TENSORS)
    write_text(folder / STATE, state)
    _tensors_file(folder, names).close()  # what could not be read again is better known now
    manifest = {
        "format": FORMAT,
        "step": step,
        "vit_keras": __version__,
        "tensors": names,
        "files": {name: _measured(folder / name) for name in (STATE, TENSORS)},
    }
    write_text(folder / MANIFEST, sealed(manifest))
    sync_folder(folder)


def read_folder(folder: Path, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns tensors and state of a checkpoint after checking every byte of it.

    Args:
        folder: The checkpoint.
        step: Which it must be of.

    Raises:
        CorruptFileError: A file is missing, damaged, or of another checkpoint.
        ResumeError: It was written by a newer version.
        StorageError: A file can't be read for now.
    """
    manifest = _read_manifest(folder / MANIFEST)
    if manifest["step"] != step:
        raise CorruptFileError(f"{folder / MANIFEST}: it is of step {manifest['step']}, not {step} as its folder says.")
    for name, expected in sorted(manifest["files"].items()):
        found = _measured(folder / name)
        if found["bytes"] != expected["bytes"]:
            raise CorruptFileError(
                f"{folder / name}: it has {found['bytes']:,} bytes and was written with {expected['bytes']:,}."
            )
        if found != expected:
            raise CorruptFileError(f"{folder / name}: its bytes are not those that were written (sha256).")
    with _tensors_file(folder, manifest["tensors"]) as file:
        tensors = {name: file.read(name) for name in manifest["tensors"]}
    state = parse_json(_read(folder / STATE), folder / STATE)
    if not isinstance(state, dict):
        raise CorruptFileError(f"{folder / STATE}: a JSON {type(state).__name__}, where an object was expected.")
    return tensors, state


def sealed(manifest: Mapping[str, Any]) -> str:
    """Returns a manifest's text, with a checksum over itself.

    Args:
        manifest: A JSON object.
    """
    seal = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return json.dumps({**manifest, "seal": seal}, indent=2, sort_keys=True) + "\n"


def sync_folder(folder: Path) -> None:
    """Brings the names in a folder down to the disk, where the system can.

    Args:
        folder: Whose entries.
    """
    if sys.platform == "win32":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(opened)


def _read_manifest(path: Path) -> dict[str, Any]:
    raw = _read(path)
    manifest = parse_json(raw, path)
    if not isinstance(manifest, dict) or "seal" not in manifest:
        raise CorruptFileError(f"{path}: this is no checkpoint's manifest.")
    del manifest["seal"]
    if sealed(manifest).encode() != raw.replace(b"\r\n", b"\n"):
        raise CorruptFileError(f"{path}: its bytes are not those that were written (seal).")
    if manifest.get("format") != FORMAT:
        raise ResumeError(
            f"{path} is of format {manifest.get('format')}, and vit_keras {__version__} reads {FORMAT}: go on with version "
            f"{manifest.get('vit_keras')}, which wrote it."
        )
    return manifest


def _tensors_file(folder: Path, names: list[str]) -> SafetensorsFile:
    """Returns the open file of tensors, once it is known to hold these and no others."""
    file = SafetensorsFile(folder / TENSORS)
    different = sorted(file.tensors.keys() ^ set(names))
    if different:
        file.close()
        raise CorruptFileError(
            f"{folder / TENSORS}: {len(different)} tensors missing or too many, the first {different[:5]}."
        )
    return file


def _measured(path: Path) -> dict[str, Any]:
    """Returns a file's size and checksum."""
    with _regular(path) as file:
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _read(path: Path) -> bytes:
    with _regular(path) as file:
        return file.read()


@contextmanager
def _regular(path: Path) -> Iterator[BufferedReader]:
    """Opens a file that is no link: what that points to is nobody's checkpoint, and a pipe would be waited on for ever."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise CorruptFileError(f"{path}: this is no regular file.")
        with path.open("rb") as file:
            yield file
    except CorruptFileError:
        raise
    except OSError as error:
        kind = CorruptFileError if error.errno in _DAMAGE else StorageError
        raise kind(f"{path}: could not be read ({error}).") from error
