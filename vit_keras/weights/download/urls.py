"""Checks addresses of files, and gives each its place in the cache."""

import dataclasses
import hashlib
import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import quote, urlsplit

from vit_keras.errors import InvalidArgumentError
from vit_keras.runtime.cache import cache_folder

HUB = "https://huggingface.co"
_LONGEST_ADDRESS = 4096


@dataclasses.dataclass(frozen=True)
class Source:
    """A file's address."""

    address: str
    file_on_hub: tuple[str, str, str] | None = None  # repository, revision and path on Hugging Face

    @property
    def shown(self) -> str:
        """The address for messages: without its query, which may contain a secret."""
        return self.address.partition("?")[0]

    @property
    def path(self) -> Path:
        """The file in the cache: one folder per address, with a hash because harmless characters alone are ambiguous."""
        parts = urlsplit(self.address)
        digest = hashlib.sha256(self.address.encode()).hexdigest()[:16]
        words = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{parts.hostname}{parts.path}").strip("._-")
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", parts.path.rpartition("/")[2]).strip("._-")[-80:]
        return cache_folder() / f"{words[-80:].strip('._-')}-{digest}" / (name or "file")

    @property
    def record(self) -> Path:
        """The file with the download's hash and commit."""
        return self.path.with_name(f"{self.path.name}.json")


def parse_url(url: str) -> Source:
    """Returns the source of an `https://` or `hf://` address, or of a plain http one to this machine."""
    is_text = isinstance(url, str) and url.isascii() and url.isprintable() and " " not in url
    if not is_text or len(url) > _LONGEST_ADDRESS:
        raise InvalidArgumentError(
            f"{str(url)[:200]!r} is not an address: expected up to {_LONGEST_ADDRESS} printable ASCII characters, others as %XX."
        )
    if not url.startswith("hf://"):
        url = url.partition("#")[0]
        if not is_allowed(url):
            raise InvalidArgumentError(f"{url.partition('?')[0]}: only https addresses are read.")
        return Source(url)
    match = re.fullmatch(r"hf://(\w[\w.-]*/\w[\w.-]*)(?:@([^@/?#]+))?/([^?#\\]+)", url)
    if match is None or any(part in ("", ".", "..") for part in match[3].split("/")) or match[2] in (".", ".."):
        raise InvalidArgumentError(
            f"{url} is not a file on Hugging Face; expected hf://owner/repository/path or hf://owner/repository@revision/path."
        )
    repository, revision, path = match[1], match[2] or "main", match[3]
    address = f"{HUB}/{repository}/resolve/{quote(revision, safe='')}/{quote(path)}"
    return Source(address, (repository, revision, path))


def as_commit(value: object) -> str | None:
    """Returns the value if it is a full commit hash."""
    return value if isinstance(value, str) and re.fullmatch("[0-9a-f]{40}", value) else None


def is_allowed(address: str, *, plain: bool = True) -> bool:
    """Whether an address is https, or with `plain` http to this machine, and has no user name in it."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port  # an illegal port raises here
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


def apply_mirror(address: str) -> str:
    """Returns the address with the server that `VIT_KERAS_MIRROR` substitutes."""
    for pair in os.environ.get("VIT_KERAS_MIRROR", "").split(","):
        if not pair.strip():
            continue
        original, _, mirror = (word.strip().rstrip("/") for word in pair.partition("="))
        if not original or not is_allowed(mirror):
            raise InvalidArgumentError(
                f"VIT_KERAS_MIRROR has the entry {pair.strip()!r}; expected https://original=https://mirror, separated by commas."
            )
        if address == original or address.startswith(f"{original}/"):
            return mirror + address[len(original) :]
    return address
