"""Folders of empty files with the names of images; listing them must not open them."""

import os

import pytest

from vit_keras.data.images.signatures import USUAL_SUFFIXES


@pytest.fixture
def make(tmp_path):
    """Returns a maker of empty files."""

    def make_files(*paths, root=tmp_path / "root"):
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(b"")
        return root

    return make_files


@pytest.fixture
def never_opened(monkeypatch):
    """Fails when a file is opened whose name says that it is an image."""
    opened = os.open

    def refuse(path, *arguments, **keywords):
        if str(path).lower().endswith(USUAL_SUFFIXES):
            raise AssertionError("a file was opened")
        return opened(path, *arguments, **keywords)

    monkeypatch.setattr("os.open", refuse)
    monkeypatch.setattr("PIL.Image.open", refuse)
