import json
import os
import socket
import sys
from pathlib import Path

import pytest

from vit_keras.distributed.launch import local_environments, run_processes
from vit_keras.distributed.shared_errors import share_errors
from vit_keras.errors import DataError

pytestmark = pytest.mark.any_backend


def test_in_one_process_errors_stay_as_they_are():
    error = DataError("no images")
    with pytest.raises(DataError) as raised, share_errors():
        raise error
    assert raised.value is error


@pytest.mark.slow
def test_all_processes_raise_the_error_of_one(tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("raise_once.py")), str(tmp_path)]
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    assert run_processes(command, local_environments(2, environment), grace_seconds=20) == 0
    first, second = (json.loads((tmp_path / f"{number}.json").read_text()) for number in range(2))
    waited = [each.pop("waited") for each in (first, second)]
    host = socket.gethostname()
    assert first == {
        "none": None,
        "of the library": ["DataError", f"Process 1 on {host}: no images"],
        "of files": ["StorageError", f"Process 0 on {host}: [Errno 28] No space left on device: 'weights'"],
        "of all": ["DataError", "no folder"],
        "again none": None,
        "bytes": ["", "abc"],
        "nothing": ["", ""],
    }
    assert second == first
    assert min(waited) > 0
