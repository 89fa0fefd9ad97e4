"""The HTTP server: it holds a port, bounds the number of connections, and ends in order. It starts without Keras."""

import contextlib
import errno
import socket
import socketserver
import sys
import threading
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from vit_keras.errors import InvalidArgumentError, StorageError, VitKerasError
from vit_keras.serving.access import Access, choose_token
from vit_keras.serving.handler import Handler
from vit_keras.serving.limits import END_SECONDS, MAX_CONNECTIONS
from vit_keras.serving.server_state import ServerState

if TYPE_CHECKING:
    from vit_keras.serving.model_service import ModelService

_BUSY_TEXT = b'{"error": "There are too many connections; try again in a second."}\n'
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BUSY_TEXT), _BUSY_TEXT)
)
_POLL_SECONDS = 0.1  # between looks at whether it is to end


class ModelServer(ThreadingHTTPServer):
    """An HTTP server for one model. It takes its port when it is made, and answers between `start` and `end`.

    Args:
        host: The address to listen on; any but a loopback address needs a token.
        port: The port; 0 for any free one.

    Raises:
        InvalidArgumentError: The host is no address of this machine, or the port is none.
        StorageError: The port is taken, or not allowed.
    """

    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS
    allow_reuse_address = sys.platform != "win32"  # there it would share the port with another program

    def __init__(self, host: str = "127.0.0.1", port: int = 8000) -> None:
        if type(port) is not int or not 0 <= port < 2**16:
            raise InvalidArgumentError(f"port must be from 0 to {2**16 - 1}, got {port!r}; 0 is any free one.")
        token = choose_token(host)
        try:
            self.address_family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            super().__init__(address[:2], Handler)  # type: ignore[arg-type]
        except (OSError, UnicodeError) as error:
            raise _explain(error, host, port) from error
        self.state = ServerState(Access(host, self.server_address[1], token))
        self._thread = threading.Thread(target=self.serve_forever, args=(_POLL_SECONDS,), name="server", daemon=True)

    @property
    def token(self) -> str | None:
        """What requests must have; None where they need nothing."""
        return self.state.access.token

    @property
    def url(self) -> str:
        """The address of the page, with the token where one is needed."""
        url = self.state.access.url
        return url if self.token is None else f"{url}?token={self.token}"

    def server_bind(self) -> None:
        """Takes the port. The base class would ask a name server for this machine's name, too."""
        socketserver.TCPServer.server_bind(self)

    def start(self, service: "ModelService") -> None:
        """Starts to answer requests; those that came before are answered now."""
        self.state.service = service
        self._thread.start()

    def end(self) -> None:
        """Takes no more requests, and waits for those that are being answered, but not for long."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
            self.state.end(END_SECONDS)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers a connection in its own thread; one too many gets 503."""
        if self.state.connect():
            super().process_request(request, client_address)
            return
        with contextlib.suppress(OSError):
            request.settimeout(1)
            request.sendall(_BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers the requests of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.state.disconnect()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Shows a bug's traceback; a client that is gone is none."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _explain(error: Exception, host: str, port: int) -> VitKerasError:
    """Returns why a server can't listen, and what to do."""
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return StorageError(
            f"The port {port} is taken: another program listens on it. Choose another with port=N, or port=0 for any free one."
        )
    if number == errno.EACCES:
        return StorageError(
            f"The port {port} is not allowed for this user: choose one above 1023, or port=0 for any free one."
        )
    return InvalidArgumentError(
        f"host={host!r} is no address of this machine ({error}). Leave it out for this machine alone."
    )
