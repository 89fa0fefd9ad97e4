"""Files and directories that appear complete or not at all."""

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from vit_keras.errors import StorageError, VitKerasError


@contextlib.contextmanager
def atomic_file(path: Path, *, how_to_fix: str = "") -> Iterator[Path]:
    """Yields a temporary path to write, which replaces `path` when the block ends without an error.

    The temporary path is in the same directory and has the same suffix. It is flushed to the disk before the replacement, and gets
    the permissions of a new file, whatever the writer gave it. Where it could not be written, `StorageError`, which ends with the sentence `how_to_fix`, leaves an earlier version unchanged.
    """
    unfinished = path.with_name(f".unfinished-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        permissions = _new_permissions(unfinished)
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        if (
            stat.S_IMODE(unfinished.stat().st_mode) != permissions
        ):  # safetensors makes files that only their owner may read
            unfinished.chmod(permissions)
        unfinished.replace(path)
    except VitKerasError:
        raise
    except OSError as error:
        raise StorageError(" ".join(filter(None, [f"{path}: could not be written ({error}).", how_to_fix]))) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _new_permissions(path: Path) -> int:
    """Returns the permissions that a file created here gets from the umask and the directory; the file is removed again."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        path.unlink()


def write_text(path: Path, text: str, *, how_to_fix: str = "") -> None:
    """Writes text in UTF-8 with `atomic_file`; characters that UTF-8 cannot encode are written as escapes."""
    with atomic_file(path, how_to_fix=how_to_fix) as unfinished:
        unfinished.write_bytes(text.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """Yields a temporary directory to fill, which is renamed to `target` when the block ends without an error.

    Raises `StorageError` if the target exists or could not be written; nothing of it is left.
    """
    if target.exists() or target.is_symlink():
        raise StorageError(
            f"{target} exists, and nothing is overwritten: choose another directory, or remove it first."
        )
    unfinished = target.with_name(f".{target.name}.unfinished-{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        unfinished.rename(target)
    except VitKerasError:
        raise
    except OSError as error:
        raise StorageError(f"{target}: could not be written ({error}).") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
