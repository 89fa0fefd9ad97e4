import json
import re
import socket
import threading
import time

import pytest
from pages import Page
from serving.clients import JPEG, ask, connect, read_all, read_answer, send

from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.serving import handler, server_state
from vit_keras.serving.limits import MAX_BYTES
from vit_keras.serving.request_error import RequestError
from vit_keras.serving.server import ModelServer


class Echo:
    """A service without a model, which says what it was asked."""

    report = b"<!DOCTYPE html><title>run</title>"

    def __init__(self):
        self.started, self.may_end = threading.Event(), threading.Event()
        self.may_end.set()

    def describe(self):
        return {"model": "echo"}

    def predict(self, content, *, name, top):
        self.started.set()
        self.may_end.wait(30)
        if content == b"busy":
            raise RequestError(503, "full", {"Retry-After": "1"})
        if content == b"bug":
            raise KeyError("bug")
        return {"file": name, "bytes": len(content), "top": top}

    def explain(self, content, *, name):
        return {"file": name, "explained": len(content)}


@pytest.fixture(scope="module")
def make_server():
    """Returns a function that starts a server; all end with the module."""
    started = []

    def make(host="127.0.0.1"):
        server = ModelServer(host, 0)
        server.start(Echo())
        started.append(server)
        return server

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handler, "_LINGER_SECONDS", 0.3)
        yield make
        for server in started:
            server.end()


@pytest.fixture(scope="module")
def shared(make_server):
    return make_server()


@pytest.fixture
def server(shared):
    """A server with a new service."""
    shared.state.service = Echo()
    yield shared
    shared.state.service.may_end.set()


def test_the_page_is_its_own_files_and_its_policy_allows_nothing_else(server):
    found = ask(server, "GET", "/")
    assert (found.status, found.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    page = Page(found.content.decode())
    sources = [value for name, value in page.attributes if name in ("src", "href")]
    assert sources == ["data:,", "page.css", "page.js", "report"]
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]
    labels = {value for name, value in page.attributes if name == "id"}
    assert {value for name, value in page.attributes if name in ("for", "aria-labelledby")} <= labels
    for path, kind in (("/page.css", "text/css"), ("/page.js", "text/javascript"), ("/model", "application/json")):
        part = ask(server, "GET", path)
        assert (part.status, part.headers.get_content_type()) == (200, kind)
        assert not re.search(rb"https?://|@import|url\(", part.content)
    policy = found.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    script = ask(server, "GET", "/page.js").content.decode()
    assert set(re.findall(r'find\("([\w-]+)"\)', script)) <= labels
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", script)


@pytest.mark.parametrize("path", ["/", "/model", "/report", "/nothing", "/predict"])
def test_every_answer_has_the_headers_that_protect_the_browser(server, path):
    headers = ask(server, "GET", path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers
    assert "Python" not in headers["Server"]


def test_the_report_is_served_where_there_is_one(server):
    found = ask(server, "GET", "/report")
    assert (found.status, found.content) == (200, Echo.report)
    assert "script" not in found.headers["Content-Security-Policy"]
    server.state.service.report = None
    assert ask(server, "GET", "/report").status == 404


def test_an_image_is_passed_to_the_model_with_its_name(server):
    assert ask(server, "POST", "/predict", b"12345", JPEG).json == {"file": "image", "bytes": 5, "top": 5}
    for kind in ("image/png", "IMAGE/WebP", "application/octet-stream", "image/jpeg; charset=x"):
        found = ask(server, "POST", "/predict?top=2&name=a%2Fb%20%C3%A9.png", b"1", {"Content-Type": kind})
        assert found.json == {"file": "a/b é.png", "bytes": 1, "top": 2}
    assert ask(server, "POST", "/predict?top=all", b"1", JPEG).json["top"] is None
    assert ask(server, "POST", "/explain?name=x", b"123", JPEG).json == {"file": "x", "explained": 3}


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost:{port}.evil.example", "127.0.0.1:{port}@evil.example",
        "127.0.0.1.evil.example:{port}", "[::2]:{port}", "[::1:{port}", "", "10.0.0.1:{port}", "localhost.:{port}", "127.0.0.1:{port}/x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_host_gets_403(server, method, host):
    host = host.format(port=server.server_address[1])
    path = "/predict" if method == "POST" else "/model"
    found = ask(server, method, path, b"1" if method == "POST" else None, {**JPEG, "Host": host})
    assert found.status == 403
    assert server.url in found.json["error"]


def test_a_request_without_a_host_gets_403(server):
    assert send(server, "GET / HTTP/1.0")[0] == 403


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_the_names_of_loopback_are_this_server_s(server, name):
    host = f"{name}:{server.server_address[1]}"
    for origin in (None, f"http://{host}"):
        headers = {**JPEG, "Host": host, **({} if origin is None else {"Origin": origin})}
        assert ask(server, "POST", "/predict", b"1", headers).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:{port}"},  # the Host is 127.0.0.1
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_what_another_site_sends_gets_403(server, headers):
    headers = {name: value.format(port=server.server_address[1]) for name, value in headers.items()}
    assert ask(server, "POST", "/predict", b"1", {**JPEG, **headers}).status == 403


@pytest.mark.parametrize(
    "path",
    ["/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/page.html", "/page.css/", "/PREDICT", "/%6dodel"],
)  # fmt: skip
def test_there_is_no_path_of_the_disk(server, path):
    assert ask(server, "GET", path).status == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/predict", 405, "POST"),
        ("POST", "/model", 405, "GET, HEAD"),
        ("POST", "/nothing", 404, None),
        ("PUT", "/predict", 501, None),
        ("OPTIONS", "/predict", 501, None),
        ("GET", "/predict?top=1", 400, None),
        ("GET", "/model?x=1", 400, None),
        ("GET", "/model?x", 400, None),
        ("POST", "/predict?top=0", 400, None),
        ("POST", "/predict?top=-1", 400, None),
        ("POST", "/predict?top=many", 400, None),
        ("POST", "/predict?k=3", 400, None),
        ("POST", "/predict?" + "&".join(["name=a"] * 9), 400, None),
    ],
)
def test_a_wrong_address_or_method_is_answered_in_words(server, method, path, status, allowed):
    found = ask(server, method, path, b"1" if method == "POST" else None, JPEG)
    assert (found.status, found.headers["Allow"]) == (status, allowed)
    assert found.headers["Content-Type"].startswith("application/json")
    assert found.json["error"]


def host_line(server):
    return f"Host: 127.0.0.1:{server.server_address[1]}"


@pytest.mark.parametrize(
    ("lines", "body", "status", "words"),
    [
        (["Content-Type: image/jpeg", "Content-Length: 2147483648"], b"abc", 413, "the limit is 26214400 (25 MB)"),
        (["Content-Type: image/jpeg", f"Content-Length: {'9' * 5000}"], b"", 413, "the limit is"),
        (["Content-Type: image/jpeg", "Content-Length: -1"], b"", 400, "should be a number of bytes"),
        (["Content-Type: image/jpeg", "Content-Length: 1_0"], b"", 400, "should be a number of bytes"),
        (["Content-Type: image/jpeg", "Content-Length: ٣"], b"", 400, "should be a number of bytes"),
        (["Content-Type: image/jpeg", "Content-Length: 1", "Content-Length: 2"], b"ab", 400, "1, 2"),
        (["Content-Type: image/jpeg", "Content-Length: 0"], b"", 400, "The body is empty"),
        (["Content-Type: image/jpeg"], b"", 411, "The Content-Length is missing"),
        (["Content-Type: image/jpeg", "Transfer-Encoding: chunked"], b"1\r\na\r\n0\r\n\r\n", 411, "in chunks"),
        (["Content-Type: image/jpeg", "Transfer-Encoding: chunked", "Content-Length: 3"], b"abc", 411, "in chunks"),
        (["Content-Type: application/x-www-form-urlencoded", "Content-Length: 3"], b"abc", 415, "--data-binary"),
        (["Content-Type: multipart/form-data; boundary=x", "Content-Length: 3"], b"abc", 415, "--data-binary"),
        (["Content-Type: text/plain", "Content-Length: 3"], b"abc", 415, "text/plain"),
        (["Content-Length: 3"], b"abc", 415, "missing"),
    ],
)  # fmt: skip
def test_a_body_that_is_not_read_is_answered_in_words(server, lines, body, status, words):
    encoded = [line.encode().decode("latin-1") for line in lines]
    found, value = send(server, "POST /predict HTTP/1.1", host_line(server), *encoded, body=body)
    assert found == status
    assert words in value["error"]
    assert not server.state.service.started.is_set()


def test_a_sender_who_asks_first_is_answered_before_it_sends_2_gb(server):
    lines = ("POST /predict HTTP/1.1", host_line(server), "Content-Type: image/jpeg", "Expect: 100-continue")
    assert send(server, *lines, "Content-Length: 2147483648")[0] == 413
    assert send(server, "PUT /predict HTTP/1.1", *lines[1:], "Content-Length: 3")[0] == 501
    with connect(server) as connection:
        connection.sendall("\r\n".join([*lines, "Content-Length: 3", "Connection: close", "", ""]).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(b"abc")
        assert read_all(connection).startswith(b"HTTP/1.1 200 OK")


def test_a_sender_who_does_not_ask_can_read_why_its_large_file_was_refused(server):
    found = ask(server, "POST", "/predict", bytes(MAX_BYTES + 1), JPEG)
    assert (found.status, "the limit is" in found.json["error"]) == (413, True)
    assert ask(server, "POST", "/predict", bytes(MAX_BYTES), JPEG).json["bytes"] == MAX_BYTES


@pytest.mark.parametrize(
    "line", ["nonsense", "GET", "GET / HTTP/9.9", "GET / FTP/1.0", "\x00\x01\x02", "GET /" + "a" * 70_000 + " HTTP/1.1"]
)
def test_a_request_line_that_makes_no_sense_is_answered(server, line):
    status, value = send(server, line)
    assert 400 <= status < 506
    assert value["error"]


def test_a_body_that_ends_early_is_answered(server):
    with connect(server) as connection:
        lines = ["POST /predict HTTP/1.1", host_line(server), "Content-Type: image/jpeg", "Content-Length: 10", "", ""]
        connection.sendall("\r\n".join(lines).encode() + b"1234")
        connection.shutdown(socket.SHUT_WR)
        content = read_all(connection)
    assert content.startswith(b"HTTP/1.1 400 ")
    assert b"The body ended after 4 of 10 bytes" in content


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_client_that_sends_a_byte_now_and_then_is_answered_and_closed(server, monkeypatch, part):
    monkeypatch.setattr(handler, f"{'HEADER' if part == 'headers' else 'BODY'}_SECONDS", 0.5)
    start = ["POST /predict HTTP/1.1", host_line(server), "Content-Type: image/jpeg"]
    end = [] if part == "headers" else ["Content-Length: 1000", "", ""]
    with connect(server) as connection:
        connection.sendall("\r\n".join([*start, *end]).encode())
        answered = threading.Event()

        def dribble():
            while not answered.wait(0.05):
                try:
                    connection.sendall(b"a")
                except OSError:
                    return

        thread = threading.Thread(target=dribble)
        thread.start()
        content = read_answer(connection)
        answered.set()
        thread.join()
    assert content.startswith(b"HTTP/1.1 408 ")
    assert f"The {part} did not arrive" in content.decode()
    assert ask(server, "GET", "/model").status == 200


def test_an_idle_connection_is_closed(server, monkeypatch):
    monkeypatch.setattr(handler, "HEADER_SECONDS", 0.2)
    with connect(server) as connection:
        assert read_all(connection) == b""


def test_one_connection_takes_many_requests(server):
    with connect(server) as connection, connection.makefile("rb") as answers:
        for path, status in (("/model", 200), ("/nothing", 404), ("/model?x=1", 400), ("/model", 200)):
            connection.sendall(f"GET {path} HTTP/1.1\r\n{host_line(server)}\r\n\r\n".encode())
            assert int(answers.readline().split()[1]) == status
            length = 0
            while (line := answers.readline().strip().lower()) != b"":
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert json.loads(answers.read(length))


def test_head_has_no_body_and_a_get_with_a_body_ends_the_connection(server):
    found = ask(server, "HEAD", "/")
    assert (found.status, found.content) == (200, b"")
    assert int(found.headers["Content-Length"]) > 1000
    assert ask(server, "GET", "/model", b"GET /x HTTP/1.1", {}).headers["Connection"] == "close"


def test_one_connection_too_many_gets_503(make_server, monkeypatch):
    server = make_server()
    monkeypatch.setattr(server_state, "MAX_CONNECTIONS", 2)
    with connect(server) as first, connect(server) as second:
        for connection in (first, second):
            connection.sendall(f"GET /model HTTP/1.1\r\n{host_line(server)}\r\n\r\n".encode())
            assert read_answer(connection).startswith(b"HTTP/1.1 200 OK")
        found = ask(server, "GET", "/model")
        assert (found.status, found.headers["Retry-After"]) == (503, "1")
        assert "too many connections" in found.json["error"]
    for _ in range(100):  # until the server has seen that they are closed
        if ask(server, "GET", "/model").status == 200:
            break
        time.sleep(0.05)
    assert ask(server, "GET", "/model").status == 200


def test_what_the_service_refuses_and_a_bug_are_answered_and_the_server_goes_on(server, capsys):
    found = ask(server, "POST", "/predict", b"busy", JPEG)
    assert (found.status, found.headers["Retry-After"], found.json) == (503, "1", {"error": "full"})
    assert capsys.readouterr().err == ""
    found = ask(server, "POST", "/predict", b"bug", JPEG)
    assert (found.status, found.json) == (500, {"error": "This is a bug in vit_keras: KeyError: 'bug'"})
    assert "KeyError" in capsys.readouterr().err
    assert ask(server, "POST", "/predict", b"fine", JPEG).status == 200


def test_a_client_that_leaves_is_no_error(make_server, capsys):
    server = make_server()
    service = server.state.service
    service.may_end.clear()
    with connect(server) as connection:
        lines = ["POST /predict HTTP/1.1", host_line(server), "Content-Type: image/jpeg", "Content-Length: 1", "", ""]
        connection.sendall("\r\n".join(lines).encode() + b"1")
        assert service.started.wait(30)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closes with a reset
    service.may_end.set()
    assert ask(server, "POST", "/predict", b"1", JPEG).status == 200
    server.end()
    assert capsys.readouterr().err == ""


def test_at_the_end_what_is_being_answered_is_answered_first(make_server):
    server = make_server()
    service = server.state.service
    service.may_end.clear()
    found = []
    client = threading.Thread(target=lambda: found.append(ask(server, "POST", "/predict", b"1", JPEG)))
    client.start()
    assert service.started.wait(30)
    ending = threading.Thread(target=server.end)
    ending.start()
    service.may_end.set()
    client.join(30)
    ending.join(30)
    assert [answer.status for answer in found] == [200]
    with pytest.raises(ConnectionRefusedError):
        ask(server, "GET", "/model")


def test_after_the_end_an_open_connection_is_told_so_and_closed(make_server):
    server = make_server()
    with connect(server) as connection:
        request = f"GET /model HTTP/1.1\r\n{host_line(server)}\r\n\r\n".encode()
        connection.sendall(request)
        assert read_answer(connection).startswith(b"HTTP/1.1 200 OK")
        server.end()
        connection.sendall(request)
        content = read_all(connection)
    assert content.startswith(b"HTTP/1.1 503 ")
    assert b"The server was stopped." in content


def test_a_taken_port_a_wrong_port_and_a_wrong_host_are_said(server):
    port = server.server_address[1]
    with pytest.raises(StorageError, match=f"The port {port} is taken: another program listens on it"):
        ModelServer("127.0.0.1", port)
    for wrong in (-1, 65536, "80", True):
        with pytest.raises(InvalidArgumentError, match="port must be from 0 to 65535"):
            ModelServer("127.0.0.1", wrong)
    for host in ("no such host", "192.0.2.1", "", "a" * 300):
        with pytest.raises(InvalidArgumentError, match="is no address of this machine"):
            ModelServer(host, 0)


def test_over_the_network_a_token_is_needed(make_server, monkeypatch):
    monkeypatch.delenv("VIT_KERAS_TOKEN", raising=False)
    server = make_server("0.0.0.0")
    port, token = server.server_address[1], server.token
    assert re.fullmatch(rf"http://[\w.-]+:{port}/\?token={re.escape(token)}", server.url)
    assert len(token) >= 32
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {token}"},
        {"Cookie": f"vit_keras_1={token}"},
    ):
        for method, path, body in (("GET", "/", None), ("GET", "/model", None), ("POST", "/predict", b"1")):
            found = ask(server, method, path, body, {**JPEG, **headers})
            assert (found.status, found.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert ask(server, "POST", "/predict", b"1", {**JPEG, "Authorization": f"Bearer {token}"}).status == 200
    assert ask(server, "GET", "/?token=wrong").status == 401
    page = ask(server, "GET", f"/?token={token}")
    assert page.status == 200
    cookie, *flags = page.headers["Set-Cookie"].split("; ")
    assert sorted(flags) == ["HttpOnly", "Path=/", "SameSite=Strict"]
    assert ask(server, "GET", "/model", headers={"Cookie": 'other={"a": [1, "b"]}; ' + cookie}).json == {
        "model": "echo",
        "needs_token": True,
    }
    assert ask(server, "POST", "/predict", b"1", {**JPEG, "Cookie": cookie}).status == 200
    # A name of another machine gets nothing, token or not; an address may be that of a container or a proxy.
    allowed = {"Authorization": f"Bearer {token}"}
    assert ask(server, "GET", "/model", headers={**allowed, "Host": f"evil.example:{port}"}).status == 403
    assert ask(server, "GET", "/model", headers={**allowed, "Host": "10.1.2.3:80"}).status == 200


def test_on_loopback_a_token_in_the_address_is_ignored_and_sets_no_cookie(server):
    found = ask(server, "GET", "/?token=a%0d%0aX-Injected:%201")
    assert (found.status, found.headers["Set-Cookie"], found.headers["X-Injected"]) == (200, None, None)
    assert server.token is None


def test_the_token_of_the_environment_is_used_if_it_is_long(make_server, monkeypatch):
    monkeypatch.setenv("VIT_KERAS_TOKEN", "0123456789abcdef")
    server = make_server("0.0.0.0")
    assert ask(server, "GET", "/model", headers={"Authorization": "Bearer 0123456789abcdef"}).status == 200
    for wrong in ("short", "0123456789 abcdef", "0123456789;abcdef", "0123456789é123456"):
        monkeypatch.setenv("VIT_KERAS_TOKEN", wrong)
        with pytest.raises(InvalidArgumentError, match="VIT_KERAS_TOKEN must be at least 16"):
            ModelServer("0.0.0.0", 0)
