"""Simulates crashes while files are written: a process killed at any operation or byte, and a power failure at any moment.

    python tests/training/checkpoints/disk_faults.py FOLDER

leaves in FOLDER one directory of checkpoints per way to die, and prints a JSON line about each. It imports neither a test framework
nor a backend, so that it starts fast and may fork.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from unittest import mock

import numpy as np
from safetensors.numpy import save as save_bytes

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
"""Existing steps, how many are kept, the step that is saved."""

LOSSES = [
    lambda content: b"",
    lambda content: content[: len(content) // 2],
    lambda content: bytes(len(content)),
    bytes,
]
"""What may be left of bytes that were not synced."""


def tensors(step):
    return {"kernel": np.full((2, 2), step, "float32"), "count": np.array(step)}


def state(step):
    # Larger than the tensors and smaller than the manifest, so that a size limit can cut off any of the files.
    return {"step": step, "history": [step] * 120}


def fill(directory, steps, *, keep=2):
    store = CheckpointStore(directory, keep=keep)
    for step in steps:
        store.save(step, tensors(step), state(step))
    store.wait()
    return store


def list_names(directory):
    return sorted(path.name for path in directory.iterdir())


def read_files(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def assert_newest(store, step):
    found = store.newest()
    assert found is not None
    assert (found.step, found.state) == (step, state(step))
    expected = tensors(step)
    assert list(found.tensors) == sorted(expected)
    for name, array in expected.items():
        assert found.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(found.tensors[name], array)


@contextlib.contextmanager
def watch(before=lambda name, arguments: None, after=lambda name, arguments: None, *, sync=True):
    """Calls back before and after each of `OPERATIONS`; with `sync=False`, `fsync` does nothing, for speed."""

    def wrap(name, original):
        def operation(*arguments, **keywords):
            before(name, arguments)
            result = original(*arguments, **keywords) if sync or name != "fsync" else None
            after(name, arguments)
            return result

        return operation

    with contextlib.ExitStack() as stack:
        for name in OPERATIONS:
            stack.enter_context(mock.patch.object(os, name, wrap(name, getattr(os, name))))
        yield


def run_and_kill(save, *, at=None, after_bytes=None):
    """Runs `save` in a forked process, and returns if it was killed before operation `at` or past `after_bytes` of a file."""
    import resource

    child = os.fork()
    if child == 0:
        number = itertools.count()

        def kill(name, arguments):
            if next(number) == at:
                os.kill(os.getpid(), signal.SIGKILL)

        if after_bytes is not None:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which kills; Python ignores it
            resource.setrlimit(resource.RLIMIT_FSIZE, (after_bytes, after_bytes))
        # Some versions of safetensors allocate the whole file before they write it, so no byte limit could cut it.
        write_bytes = mock.patch.object(
            weights_store, "save_file", lambda arrays, path, metadata: path.write_bytes(save_bytes(arrays, metadata))
        )
        with watch(kill, sync=False), write_bytes:  # the system has what a killed process wrote, synced or not
            try:
                save()
            except BaseException as error:
                os.write(2, f"{error!r}\n".encode())
                os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status > 0:
        raise RuntimeError(f"the child failed with {status} and was not killed")
    return status < 0


def leave_ruins(folder):
    """Dies in every way in every scenario."""
    for scenario, (steps, keep, step) in SCENARIOS.items():
        intact = folder / scenario / "intact"
        fill(intact, steps)
        written = fill(folder / scenario / "sizes", [step]).directory / f"step-{step:08d}"
        sizes = [(written / name).stat().st_size for name in (TENSORS, STATE, MANIFEST)]
        if sizes != sorted(sizes):
            raise RuntimeError(f"for each file to be cut off, their sizes must increase; they are {sizes} bytes")
        limits = sorted({0, 1, *(limit for size in sizes for limit in (size // 2, size - 1))})
        deaths = itertools.chain(
            ({"after_bytes": limit} for limit in limits), ({"at": number} for number in itertools.count())
        )
        for death in deaths:
            ruin = folder / scenario / "-".join(map(str, *death.items()))
            if steps:
                shutil.copytree(intact, ruin)
            if not run_and_kill(lambda ruin=ruin, keep=keep, step=step: fill(ruin, [step], keep=keep), **death):
                if "at" not in death:
                    raise RuntimeError(f"no file exceeded {death}")
                break
            sys.stdout.write(json.dumps({"scenario": scenario, "directory": str(ruin), **death}) + "\n")
            sys.stdout.flush()  # the next fork would have the buffer, too


class Disk:
    """Records what a directory looks like at each operation, and what of it would survive a power failure then.

    Directory entries reach the disk in the order they were made, at the latest when their directory is synced; the bytes of a file
    when the file is synced. `heed` has the kinds that `fsync` works for.
    """

    def __init__(self, root, *, heed=frozenset({"file", "folder"})):
        self.root, self.heed, self.operations, self._open = root, heed, [], {}
        self.trees = [self._read_tree()]
        # Per moment: the synced bytes of each file, and per directory the index of the tree that it was synced with.
        self.synced = [(dict(self._files()), {})]

    @contextlib.contextmanager
    def record(self):
        try:
            with watch(before=self._before, after=self._after):
                yield self
        finally:
            for descriptor in self._open.values():
                os.close(descriptor)

    def states(self):
        """Yields each moment's index and a state that may be left then: bytes by path, None for directories."""
        seen = set()
        for done, (safe, folders) in enumerate(self.synced):
            for tree, lose in itertools.product(range(done + 1), LOSSES):
                state = dict(self._survivors(tree, safe, folders, lose))
                key = (done == len(self.synced) - 1, tuple(sorted(state.items(), key=str)))
                if key not in seen:
                    seen.add(key)
                    yield done, state

    def _survivors(self, tree, safe, folders, lose):
        def walk(folder, prefix):
            entries = self.trees[max(tree, folders.get(folder, 0))].get(folder, {})
            for name, (inode, content) in entries.items():
                if content is None:
                    yield prefix + name, None
                    yield from walk(inode, f"{prefix}{name}/")
                else:
                    yield prefix + name, safe.get(inode, lose(content))

        return walk(self.root.stat().st_ino, "")

    def _before(self, name, arguments):
        self.trees.append(self._read_tree())
        self.synced.append(self.synced[-1])

    def _after(self, name, arguments):
        self.operations.append(name)
        self.trees.append(self._read_tree())
        files, folders = (dict(each) for each in self.synced[-1])
        if name == "fsync":
            inode = os.fstat(arguments[0]).st_ino
            if inode in self.trees[-1]:
                if "folder" in self.heed:
                    folders[inode] = len(self.trees) - 1
            elif "file" in self.heed:
                files |= {each: content for each, content in self._files() if each == inode}
        self.synced.append((files, folders))

    def _files(self):
        entries = itertools.chain.from_iterable(tree.values() for tree in self.trees[-1].values())
        return [(inode, content) for inode, content in entries if content is not None]

    def _read_tree(self):
        """Returns the entries of each directory by inode: name, inode, and a file's bytes."""
        tree = {}
        for path, _, _ in os.walk(self.root):
            entries = {}
            for entry in os.scandir(path):
                if entry.inode() not in self._open:  # kept open, so that its inode is not used again
                    self._open[entry.inode()] = os.open(entry.path, os.O_RDONLY)
                entries[entry.name] = (entry.inode(), None if entry.is_dir() else Path(entry.path).read_bytes())
            tree[os.stat(path).st_ino] = entries
        return tree


def write_tree(state, directory):
    """Creates a directory from a state that `Disk.states` yielded."""
    directory.mkdir(parents=True)
    for path, content in state.items():
        if content is None:
            (directory / path).mkdir()
        else:
            (directory / path).write_bytes(content)


if __name__ == "__main__":
    leave_ruins(Path(sys.argv[1]))
