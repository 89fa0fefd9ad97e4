"""Bars in a terminal and in a notebook, and none elsewhere."""

import io
import sys
import types

import pytest
from rich.console import Console

from vit_keras.reporting.progress import in_notebook, progress_bar, standard_console


def test_a_terminal_shows_the_bar() -> None:
    text = io.StringIO()
    with progress_bar(Console(file=text, force_terminal=True, width=100), "training") as update:
        update(3, 8, "3/8 steps")
    assert "training" in text.getvalue()
    assert "3/8 steps" in text.getvalue()


def test_a_file_gets_no_bar() -> None:
    text = io.StringIO()
    with progress_bar(Console(file=text), "training") as update:
        update(3, 8, "3/8 steps")
    assert text.getvalue() == ""


class _Handle:
    def __init__(self) -> None:
        self.contents: list[dict[str, str]] = []

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        self.contents.append(content)


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> _Handle:
    """A kernel whose display is recorded."""
    shown = _Handle()

    def display(content: dict[str, str], *, raw: bool, display_id: bool) -> _Handle:
        shown.update(content, raw=raw)
        return shown

    shell = types.SimpleNamespace(kernel=object())
    ipython = types.SimpleNamespace(get_ipython=lambda: shell, display=types.SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    return shown


def test_a_notebook_shows_one_bar_that_moves_and_goes(handle: _Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.1, 10.0, 10.0])
    clock = types.SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr("vit_keras.reporting.progress.time", clock)
    assert in_notebook()
    with progress_bar(standard_console(), "checking <x>") as update:
        update(1, 8, "1/8")
        update(2, 8, "2/8")  # too soon after the last
        update(3, 8, "3/8")
    first, second, last = (content["text/html"] for content in handle.contents)
    assert 'value="1" max="8"' in first
    assert "checking &lt;x&gt;" in first
    assert "3/8" in second
    assert last == ""


def test_a_notebook_is_no_terminal_even_where_it_asks_for_colors(
    handle: _Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not standard_console().is_terminal
