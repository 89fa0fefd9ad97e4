"""Addresses of files, and where in the cache each of them lies."""

import dataclasses
import hashlib
import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import quote, urlsplit

from vit_keras.errors import InvalidArgumentError

HUB = "https://huggingface.co"
_LONGEST_ADDRESS = 4096


def cache_folder() -> Path:
    """Returns where downloads are kept: `VIT_KERAS_CACHE`, else `vit_keras` in `KERAS_HOME`, else `~/.keras/vit_keras`."""
    folder = os.environ.get("VIT_KERAS_CACHE")
    if folder:
        return Path(folder).expanduser()
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "vit_keras"


@dataclasses.dataclass(frozen=True)
class Source:
    """An address, where its file lies in the cache, and how messages call it."""

    address: str
    file_on_hub: tuple[str, str, str] | None = None  # repository, revision, path

    @property
    def shown(self) -> str:
        """The address without its query, which may hold a secret."""
        return self.address.partition("?")[0]

    @property
    def path(self) -> Path:
        """One folder an address, made of harmless characters; the hash keeps apart what those make alike."""
        parts = urlsplit(self.address)
        digest = hashlib.sha256(self.address.encode()).hexdigest()[:16]
        words = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{parts.hostname}{parts.path}").strip("._-")
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", parts.path.rpartition("/")[2]).strip("._-")[-80:]
        return cache_folder() / f"{words[-80:].strip('._-')}-{digest}" / (name or "file")

    @property
    def record(self) -> Path:
        """What is known of the file, beside it."""
        return self.path.with_name(f"{self.path.name}.json")


def source_of(url: str) -> Source:
    """Returns where an address points.

    Args:
        url: `https://...`, or `hf://owner/repository[@revision]/path`.

    Raises:
        InvalidArgumentError: It is no address, or none that is read.
    """
    if (
        not isinstance(url, str)
        or not url.isascii()
        or not url.isprintable()
        or " " in url
        or len(url) > _LONGEST_ADDRESS
    ):
        raise InvalidArgumentError(
            f"{str(url)[:200]!r} is no address: expected up to {_LONGEST_ADDRESS} printable ASCII characters, others as %XX."
        )
    if not url.startswith("hf://"):
        url = url.partition("#")[0]
        if not may_be_read(url):
            raise InvalidArgumentError(f"{url.partition('?')[0]}: only https addresses are read.")
        return Source(url)
    match = re.fullmatch(r"hf://(\w[\w.-]*/\w[\w.-]*)(?:@([^@/?#]+))?/([^?#\\]+)", url)
    if match is None or any(part in ("", ".", "..") for part in match[3].split("/")) or match[2] in (".", ".."):
        raise InvalidArgumentError(
            f"{url}: no file on Hugging Face; expected hf://owner/repository/path or hf://owner/repository@revision/path."
        )
    repository, revision, path = match[1], match[2] or "main", match[3]
    address = f"{HUB}/{repository}/resolve/{quote(revision, safe='')}/{quote(path)}"
    return Source(address, (repository, revision, path))


def as_commit(said: object) -> str | None:
    """Returns what is said where it is a whole commit, as Hugging Face names each version of a repository."""
    return said if isinstance(said, str) and re.fullmatch("[0-9a-f]{40}", said) else None


def may_be_read(address: str, *, plain: bool = True) -> bool:
    """Whether the address is https, or `plain` http to this very machine; without a user's name in it."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port  # a port that is none raises here
    except ValueError:
        return False
    if not host or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (plain and parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def mirrored(address: str) -> str:
    """Returns the address that `VIT_KERAS_MIRROR` puts in this one's place."""
    for pair in os.environ.get("VIT_KERAS_MIRROR", "").split(","):
        if not pair.strip():
            continue
        original, _, mirror = (word.strip().rstrip("/") for word in pair.partition("="))
        if not original or not may_be_read(mirror):
            raise InvalidArgumentError(
                f"VIT_KERAS_MIRROR has the entry {pair.strip()!r}; expected https://original=https://mirror, with commas between."
            )
        if address == original or address.startswith(f"{original}/"):
            return mirror + address[len(original) :]
    return address
