"""Who may ask: the checks of the headers Host, Origin and Authorization, before anything else of a request is looked at.

A web page of another site can send requests to this machine, and DNS rebinding lets it do so under its own name. So the Host must be
a name of this server, an Origin must be this server's own, and who comes over the network needs a token.
"""

import hmac
import ipaddress
import os
import secrets
import socket
from email.message import Message
from urllib.parse import urlsplit

from vit_keras.errors import InvalidArgumentError
from vit_keras.serving.request_error import RequestError

Headers = Message | dict[str, str]
"""Headers of a request, as `http.server` has them, or in a dictionary."""
TOKEN_VARIABLE = "VIT_KERAS_TOKEN"
"""Environment variable with the token, for programs that call again after a restart."""
_SHORTEST_TOKEN = 16  # characters
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_SAME_SITE = ("", "same-origin", "none")  # of Sec-Fetch-Site; "none" is the user's own doing, such as a bookmark


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "192.168.0.7", "example.com")]
    [True, True, True, False, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def choose_token(host: str) -> str | None:
    """Returns the token that requests must have: none on loopback, else that of the environment or a random one."""
    if is_loopback(host):
        return None
    given = os.environ.get(TOKEN_VARIABLE)
    if given is None:
        return secrets.token_urlsafe(24)
    if len(given) < _SHORTEST_TOKEN or not given.isascii() or not given.isprintable() or set(given) & set(' ",;\\'):
        raise InvalidArgumentError(
            f"{TOKEN_VARIABLE} must be at least {_SHORTEST_TOKEN} letters, digits or signs without spaces, quotes, commas and "
            "semicolons; unset it for a random one."
        )
    return given


class Access:
    """Decides whether a request may be answered.

    Args:
        host: The address that the server listens on.
        port: Its port.
        token: What requests over the network must have; None where none is needed.
    """

    def __init__(self, host: str, port: int, token: str | None) -> None:
        self._is_local, self._port, self.token = is_loopback(host), port, token
        self.cookie = f"vit_keras_{port}"  # a browser's cookies are those of all ports
        self.url = f"http://{_bracket(_find_reachable(host))}:{port}/"
        self._names = {*_LOCAL, _bracket(host.lower())}
        if not self._is_local:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def check(self, headers: Headers, *, token: str | None = None) -> None:
        """Raises `RequestError` unless a request with these headers may be answered; `token` is the one in its address."""
        host = headers.get("Host", "")
        if not self._is_known(host):
            raise RequestError(403, f"The Host {host!r} is no name of this server. Its address is {self.url}")
        origin = headers.get("Origin")
        if origin is not None and not _is_same(origin, host):
            raise RequestError(403, f"The Origin {origin!r} is another site, whose requests are not answered.")
        if self.token is not None and not any(
            hmac.compare_digest(each.encode(), self.token.encode()) for each in (token or "", *self._find(headers))
        ):
            raise RequestError(
                401,
                "A token is needed: open the address that the server printed, or send the header Authorization: Bearer TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )

    def check_sender(self, headers: Headers) -> None:
        """Raises `RequestError` for what a browser sends on behalf of another site, or of another port of this machine."""
        site = headers.get("Sec-Fetch-Site", "")
        if site not in _SAME_SITE:
            raise RequestError(403, f"The browser sends this for another site (Sec-Fetch-Site: {site}).")

    def _is_known(self, host: str) -> bool:
        """Whether a Host is this server's. Over the network a token protects it: there, any IP address and any port may be mapped to it."""
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if parts.path or parts.query or parts.fragment or "@" in host:
            return False
        if self._is_local:
            return _bracket(name) in self._names and port == self._port
        return _bracket(name) in self._names or _is_address(name)

    def _find(self, headers: Headers) -> list[str]:
        """Returns the tokens of a request's headers; other servers on this machine set cookies of any form, too."""
        kind, _, value = headers.get("Authorization", "").partition(" ")
        found = [value.strip()] if kind.lower() == "bearer" else []
        cookies = (each.strip().partition("=") for each in headers.get("Cookie", "").split(";"))
        return found + [value for name, _, value in cookies if name == self.cookie]


def _bracket(host: str) -> str:
    """Returns a host as an address has it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def _find_reachable(host: str) -> str:
    """Returns an address at which others reach a server that listens on all; any other address as it is."""
    if host not in ("0.0.0.0", "::"):
        return host
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(
                ("192.0.2.1", 9)
            )  # an address for documentation: nothing is sent, but the way there is chosen
            address: str = probe.getsockname()[0]
            return address
    except OSError:
        return socket.gethostname()


def _is_same(origin: str, host: str) -> bool:
    """Whether an Origin is that of the page of a Host; https is that of a proxy before this server."""
    return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
