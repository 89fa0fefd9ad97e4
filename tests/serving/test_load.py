"""Many clients at once, bad files among them: each is answered, and memory does not grow."""

import collections
import http.client
import itertools
import json
import sys
import threading

import psutil
import pytest
from serving.pictures import BAD, encode, noise
from serving.process import serve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals"),
]
EVERY = 10  # of this many files, one is bad


def load(served, *, clients, requests):
    """The statuses of good and of bad files, from clients that each keep a connection open."""
    numbers, found, files = (
        itertools.count(),
        collections.Counter(),
        [encode(noise(80, 100, seed)) for seed in range(8)],
    )
    bad = [BAD[name] for name in ("text", "svg", "half", "zeros", "bomb")]

    def client():
        connection = http.client.HTTPConnection(*served.server_address, timeout=120)
        while (number := next(numbers)) < requests:
            is_bad = number % EVERY == 0
            body = bad[number // EVERY % len(bad)] if is_bad else files[number % len(files)]
            connection.request("POST", "/predict", body, {"Content-Type": "image/png"})
            response = connection.getresponse()
            answer = json.loads(response.read())
            assert ("classes" in answer) == (response.status == 200)
            found["bad" if is_bad else "good", response.status] += 1
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def memory(served):
    process = psutil.Process(served.process.pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


def test_24_clients_get_no_503_and_50_are_all_answered(tiny_preset):
    with serve(tiny_preset) as served:
        assert load(served, clients=24, requests=240) == {("good", 200): 216, ("bad", 422): 24}
        before = memory(served)
        assert load(served, clients=50, requests=500) == {("good", 200): 450, ("bad", 422): 50}
        assert memory(served) < before + 50_000_000
        code, _, err = served.interrupt()
    assert code == 0
    assert err.splitlines()[-1] == "stopped; 666 images classified, 74 could not be read"
