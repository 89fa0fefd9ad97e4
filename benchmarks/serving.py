"""`vit-keras serve` under load on loopback: 50 clients, 2,000 images, every tenth file a bad one; then 24 clients.

    python benchmarks/serving.py [--preset vit_nano_conv8_96] [--clients 50] [--requests 2000]

Every request must be answered as its file deserves: 200, or 422 for a bad file, and 503 only beyond 64 images that wait. Memory is that of the
server and its decoders; it must not grow. Clients run on the same cores as the server, so seconds are an upper bound.
"""

import argparse
import collections
import http.client
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import harness
import numpy as np
import photos
import psutil

BAD = (b"hello", b"", b"<svg/>", b"\xff\xd8\xff" + bytes(5000), b"\x89PNG\r\n\x1a\n" + bytes(300))
EVERY = 10  # of this many files, one is bad
START = "from vit_keras.cli import main; main()"


def make_model(preset: str, folder: Path) -> Path:
    """Writes a preset with random weights and ten classes."""
    code = f"import vit_keras as vk; vk.save_preset(vk.from_preset({preset!r}, num_classes=10), {str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    return folder


def memory(process: psutil.Process) -> float:
    """Returns the resident memory of a process and those it started, in MB."""
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / 1e6


def load(url: str, files: list[bytes], *, clients: int, requests: int, process: psutil.Process) -> dict[str, object]:
    """Sends requests from many threads, each with one connection that stays open; returns what came back."""
    host, port = url.split("/")[2].rsplit(":", 1)
    numbers, lock = itertools.count(), threading.Lock()
    statuses: collections.Counter[str] = collections.Counter()
    seconds, sizes = [], []

    def client() -> None:
        connection = http.client.HTTPConnection(host, int(port), timeout=120)
        while (number := next(numbers)) < requests:
            is_bad = number % EVERY == 0
            body = BAD[number // EVERY % len(BAD)] if is_bad else files[number % len(files)]
            start = time.perf_counter()
            try:
                connection.request("POST", "/predict", body, {"Content-Type": "image/jpeg"})
                response = connection.getresponse()
                answer, status = json.loads(response.read()), response.status
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                answer, status = {}, type(error).__name__
            took = time.perf_counter() - start
            expected = {400, 422} if is_bad else {200}
            with lock:
                statuses[f"{status}{'' if status in expected or status == 503 else ' unexpected'}"] += 1
                if status == 200:
                    seconds.append(took)
                    if not answer.get("classes"):
                        statuses["200 without classes"] += 1
                if number % max(1, requests // 8) == 0:
                    sizes.append(round(memory(process), 1))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = time.perf_counter() - start
    return {
        "clients": clients,
        "requests": requests,
        "answers": dict(sorted(statuses.items())),
        "images_per_second": round(len(seconds) / total, 1),
        "milliseconds": {f"p{share}": round(1e3 * float(np.percentile(seconds, share)), 1) for share in (50, 95, 99)},
        "memory_mb": sizes,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="vit_nano_conv8_96")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = [
            path.read_bytes() for path in sorted(photos.make_folder(Path(folder, "photos"), count=40).rglob("*.jpg"))
        ]
        model = make_model(options.preset, Path(folder, "model"))
        begun = time.perf_counter()
        command = [sys.executable, "-c", START, "serve", str(model), "--port", "0", "--json", "--quiet"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as server:
            url = json.loads(server.stdout.readline())["url"]
            ready = time.perf_counter() - begun
            process = psutil.Process(server.pid)
            load(url, files, clients=8, requests=100, process=process)  # until every size of batch has run
            loads = [
                load(url, files, clients=clients, requests=options.requests, process=process)
                for clients in (options.clients, 24)
            ]
            alive = server.poll() is None
            server.send_signal(2)
            code = server.wait(60)
        harness.record(
            "serving",
            {
                "preset": options.preset,
                "load_per_core": round(harness.load(), 1),
                "seconds_to_ready": round(ready, 1),
                "loads": loads,
                "alive": alive,
                "exit_code": code,
            },
        )
