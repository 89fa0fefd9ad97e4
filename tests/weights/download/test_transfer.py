"""A download appears complete and checked or not at all, and an interrupted one is resumed."""

import os
import signal
import subprocess
import sys
import time
import types
import urllib.error

import pytest
from weights.download.server import (
    BODY,
    COMMIT,
    LIMIT,
    SHA256,
    interrupt_after,
    leave_a_part,
    list_files,
    read_record,
)

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError
from vit_keras.weights.download import transfer
from vit_keras.weights.download.fetch import fetch

COMPLETE = ["model.safetensors", "model.safetensors.json"]
PARTIAL = ["model.safetensors.part", "model.safetensors.part.json"]
MODIFIED = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}


def test_progress_counts_to_the_total(site):
    calls = []
    fetch(site.put(), max_bytes=LIMIT, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(BODY), len(BODY))
    assert calls == sorted(calls)


def test_a_chunked_file_appears_only_if_it_is_complete(site, cache):
    assert fetch(site.put(chunked=True), max_bytes=LIMIT).read_bytes() == BODY
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


def test_a_complete_part_needs_no_server(site):
    url = site.put()
    with pytest.raises(KeyboardInterrupt):
        fetch(url, max_bytes=LIMIT, progress=interrupt_after(len(BODY)))
    assert fetch(url, max_bytes=LIMIT).read_bytes() == BODY
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    "now",
    [
        pytest.param({"ranges": False}, id="no ranges"),
        pytest.param({"etag": '"two"'}, id="another version"),
        pytest.param({"body": BODY[:300_000], "etag": '"two"'}, id="another length"),
        pytest.param({"body": b"short", "etag": None, "headers": MODIFIED}, id="shorter than the part"),
        pytest.param({"content_range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}, id="another range than requested"),
        pytest.param({"content_range": "nonsense"}, id="an illegal range"),
    ],
)
def test_a_part_that_cannot_be_resumed_is_started_again(site, cache, now):
    url = site.put()
    leave_a_part(url)
    site.put(**now)
    assert fetch(url, max_bytes=LIMIT).read_bytes() == now.get("body", BODY)
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
    "notes", ["{", "[]", '{"total": "600000"}', '{"total": 5}', '{"total": 600000, "validator": "a\\nb"}']
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


def test_a_file_with_another_hash_is_deleted(site, cache):
    with pytest.raises(CorruptFileError, match=f"600000 bytes received have sha256 {SHA256}, expected {'0' * 64}"):
        fetch(site.put(), max_bytes=LIMIT, sha256="0" * 64)
    assert list_files(cache) == []


@pytest.mark.parametrize("page", [{}, {"chunked": True}, {"length": False}])
def test_a_file_over_the_limit_is_deleted(site, cache, page):
    with pytest.raises(StorageError, match="500000 are allowed"):
        fetch(site.put(**page), max_bytes=500_000, sha256=SHA256)
    assert list_files(cache) == []


@pytest.mark.parametrize(
    ("name", "kind"), [("model.safetensors", "text/html; charset=utf-8"), ("model.npz", "application/octet-stream")]
)
def test_a_log_in_page_is_refused(site, cache, name, kind):
    page = b"\n <!DOCTYPE html><html><body>Welcome to the hotel's network</body></html>"
    with pytest.raises(CorruptFileError, match="the server sent a web page"):
        fetch(site.put(f"/{name}", body=page, headers={"Content-Type": kind}), max_bytes=LIMIT)
    assert list_files(cache) == []


def test_a_log_in_page_leaves_the_part_unchanged(site, cache):
    url = site.put()
    leave_a_part(url)
    before = next(cache.rglob("*.part")).read_bytes()
    site.put(body=b"<html>", etag='"portal"', headers={"Content-Type": "text/html"})
    with pytest.raises(CorruptFileError, match="the server sent a web page"):
        fetch(url, max_bytes=LIMIT)
    assert next(cache.rglob("*.part")).read_bytes() == before


@pytest.mark.parametrize("length", [60, 15_392])  # as bytes "<", and a space and "<"
def test_a_safetensors_file_whose_header_size_looks_like_markup_is_accepted(site, length):
    body = length.to_bytes(8, "little") + b"{" + b" " * (length - 2) + b"}"
    assert fetch(site.put(body=body), max_bytes=LIMIT).read_bytes() == body


def test_a_compressed_answer_is_refused(site, cache):
    with pytest.raises(StorageError, match="compressed"):
        fetch(site.put(headers={"Content-Encoding": "gzip"}), max_bytes=LIMIT)
    assert list_files(cache) == []


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "does not allow"), (403, "does not allow"), (404, "no such file"), (410, "no such file"), (429, "try again later"),
     (503, "try again later"), (400, "the address"), (204, "the address"), (206, "the address")],
)  # fmt: skip
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
    "to", ["http://example.org/model", "file:///etc/passwd", "ftp://example.org/x", "http://127.0.0.1.example.org/x", "/model.safetensors"]
)  # fmt: skip
def test_redirects_to_anything_but_https_and_circles_are_refused(site, cache, to):
    with pytest.raises(StorageError, match=r"(?i)redirect"):
        fetch(site.put(status=302, headers={"Location": to}, body=b""), max_bytes=LIMIT)
    assert list_files(cache) == []


def test_https_does_not_redirect_to_this_machine():
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
    assert read_record(fetch(url, max_bytes=LIMIT))["commit"] == COMMIT


def test_a_download_that_is_started_again_has_the_new_commit(site):
    url = site.put(headers={"X-Repo-Commit": COMMIT})
    leave_a_part(url)
    site.put(headers={"X-Repo-Commit": "f" * 40}, etag='"two"')
    assert read_record(fetch(url, max_bytes=LIMIT))["commit"] == "f" * 40


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
