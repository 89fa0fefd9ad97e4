"""`vit-keras serve` as a process of its own."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

COMMAND = [sys.executable, "-c", "from vit_keras.cli import main; main()"]


class Served:
    """A running server."""

    def __init__(self, process, line):
        self.process, self.line, self.url = process, line, line["url"]
        host, port = self.url.split("/")[2].rsplit(":", 1)
        self.server_address = (host, int(port))

    def interrupt(self):
        """Presses Ctrl-C; returns the exit code, and what was printed to stdout and stderr since the start."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@contextmanager
def serve(*arguments, **environment):
    """A server in a process of its own, on a free port, when it is ready; killed at the end if it still runs."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment}
    command = [*COMMAND, "serve", *map(str, arguments), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.communicate(timeout=60)[1])
        yield Served(process, json.loads(line))
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
