"""A file is downloaded once, and a cached one is checked before every use."""

import inspect
import os
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import pytest
from weights.download.server import BODY, COMMIT, LIMIT, SHA256, damage, list_files, read_record

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError
from vit_keras.weights.download import fetch as download
from vit_keras.weights.download.fetch import fetch
from vit_keras.weights.download.urls import parse_url

ON_HUB = "hf://owner/name/model.safetensors"


def test_a_file_is_downloaded_once_and_recorded(site, cache):
    url = site.put()
    path = fetch(url, max_bytes=LIMIT)
    assert path.read_bytes() == BODY
    assert path.name == "model.safetensors"
    assert cache in path.parents
    assert list_files(cache) == ["model.safetensors", "model.safetensors.json"]
    record = read_record(path)
    assert (record["url"], record["sha256"], record["size"]) == (url, SHA256, len(BODY))
    assert fetch(url, max_bytes=LIMIT, sha256=SHA256.upper()) == path
    assert len(site.asked) == 1


@pytest.mark.parametrize(("variable", "argument"), [(None, True), ("1", None), (" ON ", None)])
def test_offline_uses_only_the_cache(site, monkeypatch, variable, argument):
    path = fetch(site.put(), max_bytes=LIMIT)
    if variable:
        monkeypatch.setenv("VIT_KERAS_OFFLINE", variable)
    assert fetch(site.root + "/model.safetensors", max_bytes=LIMIT, offline=argument) == path
    with pytest.raises(StorageError, match="not in the cache, and nothing is downloaded offline"):
        fetch(site.root + "/other.safetensors", max_bytes=LIMIT, offline=argument)
    assert len(site.asked) == 1
    if variable:
        assert fetch(site.put("/other.safetensors"), max_bytes=LIMIT, offline=False).read_bytes() == BODY


def test_a_file_from_a_mirror_is_cached_as_the_originals(site, monkeypatch):
    url = "https://weights.example/vit/model.safetensors"
    mirrors = f"https://other.example=https://unused.example, https://weights.example={site.root}/of/"
    monkeypatch.setenv("VIT_KERAS_MIRROR", mirrors)
    site.put("/of/vit/model.safetensors")
    path = fetch(url, max_bytes=LIMIT)
    assert path.read_bytes() == BODY
    monkeypatch.delenv("VIT_KERAS_MIRROR")
    assert fetch(url, max_bytes=LIMIT, offline=True) == path


@pytest.mark.usefixtures("no_hub")
def test_a_mirror_never_gets_the_token(site, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("VIT_KERAS_MIRROR", f"https://huggingface.co={site.root}")
    site.put("/owner/name/resolve/v1.0/sub/model.npz", body=b"PK\3\4")
    assert fetch("hf://owner/name@v1.0/sub/model.npz", max_bytes=LIMIT).read_bytes() == b"PK\3\4"
    assert "Authorization" not in site.asked[-1][1]


@pytest.mark.usefixtures("no_hub")
def test_gated_weights_are_reported_with_the_license(site, monkeypatch):
    monkeypatch.setenv("VIT_KERAS_MIRROR", f"https://huggingface.co={site.root}")
    site.put("/owner/name/resolve/main/model.safetensors", status=403)
    with pytest.raises(StorageError, match=r"license on https://huggingface\.co/owner/name and set HF_TOKEN"):
        fetch(ON_HUB, max_bytes=LIMIT)


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("is_redirected", [False, True])
@pytest.mark.parametrize(("stated", "recorded"), [(COMMIT, COMMIT), (COMMIT[:-1], None), ("../" + COMMIT, None)])
def test_the_commit_of_a_branch_is_recorded(site, monkeypatch, is_redirected, stated, recorded):
    monkeypatch.setenv("VIT_KERAS_MIRROR", f"https://huggingface.co={site.root}")
    page = {"headers": {"X-Repo-Commit": stated}}
    if is_redirected:
        site.put("/stored")
        page = {"headers": {**page["headers"], "Location": "/stored"}, "status": 302, "body": b""}
    site.put("/o/n/resolve/main/x.npz", **page)
    path = fetch("hf://o/n/x.npz", max_bytes=LIMIT)
    assert (read_record(path)["commit"], read_record(path)["sha256"]) == (recorded, SHA256)
    os.utime(path, (1, 1))
    assert fetch("hf://o/n/x.npz", max_bytes=LIMIT, offline=True) == path
    assert (read_record(path)["commit"], read_record(path)["mtime_ns"]) == (recorded, 10**9)


@pytest.mark.parametrize(
    "arguments",
    [{"max_bytes": 0}, {"max_bytes": 1.5}, {"max_bytes": True}, {"sha256": "abc"}, {"sha256": "g" * 64}, {"timeout": 0},
     {"timeout": float("nan")}, {"timeout": True}],
)  # fmt: skip
def test_illegal_arguments_are_refused(cache, arguments):
    with pytest.raises(InvalidArgumentError, match=next(iter(arguments))):
        fetch("https://example.org/x", **{"max_bytes": LIMIT, **arguments})
    with pytest.raises(InvalidArgumentError):
        fetch("http://example.org/x", max_bytes=LIMIT)
    assert not cache.exists()


def test_a_cached_file_that_is_too_large_or_has_another_hash_is_refused(site):
    url = site.put()
    path = fetch(url, max_bytes=LIMIT)
    with pytest.raises(StorageError, match="1000 are allowed"):
        fetch(url, max_bytes=1000)
    with pytest.raises(CorruptFileError, match=f"the caller says {'0' * 64}"):
        fetch(url, max_bytes=LIMIT, sha256="0" * 64)
    damage(path)
    with pytest.raises(CorruptFileError, match=f"{path}: .*record of the first download says {SHA256}. Remove it"):
        fetch(url, max_bytes=LIMIT)
    path.unlink()
    assert fetch(url, max_bytes=LIMIT).read_bytes() == BODY


@pytest.mark.parametrize("record", [None, "{", "[]", "{}", '{"sha256": 7}'])
def test_a_lost_or_damaged_record_is_written_again(site, monkeypatch, record):
    url = site.put()
    path = fetch(url, max_bytes=LIMIT)
    beside = path.with_name("model.safetensors.json")
    beside.unlink() if record is None else beside.write_text(record)
    fetch(url, max_bytes=LIMIT, sha256=SHA256)
    assert read_record(path)["sha256"] == SHA256
    os.utime(path, (1, 1))
    assert fetch(url, max_bytes=LIMIT) == path
    monkeypatch.setattr(download, "file_sha256", None)  # a second hash would fail
    assert fetch(url, max_bytes=LIMIT) == path


@pytest.mark.parametrize("locks", [True, False])
def test_concurrent_calls_do_not_disturb_each_other(site, cache, monkeypatch, locks):
    if not locks:
        monkeypatch.setattr(download, "_acquire", lambda *arguments: False)
    url = site.put(pause=0.02)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(url, max_bytes=LIMIT, sha256=SHA256), range(4)))
    assert len(set(paths)) == 1
    assert paths[0].read_bytes() == BODY
    assert list_files(cache) == ["model.safetensors", "model.safetensors.json"]
    if locks:
        assert len(site.asked) == 1


def test_a_lock_whose_owner_hangs_is_ignored_after_the_timeout(site):
    fcntl = pytest.importorskip("fcntl")
    url = site.put()
    path = parse_url(url).path
    path.parent.mkdir(parents=True)
    with path.with_name("model.safetensors.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert fetch(url, max_bytes=LIMIT, timeout=0.2).read_bytes() == BODY


def test_a_cache_that_cannot_be_written_is_a_storage_error(site, cache):
    cache.write_text("a file in place of the folder")
    with pytest.raises(StorageError, match=r"could not be read or written.*VIT_KERAS_CACHE"):
        fetch(site.put(), max_bytes=LIMIT)


class Hub:
    """Replaces huggingface_hub: one file, a cache, and the calls."""

    def __init__(self, folder):
        self.file = folder / "hub" / "models--owner--name" / "snapshots" / COMMIT / "model.safetensors"
        self.size, self.asked, self.failure = len(BODY), [], None

    def hf_hub_download(self, repository, file, **settings):
        self.asked.append((repository, file, settings))
        if settings.get("local_files_only") and not self.file.exists():
            raise self.LocalEntryNotFoundError("not in the cache")
        if self.failure is not None:
            raise self.failure
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(BODY)
        return str(self.file)

    def hf_hub_url(self, repository, file, *, revision, endpoint):
        return f"{endpoint or 'https://huggingface.co'}/{repository}/resolve/{revision}/{file}"

    def get_hf_file_metadata(self, address, **settings):
        return types.SimpleNamespace(size=self.size)

    class LocalEntryNotFoundError(FileNotFoundError):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub(tmp_path)
    monkeypatch.setattr(download.importlib.util, "find_spec", lambda name: hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", hub)
    return hub


def test_huggingface_hub_is_used_where_it_is_installed(hub, monkeypatch):
    with pytest.raises(StorageError, match="not in the cache, and nothing is downloaded offline"):
        fetch("hf://owner/name@v1/sub/model.safetensors", max_bytes=LIMIT, offline=True)
    assert [settings["local_files_only"] for _, _, settings in hub.asked] == [True]
    path = fetch("hf://owner/name@v1/sub/model.safetensors", max_bytes=LIMIT, sha256=SHA256)
    assert path == hub.file
    repository, file, settings = hub.asked[-1]
    assert (repository, file, settings["revision"]) == ("owner/name", "sub/model.safetensors", "v1")
    assert "token" not in settings
    assert fetch("hf://owner/name@v1/sub/model.safetensors", max_bytes=LIMIT, offline=True) == path
    hub.file.unlink()
    monkeypatch.setenv("VIT_KERAS_MIRROR", "https://huggingface.co=https://mirror.example")
    fetch(ON_HUB, max_bytes=LIMIT)
    settings = hub.asked[-1][2]
    assert (settings["endpoint"], settings["token"]) == ("https://mirror.example", False)


def test_a_branch_stays_at_the_commit_of_its_first_download(hub):
    fetch(ON_HUB, max_bytes=LIMIT)
    assert hub.asked[-1][2]["revision"] == "main"
    assert read_record(parse_url(ON_HUB).path)["commit"] == COMMIT
    for offline in (True, False):
        fetch(ON_HUB, max_bytes=LIMIT, offline=offline)
        assert hub.asked[-1][2] == {"revision": COMMIT, "local_files_only": True}


def test_a_file_from_huggingface_hub_is_checked_too(hub):
    with pytest.raises(StorageError, match="1000 are allowed"):
        fetch(ON_HUB, max_bytes=1000)
    assert not hub.file.exists()
    with pytest.raises(CorruptFileError, match="the caller says"):
        fetch(ON_HUB, max_bytes=LIMIT, sha256="0" * 64)
    hub.file.unlink()
    fetch(ON_HUB, max_bytes=LIMIT)
    damage(hub.file)
    hub.hf_hub_download = lambda *arguments, **settings: str(hub.file)
    with pytest.raises(CorruptFileError, match="the record of the first download"):
        fetch(ON_HUB, max_bytes=LIMIT)


@pytest.mark.parametrize(
    ("status", "advice"),
    [(403, "license on https://huggingface.co/owner/name"), (404, "no such file"), (None, "by hand")],
)
def test_errors_of_huggingface_hub_become_ours(hub, status, advice):
    hub.failure = RuntimeError("of another library")
    if status is not None:
        hub.failure.response = types.SimpleNamespace(status_code=status)
    with pytest.raises(StorageError, match=f"of another library.*{advice}"):
        fetch(ON_HUB, max_bytes=LIMIT)


def test_huggingface_hub_has_the_functions_that_hub_replaces():
    hub = pytest.importorskip("huggingface_hub")
    from huggingface_hub.errors import LocalEntryNotFoundError

    assert issubclass(LocalEntryNotFoundError, FileNotFoundError)
    for function, names in (
        (hub.hf_hub_download, {"revision", "local_files_only", "etag_timeout", "endpoint", "token"}),
        (hub.hf_hub_url, {"revision", "endpoint"}),
        (hub.get_hf_file_metadata, {"timeout", "endpoint", "token"}),
    ):
        assert names <= inspect.signature(function).parameters.keys()
