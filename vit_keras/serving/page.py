"""The files of the page, and the headers that let it do no more than it needs."""

import functools
from importlib.resources import files

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Of the run's report, whose style is in the page itself."""
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STYLES = (("reporting", "palette.css"), ("reporting", "pages.css"), ("serving", "page.css"))


@functools.cache
def page_files() -> dict[str, tuple[str, bytes]]:
    """Returns the type and the content of each file of the page, by its path in the address."""
    style = b"".join(_read(*each) for each in _STYLES)
    return {
        "/": ("text/html; charset=utf-8", _read("serving", "page.html")),
        "/page.css": ("text/css; charset=utf-8", style),
        "/page.js": ("text/javascript; charset=utf-8", _read("serving", "page.js")),
    }


def _read(room: str, name: str) -> bytes:
    return files(f"vit_keras.{room}").joinpath(name).read_bytes()
