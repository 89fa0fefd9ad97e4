import dataclasses
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import types
import urllib.error
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError
from vit_keras.weights.download import fetch as download
from vit_keras.weights.download import transfer
from vit_keras.weights.download import urls as addresses
from vit_keras.weights.download.fetch import fetch
from vit_keras.weights.download.urls import cache_folder

BODY = np.random.default_rng(0).bytes(600_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
COMMIT = "0123456789abcdef" * 2 + "01234567"
LIMIT = 2**20
VARIABLES = (
    "VIT_KERAS_OFFLINE",
    "VIT_KERAS_MIRROR",
    "HF_TOKEN",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
)


@dataclasses.dataclass
class Page:
    """What the server has at a path, and how it misbehaves."""

    body: bytes = BODY
    status: int = 200
    headers: dict = dataclasses.field(default_factory=dict)
    etag: str | None = '"one"'
    ranges: bool = True
    content_range: str | None = None  # in place of the true one
    cut: int | None = None  # bytes after which the connection ends
    pause: float = 0.0  # seconds before each piece
    piece: int = 2**16  # bytes
    length: bool = True
    chunked: bool = False


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        page = self.server.pages.get(self.path.partition("?")[0], self.server.default)
        body, status, headers = page.body, page.status, dict(page.headers)
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if page.etag:
            headers["ETag"] = page.etag
        if wanted and page.ranges and condition in (None, page.etag, headers.get("Last-Modified")):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            status = 206 if start < len(body) else 416
            headers["Content-Range"] = page.content_range or f"bytes {start}-{len(body) - 1}/{len(body)}"
            body = body[start:] if status == 206 else b""
        self.send_response(status)
        if page.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif page.length:
            headers.setdefault("Content-Length", str(len(body)))
        self.close_connection = True
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        sent = body if page.cut is None else body[: page.cut]
        for start in range(0, len(sent), page.piece):
            time.sleep(page.pause)
            piece = sent[start : start + page.piece]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if page.chunked else piece)
        if page.chunked and page.cut is None:
            self.wfile.write(b"0\r\n\r\n")


class Site(http.server.ThreadingHTTPServer):
    """A server on this machine: `pages` by path, and `asked`, each request's path and headers."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages, self.asked, self.default = {}, [], Page(b"nothing here", 404)
        self.root = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A client that goes away is what many of these tests are about."""

    def put(self, path="/model.safetensors", **page):
        self.pages[path] = Page(**page)
        return self.root + path


@pytest.fixture
def site():
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site
        site.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VIT_KERAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_hub(monkeypatch):
    monkeypatch.setattr(download.importlib.util, "find_spec", lambda name: None)


def kept(cache):
    """Names of everything in the cache but the lock files, which stay and are empty."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")


def interrupted_after(count):
    def progress(done, total):
        if done >= count:
            raise KeyboardInterrupt

    return progress


def leave_a_part(url):
    with pytest.raises(KeyboardInterrupt):
        fetch(url, max_bytes=LIMIT, progress=interrupted_after(1))


def test_a_file_is_fetched_once_and_recorded(site, cache):
    url = site.put()
    path = fetch(url, max_bytes=LIMIT)
    assert path.read_bytes() == BODY
    assert path.name == "model.safetensors"
    assert cache in path.parents
    assert kept(cache) == ["model.safetensors", "model.safetensors.json"]
    record = json.loads(path.with_name("model.safetensors.json").read_text())
    assert (record["url"], record["sha256"], record["size"]) == (url, SHA256, len(BODY))
    assert fetch(url, max_bytes=LIMIT, sha256=SHA256.upper()) == path
    assert len(site.asked) == 1


def test_progress_counts_to_the_whole(site):
    calls = []
    fetch(site.put(), max_bytes=LIMIT, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(BODY), len(BODY))
    assert calls == sorted(calls)


def test_the_cache_lies_in_keras_home_unless_it_is_named(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("VIT_KERAS_CACHE")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert cache_folder() == tmp_path / "keras" / "vit_keras"
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".keras" / "vit_keras"


def test_chunked_files_come_whole_and_a_cut_one_not_at_all(site, cache):
    assert fetch(site.put(chunked=True), max_bytes=LIMIT).read_bytes() == BODY
    with pytest.raises(StorageError, match="could not be downloaded"):
        fetch(site.put("/cut.npz", chunked=True, cut=100_000), max_bytes=LIMIT)
    assert not [name for name in kept(cache) if name == "cut.npz"]


def test_without_a_length_a_file_is_taken_only_where_its_hash_is_known(site):
    url = site.put(length=False)
    with pytest.raises(StorageError, match=r"does not say how long.*sha256"):
        fetch(url, max_bytes=LIMIT)
    assert fetch(url, max_bytes=LIMIT, sha256=SHA256).read_bytes() == BODY


def test_a_cut_download_goes_on_where_it_stopped(site, cache):
    url = site.put(cut=250_000)
    with pytest.raises(StorageError, match=r"250000 of 600000 bytes.*Run it again: the 250000 bytes received are kept"):
        fetch(url, max_bytes=LIMIT)
    assert kept(cache) == ["model.safetensors.part", "model.safetensors.part.json"]
    site.put()
    assert fetch(url, max_bytes=LIMIT, sha256=SHA256).read_bytes() == BODY
    assert site.asked[-1][1]["Range"] == "bytes=250000-"
    assert site.asked[-1][1]["If-Range"] == '"one"'
    assert kept(cache) == ["model.safetensors", "model.safetensors.json"]


def test_an_interrupted_download_goes_on_too(site, cache):
    url = site.put()
    leave_a_part(url)
    assert kept(cache) == ["model.safetensors.part", "model.safetensors.part.json"]
    assert fetch(url, max_bytes=LIMIT).read_bytes() == BODY
    assert "Range" in site.asked[-1][1]


def test_a_part_that_has_everything_needs_no_server(site):
    url = site.put()
    with pytest.raises(KeyboardInterrupt):
        fetch(url, max_bytes=LIMIT, progress=interrupted_after(len(BODY)))
    assert fetch(url, max_bytes=LIMIT).read_bytes() == BODY
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    "now",
    [
        pytest.param({"ranges": False}, id="no ranges"),
        pytest.param({"etag": '"two"'}, id="another version"),
        pytest.param({"body": BODY[:300_000], "etag": '"two"'}, id="another length"),
        pytest.param({"body": b"short", "etag": None}, id="shorter than the part"),
        pytest.param({"content_range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}, id="another range than asked for"),
        pytest.param({"content_range": "nonsense"}, id="nonsense for a range"),
    ],
)
def test_a_part_that_cannot_be_gone_on_from_is_begun_anew(site, cache, now):
    url = site.put()
    leave_a_part(url)
    site.put(**now)
    if now.get("etag", "") is None:
        site.pages["/model.safetensors"].headers["Last-Modified"] = "Thu, 01 Jan 2026 00:00:00 GMT"
    assert fetch(url, max_bytes=LIMIT).read_bytes() == now.get("body", BODY)
    assert kept(cache) == ["model.safetensors", "model.safetensors.json"]


def test_the_time_of_the_last_change_serves_where_the_etag_is_weak(site):
    url = site.put(etag='W/"one"', headers={"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"})
    leave_a_part(url)
    assert fetch(url, max_bytes=LIMIT).read_bytes() == BODY
    assert site.asked[-1][1]["If-Range"] == "Thu, 01 Jan 2026 00:00:00 GMT"


def test_a_part_of_no_known_version_goes_on_only_where_the_hash_is_known(site):
    url = site.put(etag=None)
    leave_a_part(url)
    leave_a_part(url)
    assert "Range" not in site.asked[-1][1]
    assert fetch(url, max_bytes=LIMIT, sha256=SHA256).read_bytes() == BODY
    assert "Range" in site.asked[-1][1]


@pytest.mark.parametrize(
    "notes", ["{", "[]", '{"total": "600000"}', '{"total": 5}', '{"total": 600000, "validator": "a\\nb"}']
)
def test_damaged_notes_of_a_part_begin_it_anew(site, cache, notes):
    url = site.put()
    leave_a_part(url)
    next(cache.rglob("*.part.json")).write_text(notes)
    assert fetch(url, max_bytes=LIMIT).read_bytes() == BODY


def test_a_killed_process_leaves_a_part_to_go_on_from_and_no_lock(site, cache):
    url = site.put(pause=0.05, piece=20_000)
    code = f"from vit_keras.weights.download.fetch import fetch; fetch({url!r}, max_bytes={LIMIT})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in cache.rglob("*.part")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert kept(cache) == ["model.safetensors.part", "model.safetensors.part.json"]
    assert fetch(site.put(), max_bytes=LIMIT).read_bytes() == BODY
    assert "Range" in site.asked[-1][1]


def test_another_hash_keeps_nothing(site, cache):
    with pytest.raises(CorruptFileError, match=f"600000 bytes received have sha256 {SHA256}, expected {'0' * 64}"):
        fetch(site.put(), max_bytes=LIMIT, sha256="0" * 64)
    assert kept(cache) == []


@pytest.mark.parametrize("page", [{}, {"chunked": True}, {"length": False}])
def test_a_file_over_the_limit_is_not_kept(site, cache, page):
    with pytest.raises(StorageError, match="500000 are allowed"):
        fetch(site.put(**page), max_bytes=500_000, sha256=SHA256)
    assert kept(cache) == []


def test_a_file_in_the_cache_over_the_limit_is_refused(site):
    path = fetch(site.put(), max_bytes=LIMIT)
    with pytest.raises(StorageError, match="1000 are allowed"):
        fetch(site.root + "/model.safetensors", max_bytes=1000)
    assert path.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model.npz"])
@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_log_in_page_is_no_file(site, cache, name, kind):
    page = b"\n <!DOCTYPE html><html><body>Welcome to the hotel's network</body></html>"
    with pytest.raises(CorruptFileError, match="the server sent a web page"):
        fetch(site.put(f"/{name}", body=page, headers={"Content-Type": kind}), max_bytes=LIMIT)
    assert kept(cache) == []


def test_a_log_in_page_does_not_cost_the_part(site, cache):
    url = site.put()
    leave_a_part(url)
    before = next(cache.rglob("*.part")).read_bytes()
    site.put(body=b"<html>", etag='"portal"', headers={"Content-Type": "text/html"})
    with pytest.raises(CorruptFileError, match="the server sent a web page"):
        fetch(url, max_bytes=LIMIT)
    assert next(cache.rglob("*.part")).read_bytes() == before


def test_a_safetensors_file_whose_header_is_as_long_as_a_smaller_sign_is_one(site):
    """A header of 60 bytes makes the file begin with "<", and one of 15,392 with a space and "<"."""
    for length in (60, 15_392):
        body = length.to_bytes(8, "little") + b"{" + b" " * (length - 2) + b"}"
        assert fetch(site.put(f"/{length}.safetensors", body=body), max_bytes=LIMIT).read_bytes() == body


def test_a_compressed_answer_is_refused(site, cache):
    with pytest.raises(StorageError, match="compressed"):
        fetch(site.put(headers={"Content-Encoding": "gzip"}), max_bytes=LIMIT)
    assert kept(cache) == []


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "does not allow"), (403, "does not allow"), (404, "no such file"), (410, "no such file"), (429, "try again later"),
     (503, "try again later"), (400, "the address"), (204, "the address"), (206, "the address")],
)  # fmt: skip
def test_a_servers_refusal_is_said_with_the_way_out(site, cache, status, advice):
    url = site.put(status=status)
    with pytest.raises(
        StorageError, match=f"answered {status} .*{advice}.*download it by hand and pass its path"
    ) as caught:
        fetch(url, max_bytes=LIMIT)
    assert url in str(caught.value)
    assert kept(cache) == []


@pytest.mark.usefixtures("no_hub")
def test_gated_weights_say_where_the_license_is(site, monkeypatch):
    monkeypatch.setenv("VIT_KERAS_MIRROR", f"https://huggingface.co={site.root}")
    site.put("/owner/name/resolve/main/model.safetensors", status=403)
    with pytest.raises(StorageError, match=r"license on https://huggingface\.co/owner/name and set HF_TOKEN"):
        fetch("hf://owner/name/model.safetensors", max_bytes=LIMIT)


def test_what_a_query_hides_is_not_shown_nor_recorded(site):
    url = site.put(status=404) + "?signature=secret"
    with pytest.raises(StorageError) as caught:
        fetch(url, max_bytes=LIMIT)
    assert "secret" not in str(caught.value)
    site.put()
    path = fetch(url, max_bytes=LIMIT)
    assert site.asked[-1][0].endswith("?signature=secret")
    assert "secret" not in path.with_name(f"{path.name}.json").read_text()
    assert "secret" not in str(path)


@pytest.mark.parametrize("by", ["argument", "1", "true", " ON "])
def test_offline_uses_the_cache_alone_and_says_so(site, monkeypatch, by):
    path = fetch(site.put(), max_bytes=LIMIT)
    if by != "argument":
        monkeypatch.setenv("VIT_KERAS_OFFLINE", by)
    offline = True if by == "argument" else None
    assert fetch(site.root + "/model.safetensors", max_bytes=LIMIT, offline=offline) == path
    with pytest.raises(StorageError, match=r"not in the cache, and nothing is downloaded offline"):
        fetch(site.root + "/other.safetensors", max_bytes=LIMIT, offline=offline)
    assert len(site.asked) == 1


def test_the_argument_has_the_last_word_on_offline(site, monkeypatch):
    monkeypatch.setenv("VIT_KERAS_OFFLINE", "1")
    assert fetch(site.put(), max_bytes=LIMIT, offline=False).read_bytes() == BODY


def test_a_mirror_serves_in_place_and_the_cache_is_the_originals(site, monkeypatch):
    url = "https://weights.example/vit/model.safetensors"
    monkeypatch.setenv(
        "VIT_KERAS_MIRROR", f"https://other.example=https://unused.example, https://weights.example={site.root}/of/"
    )
    site.put("/of/vit/model.safetensors")
    path = fetch(url, max_bytes=LIMIT)
    assert path.read_bytes() == BODY
    monkeypatch.delenv("VIT_KERAS_MIRROR")
    assert fetch(url, max_bytes=LIMIT, offline=True) == path


def test_a_mirror_is_for_whole_host_names(monkeypatch):
    monkeypatch.setenv("VIT_KERAS_MIRROR", "https://weights.example=https://mirror.example")
    assert addresses.apply_mirror("https://weights.example.net/a") == "https://weights.example.net/a"
    assert addresses.apply_mirror("https://weights.example/a") == "https://mirror.example/a"


@pytest.mark.parametrize(
    "mirror", ["https://a.example", "https://a.example=http://b.example", "=https://b.example", "a=file:///etc"]
)
def test_a_mirror_that_is_none_is_named(site, monkeypatch, mirror):
    monkeypatch.setenv("VIT_KERAS_MIRROR", mirror)
    with pytest.raises(InvalidArgumentError, match="VIT_KERAS_MIRROR"):
        fetch(site.put(), max_bytes=LIMIT)


def test_redirects_are_followed_on_this_machine(site):
    site.put("/stored")
    url = site.put(status=302, headers={"Location": "/stored"}, body=b"")
    path = fetch(url, max_bytes=LIMIT)
    assert (path.name, path.read_bytes()) == ("model.safetensors", BODY)


@pytest.mark.parametrize(
    "to", ["http://example.org/model", "file:///etc/passwd", "ftp://example.org/x", "http://127.0.0.1.example.org/x", "/model.safetensors"]
)  # fmt: skip
def test_redirects_to_anywhere_but_https_and_circles_are_refused(site, cache, to):
    with pytest.raises(StorageError, match=r"(?i)redirect"):
        fetch(site.put(status=302, headers={"Location": to}, body=b""), max_bytes=LIMIT)
    assert kept(cache) == []


def test_https_does_not_redirect_to_this_machine():
    request = transfer.Request("https://example.org/x")
    with pytest.raises(StorageError, match=r"redirects to http://127\.0\.0\.1/x"):
        transfer._Redirects().redirect_request(
            request, types.SimpleNamespace(close=int), 302, "", {}, "http://127.0.0.1/x"
        )


def test_the_token_is_shown_to_hugging_face_alone(monkeypatch):
    asked = []

    def build_opener(redirects):
        def refuse(request, timeout):
            asked.append(request)
            asked.append(redirects.redirect_request(request, None, 302, "", {}, "https://cdn.example.org/x"))
            asked.append(redirects.redirect_request(request, None, 302, "", {}, "https://huggingface.co/y"))
            raise urllib.error.URLError("no network in tests")

        return types.SimpleNamespace(open=refuse)

    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
    monkeypatch.setattr(transfer, "build_opener", build_opener)
    for address in ("https://huggingface.co/a/b/resolve/main/x", "https://huggingface.co.example.org/x"):
        with pytest.raises(StorageError, match="no network in tests"):
            fetch(address, max_bytes=LIMIT)
    shown = [request.get_header("Authorization") for request in asked]
    assert shown == ["Bearer hf_secret", None, "Bearer hf_secret", None, None, "Bearer hf_secret"]


def test_a_token_that_is_none_is_refused_without_showing_it(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_se\ncret")
    with pytest.raises(InvalidArgumentError, match="HF_TOKEN") as caught:
        fetch("https://huggingface.co/a/b/resolve/main/x", max_bytes=LIMIT)
    assert "cret" not in str(caught.value)


def record_of(path):
    return json.loads(path.with_name(f"{path.name}.json").read_text())


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("where", ["answer", "redirect"])
@pytest.mark.parametrize(
    ("said", "recorded"), [(COMMIT, COMMIT), (COMMIT[:-1], None), ("../" + COMMIT, None), ("main", None)]
)
def test_the_commit_that_a_branch_stands_for_is_recorded(site, monkeypatch, where, said, recorded):
    monkeypatch.setenv("VIT_KERAS_MIRROR", f"https://huggingface.co={site.root}")
    headers = {"X-Repo-Commit": said}
    if where == "redirect":
        site.put("/stored")
        site.put("/o/n/resolve/main/x.npz", status=302, headers={**headers, "Location": "/stored"}, body=b"")
    else:
        site.put("/o/n/resolve/main/x.npz", headers=headers)
    path = fetch("hf://o/n/x.npz", max_bytes=LIMIT)
    assert (record_of(path)["commit"], record_of(path)["sha256"]) == (recorded, SHA256)
    os.utime(path, (1, 1))
    assert fetch("hf://o/n/x.npz", max_bytes=LIMIT, offline=True) == path
    assert record_of(path)["commit"] == recorded
    assert record_of(path)["mtime_ns"] == 10**9


@pytest.mark.parametrize("count", [1, len(BODY)])
def test_a_download_that_was_cut_keeps_its_commit(site, count):
    url = site.put(headers={"X-Repo-Commit": COMMIT})
    with pytest.raises(KeyboardInterrupt):
        fetch(url, max_bytes=LIMIT, progress=interrupted_after(count))
    site.put(headers={"X-Repo-Commit": "f" * 40})
    assert record_of(fetch(url, max_bytes=LIMIT))["commit"] == COMMIT


def test_a_download_that_is_begun_anew_takes_the_new_commit(site):
    url = site.put(headers={"X-Repo-Commit": COMMIT})
    leave_a_part(url)
    site.put(headers={"X-Repo-Commit": "f" * 40}, etag='"two"')
    assert record_of(fetch(url, max_bytes=LIMIT))["commit"] == "f" * 40


@pytest.mark.usefixtures("no_hub")
def test_a_mirror_never_sees_the_token(site, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("VIT_KERAS_MIRROR", f"https://huggingface.co={site.root}")
    site.put("/owner/name/resolve/v1.0/sub/model.npz", body=b"PK\3\4")
    assert fetch("hf://owner/name@v1.0/sub/model.npz", max_bytes=LIMIT).read_bytes() == b"PK\3\4"
    assert "Authorization" not in site.asked[-1][1]


@pytest.mark.parametrize(("pause", "piece"), [(3.0, 2**16), (0.02, 1)])
def test_a_server_that_hangs_or_drips_is_left(site, cache, pause, piece):
    began = time.monotonic()
    with pytest.raises(StorageError, match="could not be downloaded"):
        fetch(site.put(pause=pause, piece=piece), max_bytes=LIMIT, timeout=0.3)
    assert time.monotonic() - began < 2.5
    assert "model.safetensors" not in kept(cache)


def test_no_server_is_said_with_the_way_out(site, cache):
    url = site.put().replace(str(site.server_address[1]), "9")
    with pytest.raises(StorageError, match=r"could not be downloaded.*Check the connection.*by hand and pass its path"):
        fetch(url, max_bytes=LIMIT, timeout=2)
    with pytest.raises(StorageError, match="could not be downloaded"):
        fetch(f"https://{'a' * 70}..example/x", max_bytes=LIMIT, timeout=2)
    assert kept(cache) == []


@pytest.mark.parametrize(
    "path",
    ["/../../../etc/passwd", "/%2e%2e/%2e%2e%2fx.npz", "/a/..", "/a\\..\\b.npz", "/C:/x.npz", "/~/.ssh/id", "/%00.npz", "/",
     "/.hidden", "//etc/x.npz", f"/{'x' * 3000}.safetensors", "/x.npz?to=/../../y", "/-rf", "/a;b|c$(d)`e`"],
)  # fmt: skip
def test_no_address_makes_a_name_outside_its_folder(site, cache, path):
    site.default = Page()
    kept_at = fetch(site.root + path, max_bytes=LIMIT)
    assert kept_at.parent.parent == cache
    assert kept_at.resolve() == kept_at
    assert set(kept_at.name + kept_at.parent.name) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
    )
    assert kept_at.name[0] not in ".-"
    assert kept_at.suffix == (".safetensors" if "xxx" in path else ".npz" if ".npz" in path else kept_at.suffix)
    assert fetch(site.root + path, max_bytes=LIMIT, offline=True) == kept_at


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200))
def test_every_address_has_a_place_of_its_own_in_the_cache(cache, path):
    place = addresses.parse_url(f"https://example.org/{path}").path
    assert place.parent.parent == cache
    assert ".." not in place.parts
    assert len(place.name) <= 80
    assert len(place.parent.name) <= 100
    other = addresses.parse_url(f"https://example.org/{path.partition('#')[0]}_").path
    assert other.parent != place.parent


@pytest.mark.parametrize(
    "url",
    ["http://example.org/x", "http://127.0.0.1.example.org/x", "http://127.1/x", "http://localhost.example.org/x", "ftp://a/x",
     "file:///etc/passwd", "/etc/passwd", "", "https://", "https:///x", "https://a:b@example.org/x", "https://example.org:x/",
     "https://[::1", "https://example.org/\0", "https://example.org/\n", "https://example.org/a b", "https://exämple.org/",
     "https://example.org/" + "x" * 5000, None, 7, "hf://owner", "hf://owner/name", "hf://owner/name/", "hf://../name/x",
     "hf://owner/../x/y", "hf://owner/name/../x", "hf://owner/name/a//b", "hf://owner/name@../x", "hf://owner/name//etc/x",
     "hf://owner/name/a\\b", "hf://owner/name/x?y=1"],
)  # fmt: skip
def test_what_is_no_address_is_refused_before_anything_is_asked(cache, url):
    with pytest.raises(InvalidArgumentError):
        fetch(url, max_bytes=LIMIT)
    assert not cache.exists()


@pytest.mark.parametrize(
    "arguments",
    [{"max_bytes": 0}, {"max_bytes": 1.5}, {"max_bytes": True}, {"sha256": "abc"}, {"sha256": "g" * 64}, {"timeout": 0},
     {"timeout": float("nan")}, {"timeout": True}],
)  # fmt: skip
def test_arguments_that_are_none_are_refused(arguments):
    with pytest.raises(InvalidArgumentError, match=next(iter(arguments))):
        fetch("https://example.org/x", **{"max_bytes": LIMIT, **arguments})


def damage(path, *, quietly):
    """Changes one byte; quietly, so that size and time stay as they were."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + (0 if quietly else 1_000_000_000)))


def test_a_file_that_changed_in_the_cache_is_refused(site):
    url = site.put()
    path = fetch(url, max_bytes=LIMIT)
    damage(path, quietly=False)
    with pytest.raises(CorruptFileError, match=f"the record of the first download says {SHA256}. Remove it") as caught:
        fetch(url, max_bytes=LIMIT)
    assert str(path) in str(caught.value)
    path.unlink()
    assert fetch(url, max_bytes=LIMIT).read_bytes() == BODY


def test_a_quiet_change_is_found_when_asked_for(site):
    url = site.put()
    damage(fetch(url, max_bytes=LIMIT), quietly=True)
    fetch(url, max_bytes=LIMIT)
    with pytest.raises(CorruptFileError, match=SHA256):
        fetch(url, max_bytes=LIMIT, verify=True)


def test_a_file_of_the_cache_with_another_hash_than_the_callers_is_refused(site):
    url = site.put()
    fetch(url, max_bytes=LIMIT)
    with pytest.raises(CorruptFileError, match=f"the caller says {'0' * 64}"):
        fetch(url, max_bytes=LIMIT, sha256="0" * 64)


def test_a_file_that_was_only_touched_is_hashed_once_and_recorded_anew(site, monkeypatch):
    url = site.put()
    path = fetch(url, max_bytes=LIMIT)
    os.utime(path, (1, 1))
    assert fetch(url, max_bytes=LIMIT) == path
    monkeypatch.setattr(download, "file_sha256", None)  # a second hash would fail
    assert fetch(url, max_bytes=LIMIT) == path


@pytest.mark.parametrize("record", [None, "{", "[]", "{}", '{"sha256": 7}'])
def test_a_lost_record_is_made_again(site, record):
    url = site.put()
    path = fetch(url, max_bytes=LIMIT)
    beside = path.with_name("model.safetensors.json")
    beside.unlink() if record is None else beside.write_text(record)
    fetch(url, max_bytes=LIMIT, sha256=SHA256)
    assert json.loads(beside.read_text())["sha256"] == SHA256


def test_two_at_once_download_once(site, cache):
    url = site.put(pause=0.02)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(url, max_bytes=LIMIT, sha256=SHA256), range(4)))
    assert len(set(paths)) == 1
    assert paths[0].read_bytes() == BODY
    assert len(site.asked) == 1
    assert kept(cache) == ["model.safetensors", "model.safetensors.json"]


def test_without_locks_two_at_once_do_not_meet(site, cache, monkeypatch):
    monkeypatch.setattr(download, "_acquire", lambda *arguments: False)
    url = site.put(pause=0.02)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(url, max_bytes=LIMIT, sha256=SHA256), range(4)))
    assert paths[0].read_bytes() == BODY
    assert kept(cache) == ["model.safetensors", "model.safetensors.json"]


def test_a_holder_that_hangs_is_waited_for_no_longer_than_the_timeout(site, cache):
    fcntl = pytest.importorskip("fcntl")
    url = site.put()
    path = addresses.parse_url(url).path
    path.parent.mkdir(parents=True)
    with path.with_name("model.safetensors.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert fetch(url, max_bytes=LIMIT, timeout=0.2).read_bytes() == BODY


def test_a_cache_that_cannot_be_written_is_a_storage_error(site, cache):
    cache.write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"could not be read or written.*VIT_KERAS_CACHE"):
        fetch(site.put(), max_bytes=LIMIT)


def test_a_full_disk_is_a_storage_error_and_leaves_no_file(site, cache, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        fetch(site.put(), max_bytes=LIMIT)
    assert "model.safetensors" not in kept(cache)


class Hub:
    """Stands in for huggingface_hub: one file, a cache, and what it was asked."""

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


def test_hugging_face_goes_through_its_own_library_where_that_is_installed(hub):
    path = fetch("hf://owner/name@v1/sub/model.safetensors", max_bytes=LIMIT, sha256=SHA256)
    assert path == hub.file
    repository, file, settings = hub.asked[-1]
    assert (repository, file, settings["revision"]) == ("owner/name", "sub/model.safetensors", "v1")
    assert "token" not in settings
    assert fetch("hf://owner/name@v1/sub/model.safetensors", max_bytes=LIMIT, offline=True) == path


def test_a_branch_stays_at_the_commit_it_had_at_the_first_download(hub):
    fetch("hf://owner/name/model.safetensors", max_bytes=LIMIT)
    assert hub.asked[-1][2]["revision"] == "main"
    assert json.loads(addresses.parse_url("hf://owner/name/model.safetensors").record.read_text())["commit"] == COMMIT
    for offline in (True, False):
        fetch("hf://owner/name/model.safetensors", max_bytes=LIMIT, offline=offline)
        assert hub.asked[-1][2] == {"revision": COMMIT, "local_files_only": True}


def test_a_mirror_of_hugging_face_is_not_shown_the_token_by_its_library(hub, monkeypatch):
    monkeypatch.setenv("VIT_KERAS_MIRROR", "https://huggingface.co=https://mirror.example")
    fetch("hf://owner/name/model.safetensors", max_bytes=LIMIT)
    settings = hub.asked[-1][2]
    assert (settings["endpoint"], settings["token"]) == ("https://mirror.example", False)


def test_what_its_library_downloads_is_checked_as_well(hub):
    with pytest.raises(StorageError, match="1000 are allowed"):
        fetch("hf://owner/name/model.safetensors", max_bytes=1000)
    assert not hub.file.exists()
    with pytest.raises(CorruptFileError, match="the caller says"):
        fetch("hf://owner/name/model.safetensors", max_bytes=LIMIT, sha256="0" * 64)
    hub.file.unlink()
    fetch("hf://owner/name/model.safetensors", max_bytes=LIMIT)
    damage(hub.file, quietly=False)
    hub.hf_hub_download = lambda *arguments, **settings: str(hub.file)
    with pytest.raises(CorruptFileError, match="the record of the first download"):
        fetch("hf://owner/name/model.safetensors", max_bytes=LIMIT)


def test_offline_its_library_is_asked_for_its_cache_alone(hub):
    with pytest.raises(StorageError, match="not in the cache, and nothing is downloaded offline"):
        fetch("hf://owner/name/model.safetensors", max_bytes=LIMIT, offline=True)
    assert [settings["local_files_only"] for _, _, settings in hub.asked] == [True]


@pytest.mark.parametrize(
    ("status", "advice"),
    [(403, "license on https://huggingface.co/owner/name"), (404, "no such file"), (None, "by hand")],
)
def test_its_librarys_errors_become_ours(hub, status, advice):
    hub.failure = RuntimeError("of another library")
    if status is not None:
        hub.failure.response = types.SimpleNamespace(status_code=status)
    with pytest.raises(StorageError, match=f"of another library.*{advice}"):
        fetch("hf://owner/name/model.safetensors", max_bytes=LIMIT)


def test_its_library_has_what_we_call():
    """The stand-in above is worth what this says."""
    hub = pytest.importorskip("huggingface_hub")
    import inspect

    from huggingface_hub.errors import LocalEntryNotFoundError

    assert issubclass(LocalEntryNotFoundError, FileNotFoundError)
    for function, names in (
        (hub.hf_hub_download, {"revision", "local_files_only", "etag_timeout", "endpoint", "token"}),
        (hub.hf_hub_url, {"revision", "endpoint"}),
        (hub.get_hf_file_metadata, {"timeout", "endpoint", "token"}),
    ):
        assert names <= inspect.signature(function).parameters.keys()
