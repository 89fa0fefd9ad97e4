import http.server
import threading

import pytest

from vit_keras.data.sources.network import is_reachable

CLOSED = "http://127.0.0.1:9/file"


@pytest.fixture
def server(monkeypatch):
    """The address of a server that refuses every request, which is an answer, too."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(405)

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/file"
        running.shutdown()


def test_one_server_that_answers_is_enough(server):
    assert is_reachable([server])
    assert is_reachable([CLOSED, server])


def test_no_server_answers(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert not is_reachable([CLOSED, "http://name.invalid/file"], seconds=5)


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *arguments, **options: threading.Event().wait())
    assert not is_reachable([CLOSED], seconds=0.1)


def test_what_is_not_on_the_web_is_not_asked():
    assert is_reachable([])
    assert is_reachable(["gs://bucket/file", "/a/file"])
