"""Addresses are checked, and each has its own place in the cache."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from weights.download.server import LIMIT, Page

from vit_keras.errors import InvalidArgumentError
from vit_keras.weights.download.fetch import fetch
from vit_keras.weights.download.urls import apply_mirror, parse_url


def test_a_mirror_replaces_whole_host_names(monkeypatch):
    monkeypatch.setenv("VIT_KERAS_MIRROR", "https://weights.example=https://mirror.example")
    assert apply_mirror("https://weights.example.net/a") == "https://weights.example.net/a"
    assert apply_mirror("https://weights.example/a") == "https://mirror.example/a"


@pytest.mark.parametrize(
    "mirror", ["https://a.example", "https://a.example=http://b.example", "=https://b.example", "a=file:///etc"]
)
def test_an_illegal_mirror_is_named(monkeypatch, mirror):
    monkeypatch.setenv("VIT_KERAS_MIRROR", mirror)
    with pytest.raises(InvalidArgumentError, match="VIT_KERAS_MIRROR"):
        apply_mirror("https://weights.example/a")


@pytest.mark.parametrize(
    "path",
    ["/../../../etc/passwd", "/%2e%2e/%2e%2e%2fx.npz", "/a/..", "/a\\..\\b.npz", "/C:/x.npz", "/~/.ssh/id", "/%00.npz", "/",
     "/.hidden", "//etc/x.npz", f"/{'x' * 3000}.safetensors", "/x.npz?to=/../../y", "/-rf", "/a;b|c$(d)`e`"],
)  # fmt: skip
def test_no_address_leads_outside_its_folder(site, cache, path):
    site.default = Page()
    found = fetch(site.root + path, max_bytes=LIMIT)
    assert found.parent.parent == cache
    assert found.resolve() == found
    assert re.fullmatch(r"[a-zA-Z0-9._-]+", found.name + found.parent.name)
    assert found.name[0] not in ".-"
    assert found.suffix == (".safetensors" if "xxx" in path else ".npz" if ".npz" in path else found.suffix)
    assert fetch(site.root + path, max_bytes=LIMIT, offline=True) == found


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200))
def test_each_address_has_its_own_place_in_the_cache(cache, path):
    place = parse_url(f"https://example.org/{path}").path
    assert place.parent.parent == cache
    assert ".." not in place.parts
    assert len(place.name) <= 80
    assert len(place.parent.name) <= 100
    assert parse_url(f"https://example.org/{path.partition('#')[0]}_").path.parent != place.parent


@pytest.mark.parametrize(
    "url",
    ["http://example.org/x", "http://127.0.0.1.example.org/x", "http://127.1/x", "http://localhost.example.org/x", "ftp://a/x",
     "file:///etc/passwd", "/etc/passwd", "", "https://", "https:///x", "https://a:b@example.org/x", "https://example.org:x/",
     "https://[::1", "https://example.org/\0", "https://example.org/\n", "https://example.org/a b", "https://exämple.org/",
     "https://example.org/" + "x" * 5000, None, 7, "hf://owner", "hf://owner/name", "hf://owner/name/", "hf://../name/x",
     "hf://owner/../x/y", "hf://owner/name/../x", "hf://owner/name/a//b", "hf://owner/name@../x", "hf://owner/name//etc/x",
     "hf://owner/name/a\\b", "hf://owner/name/x?y=1"],
)  # fmt: skip
def test_an_illegal_address_is_refused(url):
    with pytest.raises(InvalidArgumentError):
        parse_url(url)
