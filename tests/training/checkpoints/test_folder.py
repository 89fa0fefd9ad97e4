import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from training.checkpoints import disk_faults
from training.checkpoints.disk_faults import (
    Disk,
    assert_newest,
    fill,
    list_names,
    read_files,
    state,
    tensors,
    write_tree,
)

import vit_keras
from vit_keras.errors import CheckpointCorruptError, CorruptFileError, ResumeError
from vit_keras.training.checkpoints.folder import FILES, MANIFEST, STATE, TENSORS, read_folder, seal
from vit_keras.training.checkpoints.store import CheckpointStore

posix = pytest.mark.skipif(sys.platform == "win32", reason="fork, signals and resource limits are POSIX")


def test_every_flipped_bit_is_detected(directory):
    fill(directory, [1])
    folder = directory / "step-00000001"
    for name in sorted(FILES):
        intact = (folder / name).read_bytes()
        for index in range(len(intact)):
            flipped = bytearray(intact)
            flipped[index] ^= 1 << index % 8
            (folder / name).write_bytes(flipped)
            with pytest.raises(CorruptFileError, match=name):
                read_folder(folder, 1)
        (folder / name).write_bytes(intact)
    assert read_folder(folder, 1)[1] == state(1)


DAMAGE = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b" "),
    "empty": lambda path: path.write_bytes(b""),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "deleted": Path.unlink,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "of another step": lambda path: shutil.copy(path.parent.parent / "step-00000001" / path.name, path),
    "a link": lambda path: (path.rename(path.with_suffix(".old")), path.symlink_to(path.with_suffix(".old").name)),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", sorted(FILES))
def test_a_damaged_newest_checkpoint_is_reported_and_renamed_and_the_older_is_used(directory, caplog, name, damage):
    store = fill(directory, [1, 2])
    DAMAGE[damage](directory / "step-00000002" / name)
    before = read_files(directory / "step-00000002")
    with caplog.at_level(logging.WARNING):
        assert_newest(store, 1)
    [message] = caplog.messages
    assert f"step-00000002{os.sep}{name}: " in message
    assert f"was renamed to {directory / 'step-00000002.corrupt'}" in message
    assert list_names(directory) == ["step-00000001", "step-00000002.corrupt"]
    assert read_files(directory / "step-00000002.corrupt") == before
    caplog.clear()
    assert_newest(store, 1)
    assert not caplog.messages  # reported once
    fill(directory, [2, 3, 4])
    store.clear()
    assert list_names(directory) == ["step-00000002.corrupt"]


def test_if_all_are_damaged_each_is_reported_and_nothing_is_overwritten(directory):
    store = fill(directory, [1, 2])
    (directory / "step-00000001" / STATE).unlink()
    (directory / "step-00000002" / TENSORS).write_bytes(b"")
    before = sorted(read_files(directory).values())
    for suffix in ("", ".corrupt"):  # also the second time, so that a run never silently starts again
        with pytest.raises(CheckpointCorruptError, match=r"all checkpoints \(2\) are damaged") as caught:
            store.newest()
        message = str(caught.value)
        assert f"step-00000001{suffix}{os.sep}{STATE}: could not be read" in message
        assert f"step-00000002{suffix}{os.sep}{TENSORS}: it has 0 bytes and was written with" in message
        assert caught.value.exit_code == 6
        assert not store.is_empty()
    assert sorted(read_files(directory).values()) == before
    shutil.copytree(directory / "step-00000002.corrupt", directory / "step-00000002")
    with pytest.raises(CheckpointCorruptError, match=r"all checkpoints \(3\) are damaged"):
        store.newest()
    expected = ["00000001.corrupt", "00000002.corrupt", "00000002.corrupt-2"]
    assert list_names(directory) == [f"step-{name}" for name in expected]


def edit_manifest(folder: Path, **changes) -> None:
    manifest = json.loads((folder / MANIFEST).read_text()) | changes
    del manifest["seal"]
    (folder / MANIFEST).write_text(seal(manifest))


def test_a_checkpoint_of_a_newer_format_is_refused_and_unchanged(directory):
    store = fill(directory, [1, 2])
    edit_manifest(directory / "step-00000002", format=2, files="otherwise", vit_keras="9.9")
    with pytest.raises(ResumeError, match=r"step-00000002.* has format 2, .* reads format 1: resume with version 9\.9"):
        store.newest()
    assert list_names(directory) == ["step-00000001", "step-00000002"]


def test_a_repaired_checkpoint_is_reported_a_renamed_one_not_used_and_other_tensors_refused(directory, caplog):
    store = fill(directory, [1])
    folder = directory / "step-00000001"
    folder.rename(directory / "step-00000001.corrupt")
    with pytest.raises(CheckpointCorruptError, match=r"it is intact again; remove \.corrupt from its name"):
        store.newest()
    (directory / "step-00000001.corrupt").rename(folder)
    shutil.copytree(folder, directory / "step-00000009")
    assert_newest(store, 1)
    assert "it is of step 1, not 9 as its folder says" in caplog.text
    edit_manifest(folder, tensors=["count", "kernel", "momentum"])
    with pytest.raises(CorruptFileError, match=r"missing or unexpected tensors: 1, momentum"):
        read_folder(folder, 1)


@posix
def test_a_process_killed_at_any_moment_leaves_the_newest_complete_checkpoint(tmp_path):
    lines = subprocess.run(
        [sys.executable, disk_faults.__file__, tmp_path],
        env={**os.environ, "PYTHONPATH": str(Path(vit_keras.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    counts = {scenario: [] for scenario in disk_faults.SCENARIOS}
    for ruin in map(json.loads, lines):
        before, keep, step = disk_faults.SCENARIOS[ruin["scenario"]]
        directory = Path(ruin["directory"])
        there = list_names(directory) if directory.is_dir() else []
        store = CheckpointStore(directory, keep=keep)
        new = f"step-{step:08d}" + ("-2" if step in before else "")
        if new in there or before:
            assert_newest(store, step if new in there else before[-1])
        else:
            assert store.newest() is None
        if "at" in ruin:
            counts[ruin["scenario"]].append(len(there))
        with disk_faults.watch(sync=False):
            fill(directory, [9], keep=keep)
        assert_newest(store, 9)
        left = list_names(directory)
        assert len(left) <= keep
        assert all(name.startswith("step-") and "corrupt" not in name for name in left)
    assert set(counts["third of two kept"]) == {2, 3}  # killed before, while and after the oldest was removed
    assert all(len(deaths) > 8 for deaths in counts.values())


def record_save(directory: Path, before: list[int], heed: frozenset[str] = frozenset({"file", "folder"})) -> Disk:
    """Records the operations while step 3 is saved."""
    directory.parent.mkdir()
    store = fill(directory, before)
    with Disk(directory.parent, heed=heed).record() as disk:
        store.save(3, tensors(3), state(3))
        store.wait()
    return disk


def assert_recovers(disk: Disk, tmp_path: Path, *, before: bool = True) -> int:
    """Loads every state that a power failure can leave, and returns how many there are."""
    count = 0
    for count, (moment, left) in enumerate(disk.states(), 1):
        directory = tmp_path / f"left-{count}"
        write_tree(left, directory)
        store = CheckpointStore(directory / "checkpoints")
        steps = [int(name[17:]) for name in left if name.startswith("checkpoints/step-") and "/" not in name[17:]]
        if steps:
            assert_newest(store, max(steps))
        else:
            assert not before
            assert store.newest() is None
        if moment == len(disk.synced) - 1:  # `wait` has returned
            assert max(steps, default=None) == 3
        assert not list(directory.rglob("*.corrupt"))
    return count


@posix
@pytest.mark.parametrize(("before", "states"), [([1, 2], 20), ([], 10)])
def test_a_power_failure_at_any_moment_leaves_the_newest_complete_checkpoint(directory, tmp_path, before, states):
    disk = record_save(directory, before)
    if before:
        assert disk.operations.count("fsync") == 5  # three files, their directory, and its parent
    assert assert_recovers(disk, tmp_path, before=bool(before)) > states


@posix
@pytest.mark.parametrize("heed", ["file", "folder"])
def test_the_simulation_detects_a_missing_sync(directory, tmp_path, heed):
    disk = record_save(directory, [1, 2], frozenset({heed}))
    with pytest.raises(AssertionError):
        assert_recovers(disk, tmp_path)
