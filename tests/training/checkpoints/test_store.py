import itertools
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
from training.checkpoints.disk_faults import assert_newest, fill, list_names, read_files, state, tensors

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, UnsafeFileError
from vit_keras.training.checkpoints import store as checkpoints
from vit_keras.training.checkpoints.folder import FILES, TENSORS, read_folder
from vit_keras.training.checkpoints.store import CheckpointStore

posix = pytest.mark.skipif(sys.platform == "win32", reason="resource limits and user ids are POSIX")


def test_every_array_and_value_is_restored_bit_for_bit(directory, rng):
    dtypes = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint32", "uint8", "bool"]
    shapes = itertools.product(dtypes, [(), (2, 3), (0, 4)])
    written = {f"{dtype}/{shape}": rng.integers(0, 2, shape).astype(dtype) for dtype, shape in shapes}
    written["nan"] = np.array([np.nan, -np.inf, -0.0], ml_dtypes.bfloat16)
    written["transposed"] = rng.normal(size=(3, 5)).T
    written["strided"] = np.arange(8, dtype="uint32")[::2]
    values = {"history": [{"loss": 0.1}, {"loss": 1e-320}], "name": "é", "best": None, "step": 2**60}
    store = CheckpointStore(directory)
    store.save(7, written, values)
    found = store.newest()
    assert (found.step, found.path, found.state) == (7, directory / "step-00000007", values)
    assert list(found.tensors) == sorted(written)
    for name, array in written.items():
        assert (found.tensors[name].dtype, found.tensors[name].shape) == (array.dtype, array.shape)
        assert found.tensors[name].tobytes() == array.tobytes()
        found.tensors[name][...] = 0  # writable
    assert set(list_names(found.path)) == FILES


def test_the_last_checkpoints_are_kept(directory):
    for keep in (2, 1, 3):
        fill(directory, [1, 2, 10, 11], keep=keep)
        assert len(list_names(directory)) == keep
        assert_newest(CheckpointStore(directory), 11)
        CheckpointStore(directory).clear()
    with pytest.raises(InvalidArgumentError, match="keep is 0"):
        CheckpointStore(directory, keep=0)


def test_an_empty_store_has_no_newest_checkpoint(directory):
    store = CheckpointStore(directory)
    assert store.newest() is None
    assert store.is_empty()
    store.clear()
    assert not directory.exists()
    directory.mkdir(parents=True)
    (directory / ".step-00000001.unfinished-1").mkdir()
    assert store.newest() is None
    assert store.is_empty()


def test_a_step_saved_again_replaces_the_earlier_one(directory):
    store = fill(directory, [5])
    for loss in (1, 2, 3):
        store.save(5, tensors(5), {"loss": loss})
        assert store.newest().state == {"loss": loss}
    assert list_names(directory) == ["step-00000005-3", "step-00000005-4"]
    fill(directory, [6])
    assert list_names(directory) == ["step-00000005-4", "step-00000006"]


def test_the_newest_is_the_highest_step_and_a_new_one_with_a_lower_step_is_not_removed_at_once(directory):
    store = fill(directory, [1, 2])
    os.utime(directory / "step-00000001", (2e9, 2e9))
    os.utime(directory / "step-00000002", (0, 0))
    assert_newest(store, 2)
    fill(directory, [3])
    assert list_names(directory) == ["step-00000002", "step-00000003"]
    fill(directory, [1])
    assert list_names(directory) == ["step-00000001", "step-00000002", "step-00000003"]


@posix
def test_it_uses_no_temporary_directory_and_respects_the_umask(directory, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "elsewhere"))
    before = os.umask(0o077)
    try:
        store = fill(directory, [1])
    finally:
        os.umask(before)
    assert_newest(store, 1)
    assert (directory / "step-00000001").stat().st_mode & 0o777 == 0o700


def test_saving_runs_in_the_background_and_a_second_save_waits(directory, monkeypatch):
    gate, written, write_folder = threading.Event(), [], checkpoints.write_folder

    def write_when_open(folder, step, **content):
        written.append(content["tensors"])
        assert gate.wait(10)
        write_folder(folder, step, **content)

    monkeypatch.setattr(checkpoints, "write_folder", write_when_open)
    store, array, history = CheckpointStore(directory), np.ones(3), [1]
    store.save(1, {"array": array}, {"history": history})
    history.append(2)  # belongs to the next step
    second = threading.Thread(target=store.save, args=(2, {"array": array}, {"history": history}))
    second.start()
    second.join(0.1)
    assert second.is_alive()
    assert len(written) == 1
    gate.set()
    second.join(10)
    assert not second.is_alive()
    assert store.newest().state == {"history": [1, 2]}
    assert read_folder(directory / "step-00000001", 1)[1] == {"history": [1]}
    assert all(content["array"] is array for content in written)  # not copied


def test_a_failed_write_is_raised_by_the_next_call_once_and_a_programming_error_unchanged(directory, monkeypatch):
    store = fill(directory, [1])
    usage = shutil.disk_usage(directory)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1234))
        store.save(2, tensors(2), state(2))
        store._pending.exception()  # waits
    with pytest.raises(StorageError, match=r"checkpoints: a checkpoint needs 16,77\d,\d{3} bytes and 1,234 are free"):
        store.save(3, tensors(3), state(3))
    store.wait()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_folder", lambda *given, **named: 1 / 0)
        store.save(2, tensors(2), state(2))
        with pytest.raises(ZeroDivisionError):
            store.wait()
    assert list_names(directory) == ["step-00000001"]
    store.save(3, tensors(3), state(3))
    assert_newest(store, 3)


def test_a_state_that_is_not_json_is_refused_at_once(directory):
    for value in (float("nan"), {1, 2}, np.ones(2)):
        with pytest.raises(InvalidArgumentError, match="The state of step 3 cannot be written as JSON"):
            CheckpointStore(directory).save(3, {}, {"value": value})
    with pytest.raises(InvalidArgumentError, match="step is -1"):
        CheckpointStore(directory).save(-1, {}, {})
    assert not directory.exists()


def test_tensors_that_could_not_be_read_again_are_refused(directory):
    store = fill(directory, [1])
    for bad, error in (
        ({"a": np.array([object()])}, StorageError),
        ({"a": np.array(["word"])}, StorageError),
        ({"__metadata__": np.ones(1)}, CorruptFileError),
        ({f"{index}": np.ones(0) for index in range(20_001)}, UnsafeFileError),
    ):
        store.save(2, bad, {})
        with pytest.raises(error):
            store.wait()
        assert list_names(directory) == ["step-00000001"]
        assert_newest(store, 1)


@posix
@pytest.mark.parametrize("fault", [*sorted(FILES), "mkdir", "fsync", "rename"])
def test_a_full_disk_or_a_failing_operation_leaves_earlier_checkpoints_unchanged(directory, monkeypatch, fault):
    import resource

    def fail(*arguments, **keywords):
        raise OSError(5, "Input/output error")

    store = fill(directory, [1, 2])
    before = read_files(directory)
    message = "could not be written" if fault in FILES else "Input/output error"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patch:
        if fault in FILES:
            limit = (directory / "step-00000002" / fault).stat().st_size - 1
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        else:
            patch.setattr(os, fault, fail)
        try:
            store.save(3, tensors(3), state(3))
            with pytest.raises(StorageError, match=message) as caught:
                store.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (fault if fault == TENSORS else "checkpoints") in str(caught.value)
    assert read_files(directory) == before
    assert list_names(directory) == ["step-00000001", "step-00000002"]
    assert_newest(store, 2)


@posix
def test_a_read_only_directory_is_named_and_can_be_read():
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as place:  # other users cannot enter pytest's own
        directory = Path(place) / "checkpoints"
        store = fill(directory, [1])
        Path(place).chmod(0o755)
        directory.chmod(0o555)
        try:
            if user == 0:
                os.seteuid(65534)  # nobody
            store.save(2, tensors(2), state(2))
            with pytest.raises(StorageError, match=r"checkpoints.*Permission denied"):
                store.wait()
        finally:
            os.seteuid(user)
        assert_newest(store, 1)
        assert list_names(directory) == ["step-00000001"]
        directory.chmod(0o755)


def test_a_file_in_place_of_the_directory_is_named_and_kept(directory):
    directory.parent.mkdir()
    directory.write_text("mine")
    store = CheckpointStore(directory)
    store.save(1, tensors(1), state(1))
    for use in (store.wait, store.newest):
        with pytest.raises(StorageError, match=str(directory)):
            use()
    assert directory.read_text() == "mine"


def test_files_of_others_are_ignored_and_kept(directory, tmp_path):
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
    before = read_files(directory)
    assert_newest(store, 1)
    fill(directory, [2, 3, 4])
    assert {path: content for path, content in read_files(directory).items() if path in before} == before
    assert_newest(store, 4)
    store.clear()
    assert read_files(directory) == before
    assert (directory / ".step-00000001.unfinished").is_dir()
    assert_newest(CheckpointStore(tmp_path / "other"), 99)


def test_leftovers_of_dead_processes_are_removed_and_those_of_live_ones_kept(directory):
    store = fill(directory, [1])
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = os.getppid()
    for name in (f"unfinished-{dead.pid}", f"removed-{dead.pid}", f"unfinished-{os.getpid()}", f"unfinished-{alive}"):
        shutil.copytree(directory / "step-00000001", directory / f".step-00000002.{name}")
    link = directory / f".step-00000003.unfinished-{dead.pid}"
    link.symlink_to(directory / "step-00000001")
    assert_newest(store, 1)
    assert len(list_names(directory)) == 6
    fill(directory, [2])
    kept = [f".step-00000002.unfinished-{alive}", link.name, "step-00000001", "step-00000002"]
    assert list_names(directory) == kept


@posix
def test_a_checkpoint_that_cannot_be_removed_is_only_logged_and_folders_need_not_sync(directory, monkeypatch, caplog):
    rename, sync = os.rename, os.fsync

    def refuse_removal(source, target):
        if "removed" in str(target):
            raise PermissionError(13, "Permission denied", str(source))
        rename(source, target)

    def refuse_directories(file):
        if os.path.isdir(f"/proc/self/fd/{file}"):
            raise OSError(22, "Invalid argument")
        sync(file)

    store = fill(directory, [1, 2])
    monkeypatch.setattr(os, "rename", refuse_removal)
    monkeypatch.setattr(os, "fsync", refuse_directories)
    store.save(3, tensors(3), state(3))
    store.wait()
    assert "step-00000001 could not be removed" in caplog.text
    assert_newest(store, 3)
    assert list_names(directory) == ["step-00000001", "step-00000002", "step-00000003"]
