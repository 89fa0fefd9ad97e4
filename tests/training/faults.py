"""Faults for what is written to disk: death at any operation, at any byte, and the loss of what was not synced.

    python tests/training/faults.py FOLDER

As a program it leaves in FOLDER one directory of checkpoints a way to die, and prints a JSON line about each. Plain Python: no test
framework and no backend, so that it starts at once and may fork.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from safetensors.numpy import save

from vit_keras.training.checkpoints.folder import MANIFEST, STATE, TENSORS
from vit_keras.training.checkpoints.store import CheckpointStore
from vit_keras.weights import store as weights_store

OPERATIONS = ("mkdir", "fsync", "replace", "rename", "unlink", "rmdir")
SCENARIOS = {
    "first": ([], 2, 3),
    "third of two kept": ([1, 2], 2, 3),
    "only one kept": ([1, 2], 1, 3),
    "same step again": ([1, 2], 2, 2),
}
"""Steps that are there, how many are kept, the step that is saved."""

LOSSES: list[Callable[[bytes], bytes]] = [
    lambda content: b"",
    lambda content: content[: len(content) // 2],
    lambda content: bytes(len(content)),
    bytes,
]
"""What may be left of bytes that were not synced."""


def tensors(step: int) -> dict[str, np.ndarray]:
    """Returns a state that is known by its step."""
    return {"kernel": np.full((2, 2), step, "float32"), "count": np.array(step)}


def state(step: int) -> dict[str, Any]:
    """Returns the rest of it: more than the tensors and less than the manifest, so that any of the three can be the one too long."""
    return {"step": step, "history": [step] * 120}


def fill(directory: Path, steps: list[int], *, keep: int = 2) -> CheckpointStore:
    """Saves checkpoints."""
    store = CheckpointStore(directory, keep=keep)
    for step in steps:
        store.save(step, tensors(step), state(step))
    store.wait()
    return store


def names(directory: Path) -> list[str]:
    """Returns what is in a directory."""
    return sorted(path.name for path in directory.iterdir())


def contents(directory: Path) -> dict[str, bytes]:
    """Returns the bytes of each file below a directory."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def assert_newest(store: CheckpointStore, step: int) -> None:
    """Shows that a store gives what `fill` saved at that step."""
    found = store.newest()
    assert found is not None
    assert (found.step, found.state) == (step, state(step))
    expected = tensors(step)
    assert list(found.tensors) == sorted(expected)
    for name, array in expected.items():
        assert found.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(found.tensors[name], array)


@contextlib.contextmanager
def watched(
    before: Callable[[str, tuple[Any, ...]], object] = lambda name, arguments: None,
    after: Callable[[str, tuple[Any, ...]], object] = lambda name, arguments: None,
    *,
    sync: bool = True,
) -> Iterator[None]:
    """Calls back before and after each operation that changes a folder or syncs; without `sync` nothing waits for the disk."""

    def wrapped(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def operation(*arguments: Any, **keywords: Any) -> Any:
            before(name, arguments)
            result = original(*arguments, **keywords) if sync or name != "fsync" else None
            after(name, arguments)
            return result

        return operation

    with contextlib.ExitStack() as stack:
        for name in OPERATIONS:
            stack.enter_context(mock.patch.object(os, name, wrapped(name)))
        yield


def dies(save: Callable[[], object], *, at: int | None = None, after_bytes: int | None = None) -> bool:
    """Whether a process of its own that saves dies before operation number `at`, or where a file gets longer than `after_bytes`."""
    import resource

    child = os.fork()
    if child == 0:
        number = itertools.count()

        def before(name: str, arguments: tuple[Any, ...]) -> None:
            if next(number) == at:
                os.kill(os.getpid(), signal.SIGKILL)

        if after_bytes is not None:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which kills; Python ignores it
            resource.setrlimit(resource.RLIMIT_FSIZE, (after_bytes, after_bytes))
        plainly = mock.patch.object(weights_store, "save_file", _save_plainly)
        with watched(before, sync=False), plainly:  # what a killed process wrote the system has
            try:
                save()
            except BaseException as error:
                os.write(2, f"{error!r}\n".encode())
                os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status > 0:
        raise RuntimeError(f"the child failed with {status} and did not die")
    return status < 0


def _save_plainly(arrays: dict[str, np.ndarray], path: Path, metadata: dict[str, str] | None) -> None:
    """Writes byte after byte: some versions of safetensors make the file as long as it gets before anything is in it."""
    path.write_bytes(save(arrays, metadata))


def leave_ruins(folder: Path) -> None:
    """Dies in every way there is in every scenario."""
    for scenario, (steps, keep, step) in SCENARIOS.items():
        whole = folder / scenario / "whole"
        fill(whole, steps)
        written = fill(folder / scenario / "sizes", [step]).directory / f"step-{step:08d}"
        sizes = [(written / name).stat().st_size for name in (TENSORS, STATE, MANIFEST)]
        if sizes != sorted(sizes):
            raise RuntimeError(f"the files must grow for each to be cut off, and have {sizes} bytes")
        limits = sorted({0, 1, *(limit for size in sizes for limit in (size // 2, size - 1))})
        deaths = itertools.chain(
            ({"after_bytes": limit} for limit in limits), ({"at": number} for number in itertools.count())
        )
        for death in deaths:
            ruin = folder / scenario / "-".join(map(str, *death.items()))
            if steps:
                shutil.copytree(whole, ruin)
            if not dies(lambda ruin=ruin, keep=keep, step=step: fill(ruin, [step], keep=keep), **death):
                if "at" not in death:
                    raise RuntimeError(f"no file got longer than {death}")
                break
            sys.stdout.write(json.dumps({"scenario": scenario, "directory": str(ruin), **death}) + "\n")
            sys.stdout.flush()  # before the next fork, which would have it too


class Disk:
    """Notes what a directory looks like at each operation, and what of it would still be there if the power failed then.

    Names get to the disk in the order they were made, at the latest when their folder is synced; bytes of a file when the file is.

    Args:
        root: The directory.
        heed: The kinds that syncing works for, of `file` and `folder`.
    """

    def __init__(self, root: Path, *, heed: frozenset[str] = frozenset({"file", "folder"})) -> None:
        self.root, self.heed = root, heed
        self._held: dict[int, int] = {}
        self.trees = [self._tree()]
        self.synced: list[tuple[dict[int, bytes], dict[int, int]]] = [(dict(self._files()), {})]
        """By moment: the safe bytes of each file, and the number of the tree that each folder is safe as of."""
        self.names: list[str] = []

    @contextlib.contextmanager
    def recording(self) -> Iterator["Disk"]:
        """Notes what its block does."""
        try:
            with watched(before=self._look, after=self._note):
                yield self
        finally:
            for held in self._held.values():
                os.close(held)

    def states(self) -> Iterator[tuple[int, dict[str, bytes | None]]]:
        """Yields each moment's number and what may be left then: bytes by path, None for folders."""
        seen = set()
        for done, (safe, folders) in enumerate(self.synced):
            for tree in range(done + 1):
                for lose in LOSSES:
                    state = dict(self._left(done, tree, safe, folders, lose))
                    key = (done == len(self.synced) - 1, tuple(sorted(state.items(), key=str)))
                    if key not in seen:
                        seen.add(key)
                        yield done, state

    def _left(
        self, done: int, tree: int, safe: dict[int, bytes], folders: dict[int, int], lose: Callable[[bytes], bytes]
    ) -> Iterator[tuple[str, bytes | None]]:
        def walk(folder: int, prefix: str) -> Iterator[tuple[str, bytes | None]]:
            entries = self.trees[max(tree, folders.get(folder, 0))].get(folder, {})
            for name, (inode, content) in entries.items():
                if content is None:
                    yield prefix + name, None
                    yield from walk(inode, f"{prefix}{name}/")
                else:
                    yield prefix + name, safe.get(inode, lose(content))

        return walk(self.root.stat().st_ino, "")

    def _look(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.trees.append(self._tree())
        self.synced.append(self.synced[-1])

    def _note(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.names.append(name)
        self.trees.append(self._tree())
        files, folders = (dict(each) for each in self.synced[-1])
        if name == "fsync":
            status = os.fstat(arguments[0])
            if status.st_ino in self.trees[-1]:
                if "folder" in self.heed:
                    folders[status.st_ino] = len(self.trees) - 1
            elif "file" in self.heed:
                files |= {inode: content for inode, content in self._files() if inode == status.st_ino}
        self.synced.append((files, folders))

    def _files(self) -> Iterator[tuple[int, bytes]]:
        for entries in self.trees[-1].values():
            yield from ((inode, content) for inode, content in entries.values() if content is not None)

    def _tree(self) -> dict[int, dict[str, tuple[int, bytes | None]]]:
        """Returns the entries of each folder by its number: name, number, and the bytes of a file."""
        tree: dict[int, dict[str, tuple[int, bytes | None]]] = {}
        for path, _, _ in os.walk(self.root):
            entries = {}
            for entry in os.scandir(path):
                if entry.inode() not in self._held:  # open, so that its number is not given to another
                    self._held[entry.inode()] = os.open(entry.path, os.O_RDONLY)
                entries[entry.name] = (entry.inode(), None if entry.is_dir() else Path(entry.path).read_bytes())
            tree[os.stat(path).st_ino] = entries
        return tree


def rebuild(state: dict[str, bytes | None], directory: Path) -> None:
    """Makes a directory what is left of it."""
    directory.mkdir(parents=True)
    for path, content in state.items():
        if content is None:
            (directory / path).mkdir()
        else:
            (directory / path).write_bytes(content)


if __name__ == "__main__":
    leave_ruins(Path(sys.argv[1]))
