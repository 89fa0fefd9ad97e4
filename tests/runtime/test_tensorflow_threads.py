"""How many of TensorFlow's operations run at the same time; TensorFlow takes the numbers once, so tests start processes."""

import os
import subprocess
import sys

import keras
import pytest

from vit_keras.runtime.tensorflow_threads import (
    MOST_CORES,
    count_cores,
    count_parallel_operations,
    prefer_parallel_operations,
)

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends have their own threads")

CHOOSE = (
    "from vit_keras.runtime.tensorflow_threads import count_parallel_operations, prefer_parallel_operations as choose\n"
)
SHARED = count_cores() if count_cores() <= MOST_CORES else 1


def run(program, **variables):
    """Returns what a program prints in a new process."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | variables
    done = subprocess.run(
        [sys.executable, "-c", CHOOSE + program], check=True, capture_output=True, text=True, env=environment
    )
    return done.stdout.split()


def test_a_new_process_shares_the_cores_among_operations_once_it_is_asked_to():
    program = "print(count_parallel_operations()); choose(); print(count_parallel_operations())"
    assert run(program) == ["1", str(SHARED)]


def test_what_the_user_chose_stays(divide):
    assert run("choose(); print(count_parallel_operations())", TF_NUM_INTRAOP_THREADS="2") == ["1"]
    divide(3)
    assert count_parallel_operations() == 3


def test_once_tensorflow_has_started_nothing_changes():
    keras.ops.zeros(1)
    prefer_parallel_operations()
    assert count_parallel_operations() == 1
