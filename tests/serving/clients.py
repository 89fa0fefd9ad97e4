"""Clients of a server: well-behaved ones by `http.client`, others by a plain socket."""

import http.client
import json
import socket

JPEG = {"Content-Type": "image/jpeg"}


class Answer:
    def __init__(self, status, headers, content):
        self.status, self.headers, self.content = status, headers, content

    @property
    def json(self):
        return json.loads(self.content)


def ask(server, method, path, body=None, headers=None):
    """The answer to one request; headers of None are left out."""
    host, port = server.server_address[:2]
    connection = http.client.HTTPConnection("127.0.0.1" if host == "0.0.0.0" else host, port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def connect(server):
    return socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=30)


def read_all(connection):
    """What is sent until the other side closes."""
    parts = []
    while part := connection.recv(2**16):
        parts.append(part)
    return b"".join(parts)


def read_answer(connection):
    """One answer with JSON in it."""
    content = b""
    while not content.endswith(b"}\n") and (part := connection.recv(2**16)):
        content += part
    return content


def send(server, *lines, body=b""):
    """The status of the answer to a request of these lines, which `http.client` would not send, and its JSON."""
    with connect(server) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        content = read_all(connection)
    return int(content.split(b" ", 2)[1]), json.loads(content.split(b"\r\n\r\n", 1)[1])
