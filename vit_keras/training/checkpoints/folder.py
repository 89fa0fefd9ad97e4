"""One checkpoint as a directory: tensors, JSON, and a manifest with the checksums of both."""

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
from vit_keras.validation import list_words
from vit_keras.version import __version__
from vit_keras.weights.formats.safetensors import SafetensorsFile
from vit_keras.weights.store import write_tensors

FORMAT = 1
"""Version of the format. Every version seals its manifest in the same way, so that a newer one is not taken for a damaged one."""

TENSORS, STATE, MANIFEST = "state.safetensors", "state.json", "manifest.json"
FILES = frozenset({TENSORS, STATE, MANIFEST})

_DAMAGE = {errno.ENOENT, errno.ENOTDIR, errno.EIO}  # other errors are about the process or its user, not the file
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}  # from file systems that cannot sync directories


def write_folder(folder: Path, step: int, *, tensors: Mapping[str, np.ndarray], state: str) -> None:
    """Writes a checkpoint into an empty directory and syncs it to the disk."""
    names = sorted(tensors)
    write_tensors({name: tensors[name] for name in names}, folder / TENSORS)
    write_text(folder / STATE, state)
    _open_tensors(folder, names).close()  # a file that cannot be read again must fail now
    manifest = {
        "format": FORMAT,
        "step": step,
        "vit_keras": __version__,
        "tensors": names,
        "files": {name: _measure(folder / name) for name in (STATE, TENSORS)},
    }
    write_text(folder / MANIFEST, seal(manifest))
    sync_folder(folder)


def read_folder(folder: Path, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns the tensors and the state of a checkpoint after verifying every byte of it.

    `CorruptFileError`: a file is missing, damaged or from another checkpoint. `ResumeError`: from a newer version. `StorageError`: a file
    cannot be read at the moment.
    """
    manifest = _read_manifest(folder / MANIFEST)
    if manifest["step"] != step:
        raise CorruptFileError(f"{folder / MANIFEST}: it is of step {manifest['step']}, not {step} as its folder says.")
    for name, expected in sorted(manifest["files"].items()):
        found = _measure(folder / name)
        if found["bytes"] != expected["bytes"]:
            raise CorruptFileError(
                f"{folder / name}: it has {found['bytes']:,} bytes and was written with {expected['bytes']:,}."
            )
        if found != expected:
            raise CorruptFileError(f"{folder / name}: its content was changed after it was written (sha256 differs).")
    with _open_tensors(folder, manifest["tensors"]) as file:
        tensors = {name: file.read(name) for name in manifest["tensors"]}
    state = parse_json(_read(folder / STATE), folder / STATE)
    if not isinstance(state, dict):
        raise CorruptFileError(f"{folder / STATE}: expected a JSON object, got {type(state).__name__}.")
    return tensors, state


def seal(manifest: Mapping[str, Any]) -> str:
    """Returns a manifest's text with a checksum of the manifest itself."""
    checksum = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return json.dumps({**manifest, "seal": checksum}, indent=2, sort_keys=True) + "\n"


def sync_folder(folder: Path) -> None:
    """Syncs a directory's entries to the disk, where the system can."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def _read_manifest(path: Path) -> dict[str, Any]:
    content = _read(path)
    manifest = parse_json(content, path)
    if not isinstance(manifest, dict) or "seal" not in manifest:
        raise CorruptFileError(f"{path}: this is not the manifest of a checkpoint.")
    del manifest["seal"]
    if seal(manifest).encode() != content.replace(b"\r\n", b"\n"):
        raise CorruptFileError(f"{path}: its content was changed after it was written (seal differs).")
    if manifest.get("format") != FORMAT:
        raise ResumeError(
            f"{path} has format {manifest.get('format')}, and vit_keras {__version__} reads format {FORMAT}: resume with version "
            f"{manifest.get('vit_keras')}, which wrote it."
        )
    return manifest


def _open_tensors(folder: Path, names: list[str]) -> SafetensorsFile:
    file = SafetensorsFile(folder / TENSORS)
    different = sorted(file.tensors.keys() ^ set(names))
    if different:
        file.close()
        raise CorruptFileError(
            f"{folder / TENSORS}: missing or unexpected tensors: {len(different)}, {list_words(different, limit=5)}."
        )
    return file


def _measure(path: Path) -> dict[str, Any]:
    with _open_regular(path) as file:
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _read(path: Path) -> bytes:
    with _open_regular(path) as file:
        return file.read()


@contextmanager
def _open_regular(path: Path) -> Iterator[BufferedReader]:
    """Opens a regular file; a link could lead anywhere, and opening a pipe would block."""
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
