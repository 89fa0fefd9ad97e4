"""A download appears complete and checked or not at all, and an interrupted one is resumed."""

import os
import signal
import subprocess
import sys
import time
import types
import urllib.error

import pytest
from weights.download.server import BODY, COMMIT, LIMIT, SHA256, interrupt_after, leave_a_part, list_files, read_record

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError
from vit_keras.weights.download import transfer
from vit_keras.weights.download.fetch import fetch

COMPLETE = ["model.safetensors", "model.safetensors.json"]
PARTIAL = ["model.safetensors.part", "model.safetensors.part.json"]
MODIFIED = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}


def test_a_chunked_file_appears_only_if_it_is_complete(site, cache):
    calls = []
    url = site.put(chunked=True)
    path = fetch(url, max_bytes=LIMIT, progress=lambda done, total: calls.append(done))
    assert path.read_bytes() == BODY
    assert calls[-1] == len(BODY)
    assert calls == sorted(calls)
    with pytest.raises(StorageError, match="could not be downloaded"):
        fetch(site.put("/cut.npz", chunked=True, cut=100_000), max_bytes=LIMIT)
    assert "cut.npz" not in list_files(cache)


def test_a_file_of_unknown_length_needs_a_hash(site):
    url = site.put(length=False)
    with pytest.raises(StorageError, match=r"does not say how long.*sha256"):
        fetch(url, max_bytes=LIMIT)
    assert fetch(url, max_bytes=LIMIT, sha256=SHA256).read_bytes() == BODY


def test_an_interrupted_download_is_resumed(site, cache):
    url = site.put(cut=250_000)
    message = r"250000 of 600000 bytes.*Run it again: the 250000 bytes received are kept"
    with pytest.raises(StorageError, match=message):
        fetch(url, max_bytes=LIMIT)
    assert list_files(cache) == PARTIAL
    site.put()
    assert fetch(url, max_bytes=LIMIT, sha256=SHA256).read_bytes() == BODY
    assert site.asked[-1][1]["Range"] == "bytes=250000-"
    assert site.asked[-1][1]["If-Range"] == '"one"'
    assert list_files(cache) == COMPLETE


@pytest.mark.parametrize(
    "now",
    [
        {"ranges": False},
        {"etag": '"two"'},
        {"body": BODY[:300_000], "etag": '"two"'},
        {"body": b"shorter than the part", "etag": None, "headers": MODIFIED},
        {"content_range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"},  # another than requested
        {"content_range": "nonsense"},
    ],
    ids=lambda now: " ".join(now),
)
def test_a_part_that_cannot_be_resumed_is_started_again(site, cache, now):
    url = site.put(headers={"X-Repo-Commit": COMMIT})
    leave_a_part(url)
    before = next(cache.rglob("*.part")).read_bytes()
    site.put(body=b"<html>", etag='"portal"', headers={"Content-Type": "text/html"})
    with pytest.raises(CorruptFileError, match="the server sent a web page"):
        fetch(url, max_bytes=LIMIT)
    assert next(cache.rglob("*.part")).read_bytes() == before
    site.put(**{**now, "headers": {"X-Repo-Commit": "f" * 40, **now.get("headers", {})}})
    path = fetch(url, max_bytes=LIMIT)
    assert path.read_bytes() == now.get("body", BODY)
    assert read_record(path)["commit"] == "f" * 40
    assert list_files(cache) == COMPLETE


def test_the_time_of_the_last_change_replaces_a_weak_etag(site):
    url = site.put(etag='W/"one"', headers=MODIFIED)
    leave_a_part(url)
    assert fetch(url, max_bytes=LIMIT).read_bytes() == BODY
    assert site.asked[-1][1]["If-Range"] == MODIFIED["Last-Modified"]


def test_a_part_of_unknown_version_is_resumed_only_with_a_hash(site):
    url = site.put(etag=None)
    leave_a_part(url)
    leave_a_part(url)
    assert "Range" not in site.asked[-1][1]
    assert fetch(url, max_bytes=LIMIT, sha256=SHA256).read_bytes() == BODY
    assert "Range" in site.asked[-1][1]


@pytest.mark.parametrize(
    "notes", ["{", '{"total": "600000"}', '{"total": 5}', '{"total": 600000, "validator": "a\\nb"}']
)
def test_a_part_with_damaged_notes_is_started_again(site, cache, notes):
    url = site.put()
    leave_a_part(url)
    next(cache.rglob("*.part.json")).write_text(notes)
    assert fetch(url, max_bytes=LIMIT).read_bytes() == BODY


def test_a_killed_process_leaves_a_part_and_no_lock(site, cache):
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
    assert list_files(cache) == PARTIAL
    assert fetch(site.put(), max_bytes=LIMIT).read_bytes() == BODY
    assert "Range" in site.asked[-1][1]


PAGE = b"\n <!DOCTYPE html><html><body>Welcome to the hotel's network</body></html>"


@pytest.mark.parametrize(
    ("page", "error", "message"),
    [
        ({"body": BODY[1:]}, CorruptFileError, f"599999 bytes received have sha256 .*, expected {SHA256}"),
        ({"body": 2 * BODY}, StorageError, "1048576 are allowed"),
        ({"body": 2 * BODY, "chunked": True}, StorageError, "1048576 are allowed"),
        ({"body": 2 * BODY, "length": False}, StorageError, "1048576 are allowed"),
        ({"body": PAGE, "headers": {"Content-Type": "text/html; charset=utf-8"}}, CorruptFileError, "the server sent a web page"),
        ({"body": PAGE}, CorruptFileError, "the server sent a web page"),
        ({"headers": {"Content-Encoding": "gzip"}}, StorageError, "compressed"),
    ],
)  # fmt: skip
def test_what_is_not_the_file_is_refused_and_deleted(site, cache, page, error, message):
    with pytest.raises(error, match=message):
        fetch(site.put(**page), max_bytes=LIMIT, sha256=SHA256)
    assert list_files(cache) == []


@pytest.mark.parametrize("length", [60, 15_392])  # as bytes "<", and a space and "<"
def test_a_safetensors_file_whose_header_size_looks_like_markup_is_accepted(site, length):
    body = length.to_bytes(8, "little") + b"{" + b" " * (length - 2) + b"}"
    assert fetch(site.put(body=body), max_bytes=LIMIT).read_bytes() == body


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "does not allow"),
        (404, "no such file"),
        (503, "try again later"),
        (400, "the address"),
        (206, "the address"),
    ],
)
def test_a_servers_refusal_is_reported_with_a_way_out(site, cache, status, advice):
    url = site.put(status=status)
    message = f"{url}: the server answered {status} .*{advice}.*download it by hand and pass its path"
    with pytest.raises(StorageError, match=message):
        fetch(url, max_bytes=LIMIT)
    assert list_files(cache) == []


def test_a_query_is_neither_shown_nor_recorded(site):
    url = site.put(status=404) + "?signature=secret"
    with pytest.raises(StorageError) as caught:
        fetch(url, max_bytes=LIMIT)
    assert "secret" not in str(caught.value)
    site.put()
    path = fetch(url, max_bytes=LIMIT)
    assert site.asked[-1][0].endswith("?signature=secret")
    assert "secret" not in str(read_record(path))
    assert "secret" not in str(path)


def test_redirects_are_followed_on_this_machine(site):
    site.put("/stored")
    url = site.put(status=302, headers={"Location": "/stored"}, body=b"")
    path = fetch(url, max_bytes=LIMIT)
    assert (path.name, path.read_bytes()) == ("model.safetensors", BODY)


@pytest.mark.parametrize(
    "to", ["http://example.org/model", "file:///etc/passwd", "http://127.0.0.1.example.org/x", "/model.safetensors"]
)
def test_redirects_to_anything_but_https_and_circles_are_refused(site, cache, to):
    with pytest.raises(StorageError, match=r"(?i)redirect"):
        fetch(site.put(status=302, headers={"Location": to}, body=b""), max_bytes=LIMIT)
    assert list_files(cache) == []
    request, file = transfer.Request("https://example.org/x"), types.SimpleNamespace(close=int)
    with pytest.raises(StorageError, match=r"redirects to http://127\.0\.0\.1/x"):
        transfer._Redirects().redirect_request(request, file, 302, "", {}, "http://127.0.0.1/x")


def test_the_token_is_sent_to_hugging_face_only(monkeypatch):
    requests = []

    def build_opener(redirects):
        def refuse(request, timeout):
            targets = ("https://cdn.example.org/x", "https://huggingface.co/y")
            redirected = [redirects.redirect_request(request, None, 302, "", {}, address) for address in targets]
            requests.extend([request, *redirected])
            raise urllib.error.URLError("no network in tests")

        return types.SimpleNamespace(open=refuse)

    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
    monkeypatch.setattr(transfer, "build_opener", build_opener)
    for address in ("https://huggingface.co/a/b/resolve/main/x", "https://huggingface.co.example.org/x"):
        with pytest.raises(StorageError, match="no network in tests"):
            fetch(address, max_bytes=LIMIT)
    sent = [request.get_header("Authorization") for request in requests]
    assert sent == ["Bearer hf_secret", None, "Bearer hf_secret", None, None, "Bearer hf_secret"]


def test_an_illegal_token_is_refused_without_showing_it(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_se\ncret")
    with pytest.raises(InvalidArgumentError, match="HF_TOKEN") as caught:
        fetch("https://huggingface.co/a/b/resolve/main/x", max_bytes=LIMIT)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("count", [1, len(BODY)])
def test_an_interrupted_download_keeps_its_commit(site, count):
    url = site.put(headers={"X-Repo-Commit": COMMIT})
    with pytest.raises(KeyboardInterrupt):
        fetch(url, max_bytes=LIMIT, progress=interrupt_after(count))
    site.put(headers={"X-Repo-Commit": "f" * 40})
    path = fetch(url, max_bytes=LIMIT)
    assert (path.read_bytes(), read_record(path)["commit"]) == (BODY, COMMIT)
    assert len(site.asked) == (2 if count == 1 else 1)  # a complete part needs no server


@pytest.mark.parametrize(("pause", "piece"), [(3.0, 2**16), (0.02, 1)])
def test_a_server_that_hangs_or_sends_too_slowly_is_given_up(site, cache, pause, piece):
    start = time.monotonic()
    with pytest.raises(StorageError, match="could not be downloaded"):
        fetch(site.put(pause=pause, piece=piece), max_bytes=LIMIT, timeout=0.3)
    assert time.monotonic() - start < 2.5
    assert "model.safetensors" not in list_files(cache)


def test_a_missing_server_is_reported_with_a_way_out(site, cache):
    url = site.put().replace(str(site.server_address[1]), "9")
    with pytest.raises(StorageError, match=r"could not be downloaded.*Check the connection.*by hand and pass its path"):
        fetch(url, max_bytes=LIMIT, timeout=2)
    with pytest.raises(StorageError, match="could not be downloaded"):
        fetch(f"https://{'a' * 70}..example/x", max_bytes=LIMIT, timeout=2)
    assert list_files(cache) == []


def test_a_full_disk_leaves_no_file(site, cache, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        fetch(site.put(), max_bytes=LIMIT)
    assert "model.safetensors" not in list_files(cache)
