import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from training.faults import assert_newest, contents, fill, names, state, tensors

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, UnsafeFileError
from vit_keras.training.checkpoints import store as checkpoints
from vit_keras.training.checkpoints.folder import FILES, MANIFEST, STATE, TENSORS, read_folder
from vit_keras.training.checkpoints.store import CheckpointStore

posix = pytest.mark.skipif(sys.platform == "win32", reason="fork, limits and users are of POSIX")


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "run" / "checkpoints"


def test_every_array_and_every_word_comes_back_to_the_bit(directory, rng):
    dtypes = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint32", "uint8", "bool"]
    written = {
        f"{dtype}/{shape}": rng.integers(0, 2, shape).astype(dtype)
        for dtype in dtypes
        for shape in [(), (2, 3), (0, 4)]
    }
    written["nan"] = np.array([np.nan, -np.inf, -0.0], ml_dtypes.bfloat16)
    written["transposed"] = rng.normal(size=(3, 5)).T
    written["strided"] = np.arange(8, dtype="uint32")[::2]
    kept = {"history": [{"loss": 0.1}, {"loss": 1e-320}], "name": "é", "best": None, "step": 2**60}
    store = CheckpointStore(directory)
    store.save(7, written, kept)
    found = store.newest()
    assert (found.step, found.path, found.state) == (7, directory / "step-00000007", kept)
    assert list(found.tensors) == sorted(written)
    for name, array in written.items():
        assert (found.tensors[name].dtype, found.tensors[name].shape) == (array.dtype, array.shape)
        assert found.tensors[name].tobytes() == array.tobytes()
        found.tensors[name][...] = 0  # they are the caller's


def test_a_manifest_says_what_is_there(directory):
    fill(directory, [123])
    folder = directory / "step-00000123"
    manifest = json.loads((folder / MANIFEST).read_text())
    assert set(names(folder)) == FILES
    assert (manifest["format"], manifest["step"], manifest["tensors"]) == (1, 123, ["count", "kernel"])
    assert manifest["files"].keys() == {TENSORS, STATE}
    assert all(manifest["files"][name]["bytes"] == (folder / name).stat().st_size for name in (TENSORS, STATE))


def test_as_many_are_kept_as_asked_for(directory):
    for keep in (2, 1, 3):
        fill(directory, [1, 2, 10, 11], keep=keep)
        assert len(names(directory)) == keep
        assert_newest(CheckpointStore(directory), 11)
        CheckpointStore(directory).clear()
    with pytest.raises(InvalidArgumentError, match="keep is 0"):
        CheckpointStore(directory, keep=0)


def test_without_checkpoints_there_is_none(directory):
    store = CheckpointStore(directory)
    assert store.newest() is None
    assert store.is_empty()
    store.clear()
    assert not directory.exists()
    directory.mkdir(parents=True)
    (directory / ".step-00000001.unfinished-1").mkdir()
    assert store.newest() is None
    assert store.is_empty()


def test_a_step_saved_again_is_the_newest_of_its_step(directory):
    store = fill(directory, [5])
    for loss in (1, 2, 3):
        store.save(5, tensors(5), {"loss": loss})
        assert store.newest().state == {"loss": loss}
    assert names(directory) == ["step-00000005-3", "step-00000005-4"]
    fill(directory, [6])
    assert names(directory) == ["step-00000005-4", "step-00000006"]


def test_one_saved_below_the_others_is_not_removed_at_once(directory):
    fill(directory, [10, 20, 5])
    assert names(directory) == ["step-00000005", "step-00000010", "step-00000020"]


def test_order_is_of_steps_whatever_the_clock_said(directory):
    store = fill(directory, [1, 2])
    os.utime(directory / "step-00000001", (2e9, 2e9))
    os.utime(directory / "step-00000002", (0, 0))
    assert_newest(store, 2)
    fill(directory, [3])
    assert names(directory) == ["step-00000002", "step-00000003"]


@posix
def test_it_needs_no_other_place_and_no_rights_for_others(directory, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "elsewhere"))
    before = os.umask(0o077)
    try:
        store = fill(directory, [1])
    finally:
        os.umask(before)
    assert_newest(store, 1)
    assert (directory / "step-00000001").stat().st_mode & 0o777 == 0o700


class Gate:
    """Holds up whoever writes until it is opened, and keeps what it was given."""

    def __init__(self, monkeypatch):
        self.open, self.given, self._write = threading.Event(), [], checkpoints.write_folder
        monkeypatch.setattr(checkpoints, "write_folder", self)

    def __call__(self, folder, step, **given):
        self.given.append(given["tensors"])
        assert self.open.wait(10)
        self._write(folder, step, **given)


def test_the_caller_goes_on_while_one_is_written_and_waits_for_a_second(directory, monkeypatch):
    gate, store, array = Gate(monkeypatch), CheckpointStore(directory), np.ones(3)
    history = [1]
    store.save(1, {"array": array}, {"history": history})
    history.append(2)  # is of the next step
    second = threading.Thread(target=store.save, args=(2, {"array": array}, {"history": history}))
    second.start()
    second.join(0.1)
    assert second.is_alive()
    assert len(gate.given) == 1
    gate.open.set()
    second.join(10)
    assert not second.is_alive()
    assert store.newest().state == {"history": [1, 2]}
    assert read_folder(directory / "step-00000001", 1)[1] == {"history": [1]}
    assert all(given["array"] is array for given in gate.given)


def test_an_error_of_a_write_reaches_the_next_call_once(directory, monkeypatch):
    store = fill(directory, [1])
    usage = shutil.disk_usage(directory)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1234))
        store.save(2, tensors(2), state(2))
        store._thread.join()
    with pytest.raises(StorageError, match=r"checkpoints: a checkpoint needs 16,77\d,\d{3} bytes and 1,234 are free"):
        store.save(3, tensors(3), state(3))
    store.wait()
    assert names(directory) == ["step-00000001"]
    store.save(3, tensors(3), state(3))
    assert_newest(store, 3)


def test_a_fault_of_the_program_reaches_the_caller_as_it_is(directory, monkeypatch):
    store = fill(directory, [1])
    monkeypatch.setattr(checkpoints, "write_folder", lambda *given, **named: 1 / 0)
    store.save(2, tensors(2), state(2))
    with pytest.raises(ZeroDivisionError):
        store.wait()
    assert names(directory) == ["step-00000001"]


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, np.ones(2), Path("x")])
def test_a_state_that_json_does_not_hold_is_refused_at_once(directory, value):
    with pytest.raises(InvalidArgumentError, match="The state of step 3 is nothing that JSON holds"):
        CheckpointStore(directory).save(3, {}, {"value": value})
    with pytest.raises(InvalidArgumentError, match="step is -1"):
        CheckpointStore(directory).save(-1, {}, {})
    assert not directory.exists()


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"a": np.array([object()])}, StorageError),
        ({"a": np.array(["word"])}, StorageError),
        ({"__metadata__": np.ones(1)}, CorruptFileError),
        ({f"{index}": np.ones(0) for index in range(20_001)}, UnsafeFileError),
    ],
    ids=["objects", "words", "a reserved name", "too many"],
)
def test_what_could_not_be_read_again_replaces_nothing(directory, bad, error):
    store = fill(directory, [1])
    store.save(2, bad, {})
    with pytest.raises(error):
        store.wait()
    assert names(directory) == ["step-00000001"]
    assert_newest(store, 1)


@posix
@pytest.mark.parametrize("full", sorted(FILES))
def test_a_disk_that_is_full_in_the_middle_leaves_what_was_there(directory, full):
    import resource

    store = fill(directory, [1, 2])
    before = contents(directory)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((directory / "step-00000002" / full).stat().st_size - 1, hard))
    try:
        store.save(3, tensors(3), state(3))
        with pytest.raises(StorageError, match="could not be written") as caught:
            store.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (full if full == TENSORS else "checkpoints") in str(caught.value)
    assert contents(directory) == before
    assert names(directory) == ["step-00000001", "step-00000002"]
    assert_newest(store, 2)


@posix
@pytest.mark.parametrize("operation", ["mkdir", "fsync", "rename"])
def test_an_error_of_any_operation_leaves_what_was_there(directory, monkeypatch, operation):
    def fail(*arguments, **keywords):
        raise OSError(5, "Input/output error")

    store = fill(directory, [1, 2])
    before = contents(directory)
    with monkeypatch.context() as patch:
        patch.setattr(os, operation, fail)
        store.save(3, tensors(3), state(3))
        with pytest.raises(StorageError, match="Input/output error"):
            store.wait()
    assert contents(directory) == before
    assert names(directory) == ["step-00000001", "step-00000002"]


@posix
def test_a_directory_that_is_read_only_is_named_and_read():
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as place:  # pytest's own nobody else may enter
        directory = Path(place) / "checkpoints"
        store = fill(directory, [1])
        Path(place).chmod(0o755)
        directory.chmod(0o555)
        try:
            if user == 0:
                os.seteuid(65534)  # who is nobody
            store.save(2, tensors(2), state(2))
            with pytest.raises(StorageError, match=r"checkpoints.*Permission denied"):
                store.wait()
        finally:
            os.seteuid(user)
        assert_newest(store, 1)
        assert names(directory) == ["step-00000001"]
        directory.chmod(0o755)


def test_a_file_in_the_directorys_place_is_named_and_kept(tmp_path):
    place = tmp_path / "checkpoints"
    place.write_text("mine")
    store = CheckpointStore(place)
    store.save(1, tensors(1), state(1))
    with pytest.raises(StorageError, match=str(place)):
        store.wait()
    with pytest.raises(StorageError, match=str(place)):
        store.newest()
    assert place.read_text() == "mine"


@posix
def test_folders_that_a_file_system_does_not_sync_are_no_error(directory, monkeypatch):
    sync = os.fsync

    def refuse(file):
        if os.path.isdir(f"/proc/self/fd/{file}"):
            raise OSError(22, "Invalid argument")
        sync(file)

    monkeypatch.setattr(os, "fsync", refuse)
    assert_newest(fill(directory, [1]), 1)


def test_what_the_store_did_not_write_is_ignored_and_stays(directory, tmp_path):
    fill(tmp_path / "other", [99])
    store = fill(directory, [1])
    (directory / "step-00000099").symlink_to(tmp_path / "other" / "step-00000099")
    (directory / "step-00000098").write_text("mine")
    (directory / "step-00000097").mkdir()
    (directory / "step-00000097" / "mine").write_text("mine")
    shutil.copytree(directory / "step-00000001", directory / "step-1")
    shutil.copytree(directory / "step-00000001", directory / "best")
    (directory / ".step-00000001.unfinished").mkdir()
    (directory / "step-00000001" / "note").write_text("mine")
    before = contents(directory)
    assert_newest(store, 1)
    fill(directory, [2, 3, 4])
    assert {path: content for path, content in contents(directory).items() if path in before} == before
    assert_newest(store, 4)
    store.clear()
    assert contents(directory) == before
    assert (directory / ".step-00000001.unfinished").is_dir()
    assert_newest(CheckpointStore(tmp_path / "other"), 99)


def test_what_a_dead_process_left_is_removed_and_what_a_live_one_is_at_is_not(directory):
    store = fill(directory, [1])
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (
        f"unfinished-{dead.pid}",
        f"removed-{dead.pid}",
        f"unfinished-{os.getpid()}",
        f"unfinished-{os.getppid()}",
    ):
        shutil.copytree(directory / "step-00000001", directory / f".step-00000002.{name}")
    (directory / f".step-00000003.unfinished-{dead.pid}").symlink_to(directory / "step-00000001")
    assert_newest(store, 1)
    assert len(names(directory)) == 6
    fill(directory, [2])
    assert names(directory) == [
        f".step-00000002.unfinished-{os.getppid()}",
        f".step-00000003.unfinished-{dead.pid}",
        "step-00000001",
        "step-00000002",
    ]


def test_an_old_one_that_can_not_be_removed_is_told_and_the_new_one_is_there(directory, monkeypatch, caplog):
    def keep(path, target):
        raise PermissionError(13, "Permission denied", str(path))

    store = fill(directory, [1, 2])
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda *paths: keep(*paths) if "removed" in str(paths[1]) else rename(*paths))
    store.save(3, tensors(3), state(3))
    store.wait()
    assert "step-00000001 could not be removed" in caplog.text
    assert_newest(store, 3)
    assert names(directory) == ["step-00000001", "step-00000002", "step-00000003"]
