import signal
import subprocess
import sys

import pytest

NOTES = [  # as TensorFlow 2.20 to 2.21, XLA and JAX wrote them
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1795968210.083961   12941 port.cc:153] oneDNN custom operations are on. You may see slightly different results.",
    "I0000 00:00:1795968210.303578   12941 cpu_feature_guard.cc:227] This TensorFlow binary is optimized to use CPU instructions.",
    "To enable the following instructions: AVX2 AVX512F, in other operations, rebuild TensorFlow with the compiler flags.",
    "W0000 00:00:1795968218.260293   12941 cudart_stub.cc:31] Could not find cuda drivers on your machine.",
    "I0000 00:00:1795968219.000001    1234 service.cc:148] XLA service 0x7f1c initialized for platform CUDA",
    "2026-11-29 16:00:00.123456: I tensorflow/compiler/mlir/tensorflow/utils/dump_mlir_util.cc:269] disabling MLIR crash reproducer",
    "E0000 00:00:1795974966.536829   28570 util.cc:131] oneDNN supports DT_BOOL only on platforms with AVX-512. Falling back",
    "2026-11-29 16:00:00.123456: E external/local_xla/xla/stream_executor/cuda/cuda_platform.cc:51] failed call to cuInit: INTERNAL",
    "E0000 00:00:1795968210.083961   12941 cuda_dnn.cc:8579] Unable to register cuDNN factory: one has already been registered",
]
ERRORS = [
    "E0000 00:00:1795968210.083961   12941 bfc_allocator.cc:500] ran out of memory trying to allocate 2.00GiB",
    "2026-11-29 16:00:00.123456: F tensorflow/core/platform/env.cc:74] Check failed: ret == 0 (11 vs. 0)",
    "terminate called after throwing an instance of 'std::bad_alloc'",
    "a question, without an end of line",
]
PROGRAM = """
import os, sys
from vit_keras.cli.native_stderr import filter_stderr
filter_stderr()
for line in {lines!r}:
    os.write(2, line.encode() + b"\\n")
print("from Python", file=sys.stderr)
{end}
"""
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stderr is not filtered on Windows")


def run(lines, end=""):
    code = PROGRAM.format(lines=lines, end=end)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_notes_are_dropped_and_all_else_arrives():
    done = run([line for pair in zip(NOTES, NOTES, strict=True) for line in pair] + ERRORS)
    assert done.returncode == 0
    assert sorted(done.stderr.splitlines()) == sorted([*ERRORS, "from Python"])


@pytest.mark.parametrize("ending", ["os.abort()", "os.kill(os.getpid(), 9)"])
def test_the_last_words_of_a_crash_arrive(ending):
    done = run([*NOTES, ERRORS[1]], f'os.write(2, b"no end of line"); {ending}')
    assert done.returncode in (-signal.SIGABRT, -signal.SIGKILL)
    assert ERRORS[1] in done.stderr
    assert "no end of line" in done.stderr
    assert NOTES[1] not in done.stderr


def test_a_command_starts_with_a_line_and_writes_no_note(tiny_preset, tmp_path):
    from PIL import Image

    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    code = "from vit_keras.cli import main; main()"
    command = [sys.executable, "-c", code, "predict", str(tiny_preset), str(tmp_path / "red.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["starting", "classifying"]
    assert done.stdout.startswith(str(tmp_path / "red.png"))
