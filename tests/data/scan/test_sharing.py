"""Several processes check the files of a folder together."""

import json
import os
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from vit_keras.data.scan.manifest import MANIFEST, QUARANTINE
from vit_keras.data.scan.sharing import divide
from vit_keras.distributed.launch import local_environments, run_processes

pytestmark = pytest.mark.any_backend


def test_files_that_none_has_seen_are_divided_and_rows_are_sent_once():
    found = np.array([[1, 0, 0, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0]], bool)
    assert [divide(found, (number, 3)) for number in range(3)] == [([2, 6], [3]), ([4], [1]), ([5], [])]
    assert divide(np.ones((2, 3), bool), (0, 2)) == ([], [])


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """What two processes found, by the name of the case."""
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "0" / name).mkdir(parents=True)
        for index in range(9):
            pixels = rng.integers(0, 256, (20, 24, 3)).astype("uint8")
            Image.fromarray(pixels).save(folder / "0" / name / f"{index}.png")
    (folder / "0" / "cat" / "broken.png").write_bytes(b"not an image")
    shutil.copytree(folder / "0", folder / "1")
    Image.new("RGB", (30, 30)).save(folder / "1" / "dog" / "8.png")
    shutil.copytree(folder / "0", folder / "2")
    (folder / "2" / "dog" / "8.png").unlink()
    command = [sys.executable, str(Path(__file__).with_name("scan_once.py")), str(folder), str(folder)]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}
    assert run_processes(command, local_environments(2, environment), grace_seconds=20) == 0
    both = [json.loads((folder / f"{number}.json").read_text()) for number in range(2)]
    return {one["name"]: (one, other) for one, other in zip(*both, strict=True)}


ALL = sorted([*(f"{name}/{index}.png" for name in ("cat", "dog") for index in range(9)), "cat/broken.png"])


@pytest.mark.slow
@pytest.mark.parametrize("case", ["own caches", "one cache"])
def test_each_file_is_read_by_one_process_and_all_leave_out_the_same(scans, case):
    one, other = scans[case]
    assert sorted([*one["read"], *other["read"]]) == ALL
    assert abs(len(one["read"]) - len(other["read"])) <= 1
    for found in (one, other):
        assert list(found["left_out"]) == ["cat/broken.png"]
        assert sorted(found["paths"]) == [path for path in ALL if path != "cat/broken.png"]
        assert found["files"] == ["lock", MANIFEST, QUARANTINE]
    assert one["left_out"] == other["left_out"]
    assert one["fingerprint"] == other["fingerprint"]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["again", "one cache is empty"])
def test_files_that_a_process_has_read_before_are_not_read_again(scans, case):
    for found in scans[case]:
        assert found["read"] == []
        assert found["fingerprint"] == scans["own caches"][0]["fingerprint"]
        assert list(found["left_out"]) == ["cat/broken.png"]


@pytest.mark.slow
def test_copies_on_disks_of_their_own_are_read_once_and_those_that_differ_are_left_out_by_all(scans):
    one, other = scans["own copies"]
    assert sorted([*one["read"], *other["read"]]) == ALL
    assert one["left_out"] == other["left_out"]
    assert sorted(one["left_out"]) == ["cat/broken.png", "dog/8.png"]
    assert "differs between the hosts" in one["left_out"]["dog/8.png"]
    assert one["fingerprint"] == other["fingerprint"]
    assert all(one["is_own"])
    assert all(other["is_own"])


@pytest.mark.slow
def test_a_full_disk_of_one_process_ends_all_with_its_error(scans):
    one, other = (found["error"] for found in scans["full disk"])
    assert one == other
    assert one[0] == "StorageError"
    assert one[1].startswith(f"Process 1 on {socket.gethostname()}: ")
    assert "No space left on device" in one[1]
    assert "VIT_KERAS_CACHE" in one[1]


@pytest.mark.slow
def test_processes_that_see_other_files_are_refused(scans):
    for found in scans["other files"]:
        assert found["error"][0] == "ClusterError"
        assert "differ in data.checksum of the file names" in found["error"][1]
        assert "data.files (19 in process 0, 18 in process 1" in found["error"][1]
    for found in scans["no files"]:
        assert found["error"][0] == "DataError"
        assert found["error"][1].startswith(f"Process 1 on {socket.gethostname()}: ")
        assert "there is no such folder" in found["error"][1]
