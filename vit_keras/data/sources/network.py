"""Whether servers can be reached: TFDS would try again for minutes where there is no network."""

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from urllib.parse import urlsplit

_SECONDS = 8.0
_SERVERS = 4


def is_reachable(urls: Iterable[str], *, seconds: float = _SECONDS) -> bool:
    """Returns whether a server of these URLs answers in time, through the proxies of the environment; True where none is on the web."""
    servers = {urlsplit(url).netloc: url for url in urls if url.startswith(("http:", "https:"))}
    if not servers:
        return True
    answered = threading.Event()

    def ask(url: str) -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
        except urllib.error.HTTPError:
            pass  # this is an answer
        except (OSError, ValueError):
            return
        answered.set()

    # Looking up a name has no timeout of its own, so each server is asked in a thread that the program does not wait for.
    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in list(servers.values())[:_SERVERS]]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    while not answered.wait(0.05) and time.monotonic() < end and any(thread.is_alive() for thread in threads):
        pass
    return answered.is_set()
