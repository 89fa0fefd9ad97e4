import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from training import faults
from training.faults import Disk, assert_newest, contents, fill, names, rebuild, state, tensors

import vit_keras
from vit_keras.errors import CheckpointCorruptError, CorruptFileError, ResumeError
from vit_keras.training.checkpoints.folder import FILES, MANIFEST, STATE, TENSORS, read_folder, sealed
from vit_keras.training.checkpoints.store import CheckpointStore

posix = pytest.mark.skipif(sys.platform == "win32", reason="fork, signals and limits are of POSIX")


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "run" / "checkpoints"


def test_every_bit_that_flips_is_found(directory):
    fill(directory, [1])
    folder = directory / "step-00000001"
    for name in sorted(FILES):
        whole = (folder / name).read_bytes()
        for index in range(len(whole)):
            flipped = bytearray(whole)
            flipped[index] ^= 1 << index % 8
            (folder / name).write_bytes(flipped)
            with pytest.raises(CorruptFileError, match=name):
                read_folder(folder, 1)
        (folder / name).write_bytes(whole)
    assert read_folder(folder, 1)[1] == state(1)


DAMAGE = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
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
def test_a_damaged_newest_is_named_and_set_aside_and_the_older_is_used(directory, caplog, name, damage):
    store = fill(directory, [1, 2])
    DAMAGE[damage](directory / "step-00000002" / name)
    before = contents(directory / "step-00000002")
    with caplog.at_level(logging.WARNING):
        assert_newest(store, 1)
    [note] = caplog.messages
    assert f"step-00000002{os.sep}{name}: " in note
    assert "is kept as" in note
    assert "step-00000002.corrupt" in note
    assert names(directory) == ["step-00000001", "step-00000002.corrupt"]
    assert contents(directory / "step-00000002.corrupt") == before
    caplog.clear()
    assert_newest(store, 1)  # and says it once
    assert not caplog.messages
    fill(directory, [2, 3, 4])
    store.clear()
    assert names(directory) == ["step-00000002.corrupt"]


def test_where_all_are_damaged_each_is_named_and_nothing_is_overwritten(directory):
    store = fill(directory, [1, 2])
    (directory / "step-00000001" / STATE).unlink()
    (directory / "step-00000002" / TENSORS).write_bytes(b"")
    before = sorted(contents(directory).values())
    for suffix in ("", ".corrupt"):  # the second time, too: a run is not begun again in silence
        with pytest.raises(CheckpointCorruptError, match="there are 2 checkpoints, none of them is whole") as caught:
            store.newest()
        message = str(caught.value)
        assert f"step-00000001{suffix}{os.sep}{STATE}: could not be read" in message
        assert f"step-00000002{suffix}{os.sep}{TENSORS}: it has 0 bytes and was written with" in message
        assert caught.value.exit_code == 6
        assert not store.is_empty()
    assert sorted(contents(directory).values()) == before
    shutil.copytree(directory / "step-00000002.corrupt", directory / "step-00000002")
    with pytest.raises(CheckpointCorruptError, match="there are 3 checkpoints"):
        store.newest()
    assert names(directory) == [
        f"step-{name}" for name in ("00000001.corrupt", "00000002.corrupt", "00000002.corrupt-2")
    ]


def test_one_that_was_mended_where_it_was_set_aside_is_told(directory):
    store = fill(directory, [1])
    (directory / "step-00000001").rename(directory / "step-00000001.corrupt")
    with pytest.raises(CheckpointCorruptError, match=r"it is whole again; take \.corrupt off its name"):
        store.newest()


def changed(folder: Path, **changes) -> None:
    """Changes a manifest, which is sealed again."""
    manifest = json.loads((folder / MANIFEST).read_text()) | changes
    del manifest["seal"]
    (folder / MANIFEST).write_text(sealed(manifest))


def test_one_of_a_newer_format_is_refused_and_left_alone(directory):
    store = fill(directory, [1, 2])
    changed(directory / "step-00000002", format=2, files="otherwise", vit_keras="9.9")
    with pytest.raises(
        ResumeError, match=r"step-00000002.* is of format 2, and vit_keras .* reads 1: go on with version 9\.9"
    ):
        store.newest()
    assert names(directory) == ["step-00000001", "step-00000002"]


def test_tensors_of_other_names_are_refused(directory):
    fill(directory, [1])
    changed(directory / "step-00000001", tensors=["count", "kernel", "momentum"])
    with pytest.raises(CorruptFileError, match=r"1 tensors missing or too many, the first \['momentum'\]"):
        read_folder(directory / "step-00000001", 1)


def test_one_under_another_name_is_not_taken_for_that_step(directory, caplog):
    store = fill(directory, [1, 2])
    (directory / "step-00000002").rename(directory / "step-00000009")
    assert_newest(store, 1)
    assert "it is of step 2, not 9 as its folder says" in caplog.text


@posix
def test_a_process_killed_at_any_moment_leaves_the_newest_that_was_whole(tmp_path):
    lines = subprocess.run(
        [sys.executable, faults.__file__, tmp_path],
        env={**os.environ, "PYTHONPATH": str(Path(vit_keras.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    after = {scenario: [] for scenario in faults.SCENARIOS}
    for ruin in map(json.loads, lines):
        before, keep, step = faults.SCENARIOS[ruin["scenario"]]
        directory = Path(ruin["directory"])
        there = names(directory) if directory.is_dir() else []
        store = CheckpointStore(directory, keep=keep)
        new = f"step-{step:08d}" + ("-2" if step in before else "")
        if new in there or before:
            assert_newest(store, step if new in there else before[-1])
        else:
            assert store.newest() is None
        if "at" in ruin:
            after[ruin["scenario"]].append(len(there))
        with faults.watched(sync=False):
            fill(directory, [9], keep=keep)
        assert_newest(store, 9)
        left = names(directory)
        assert len(left) <= keep
        assert all(name.startswith("step-") and "corrupt" not in name for name in left)
    assert set(after["third of two kept"]) == {2, 3}  # it died before, while and after the oldest was removed
    assert all(len(deaths) > 8 for deaths in after.values())


def recorded(directory: Path, before: list[int], heed: frozenset[str] = frozenset({"file", "folder"})) -> Disk:
    """Returns what happens on the disk while step 3 is saved beside others."""
    directory.parent.mkdir()
    store = fill(directory, before)
    with Disk(directory.parent, heed=heed).recording() as disk:
        store.save(3, tensors(3), state(3))
        store.wait()
    return disk


def assert_recovers(disk: Disk, tmp_path: Path, *, before: bool = True) -> int:
    """Loads from everything that a power cut can leave; returns how many such states there are."""
    count = 0
    for count, (moment, left) in enumerate(disk.states(), 1):
        directory = tmp_path / f"left-{count}"
        rebuild(left, directory)
        store = CheckpointStore(directory / "checkpoints")
        steps = [int(name[17:]) for name in left if name.startswith("checkpoints/step-") and "/" not in name[17:]]
        if steps:
            assert_newest(store, max(steps))
        else:
            assert not before
            assert store.newest() is None
        if moment == len(disk.synced) - 1:  # the store has said that it is done
            assert max(steps, default=None) == 3
        assert not list(directory.rglob("*.corrupt"))
    return count


@posix
def test_a_power_cut_at_any_moment_leaves_the_newest_that_was_whole(directory, tmp_path):
    disk = recorded(directory, [1, 2])
    assert disk.names.count("fsync") == 5  # three files, their folder, and the one it is in
    assert assert_recovers(disk, tmp_path) > 20


@posix
def test_the_first_one_is_as_safe_as_soon_as_it_is_said_to_be(directory, tmp_path):
    assert assert_recovers(recorded(directory, []), tmp_path, before=False) > 10


@posix
@pytest.mark.parametrize("heed", ["file", "folder"])
def test_that_test_would_see_a_store_that_does_not_sync(directory, tmp_path, heed):
    disk = recorded(directory, [1, 2], frozenset({heed}))
    with pytest.raises(AssertionError):
        assert_recovers(disk, tmp_path)
