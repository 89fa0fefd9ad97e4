import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vit_keras.data.scan import scan as scanning
from vit_keras.data.scan.inspection import Limits, inspect
from vit_keras.data.scan.listing import list_folder
from vit_keras.data.scan.manifest import MANIFEST, QUARANTINE
from vit_keras.data.scan.scan import manifest_folder, scan
from vit_keras.errors import StorageError

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")
WORKER = """
import os, signal, time
from pathlib import Path
from vit_keras.data.scan.inspection import Limits, inspect
from vit_keras.runtime.worker_process import ParentConnection

parent = ParentConnection()
limits = Limits(**parent.receive())
parent.send({"ready": True})
while True:
    path = Path(parent.receive()["path"])
    with Path(os.environ["SPY_LOG"]).open("a", errors="backslashreplace") as file:
        file.write(f"{path.parent.name}/{path.name} {os.getpid()}\\n")
    time.sleep(float(os.environ["SPY_SECONDS"]))
    if "hang" in path.name:
        time.sleep(60)
    if "crash" in path.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    parent.send(inspect(path, limits))
"""
"""A worker that logs its requests, waits, and ends as file names say."""


class Spy:
    """Replaces the worker module, and reads what the workers were asked."""

    def __init__(self, folder, monkeypatch, seconds=0.0):
        self.log = folder / "asked"
        (folder / "spy_worker.py").write_text(WORKER)
        monkeypatch.setattr(scanning, "_WORKER", "spy_worker")
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        monkeypatch.setenv("SPY_LOG", str(self.log))
        monkeypatch.setenv("SPY_SECONDS", str(seconds))

    def asked(self):
        return [line.split()[0] for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def processes(self):
        return {int(line.split()[1]) for line in self.log.read_text().splitlines()}

    def forget(self):
        self.log.unlink(missing_ok=True)


@pytest.fixture
def spy(tmp_path, monkeypatch):
    return Spy(tmp_path, monkeypatch)


@pytest.fixture
def root(make_folder):
    return make_folder({"cat": 20, "dog": 20})


def reasons(manifest):
    return {item.path: item.reason for item in manifest.quarantined}


def read(folder):
    return (folder / MANIFEST).read_bytes(), (folder / QUARANTINE).read_bytes()


def test_every_file_has_the_row_that_inspecting_it_gives_whatever_the_number_of_processes(root, tmp_path):
    (root / "cat" / "broken.png").write_bytes(b"broken")
    listing, told = list_folder(root), []
    before = {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in root.rglob("*")}
    manifest = scan(listing, folder=tmp_path / "kept", on_progress=lambda *counts: told.append(counts), workers=1)
    assert told == [(done, 41) for done in range(1, 42)]
    assert manifest.paths == [path for path in listing.paths if path != "cat/broken.png"]
    for index, path in enumerate(manifest.paths):
        assert manifest.columns.row(index) == inspect(root / path, Limits())
    assert reasons(manifest) == {"cat/broken.png": inspect(root / "cat" / "broken.png", Limits())["reason"]}
    scan(listing, folder=tmp_path / "other", workers=3)
    assert read(tmp_path / "kept") == read(tmp_path / "other")
    assert before == {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in root.rglob("*")}


def test_the_manifest_is_kept_in_the_cache_by_the_folders_name(root, tmp_path, monkeypatch):
    monkeypatch.setenv("VIT_KERAS_CACHE", str(tmp_path / "cache"))
    manifest = scan(list_folder(root))
    assert manifest.folder == manifest_folder(root)
    assert manifest.folder.parent == tmp_path / "cache" / "manifests"
    assert manifest.folder.name.startswith("pictures-")
    assert sorted(path.name for path in manifest.folder.iterdir()) == ["lock", MANIFEST, QUARANTINE]
    assert manifest_folder(root.parent / "other" / "pictures") != manifest_folder(root)
    assert manifest_folder(root / "cat" / "..") == manifest_folder(root)


@posix
def test_a_file_that_ends_or_stops_the_process_is_left_out_and_the_others_go_on(root, tmp_path, spy):
    expected = dict.fromkeys(["cat/crash.png", "dog/crash too.png"], "the decoder crashed on it (signal 11)")
    expected["cat/hang.png"] = "took over 2 s to read (I/O)"
    for name in expected:
        (root / name).write_bytes(b"broken")
    manifest = scan(list_folder(root), folder=tmp_path / "kept", patience=2)
    assert (len(manifest), reasons(manifest)) == (40, expected)


def test_a_process_that_does_not_start_is_an_error(root, tmp_path, monkeypatch):
    monkeypatch.setattr(scanning, "_WORKER", "vit_keras.data.nothing")
    with pytest.raises(StorageError, match="could not be started"):
        scan(list_folder(root), folder=tmp_path / "kept")


def test_files_that_did_not_change_are_read_again_only_for_other_limits(root, tmp_path, spy):
    (root / "cat" / "broken.png").write_bytes(b"broken")
    first = scan(list_folder(root), folder=tmp_path / "kept")
    before = read(tmp_path / "kept")
    assert len(spy.asked()) == 41
    spy.forget()
    again = scan(list_folder(root), folder=tmp_path / "kept")
    assert spy.asked() == []
    assert read(tmp_path / "kept") == before
    assert (again.fingerprint, again.quarantined) == (first.fingerprint, first.quarantined)
    strict = scan(list_folder(root), folder=tmp_path / "kept", limits=Limits(min_side=2000))
    assert (len(spy.asked()), len(strict)) == (41, 0)
    assert all("2000 px" in reason for path, reason in reasons(strict).items() if path != "cat/broken.png")


def test_files_that_changed_or_are_new_are_read_and_those_gone_forgotten(root, tmp_path, spy):
    first = scan(list_folder(root), folder=tmp_path / "kept")
    spy.forget()
    (root / "cat" / "00.png").write_bytes((root / "cat" / "01.png").read_bytes())
    (root / "cat" / "new.png").write_bytes((root / "cat" / "02.png").read_bytes())
    (root / "dog" / "05.png").unlink()
    os.utime(root / "dog" / "06.png", ns=(1, 1))
    again = scan(list_folder(root), folder=tmp_path / "kept")
    assert sorted(spy.asked()) == ["cat/00.png", "cat/new.png", "dog/06.png"]
    assert again.paths == list_folder(root).paths
    assert again.fingerprint != first.fingerprint


def test_a_damaged_manifest_is_written_again(root, tmp_path):
    scan(list_folder(root), folder=tmp_path / "kept")
    before = read(tmp_path / "kept")
    path = tmp_path / "kept" / MANIFEST
    text = path.read_text()
    for damaged in (
        text[:-20],
        text.replace('"width": ', '"width": "', 1),
        text.replace('"sha256": "', '"sha256": "zz', 1),
        text.replace('"phash"', '"cash"', 1),
        text.replace('"path": "cat/00.png"', '"path": ["cat/00.png"]', 1),
        "null\n" + text,
        "",
    ):
        path.write_text(damaged)
        scan(list_folder(root), folder=tmp_path / "kept", workers=1)
        assert read(tmp_path / "kept") == before, damaged[:200]


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def is_alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


@linux
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_an_interrupted_scan_leaves_no_process_and_goes_on_where_it_was(root, tmp_path, monkeypatch, how):
    (root / "cat" / "broken.png").write_bytes(b"broken")
    (root / "dog" / "half.png").write_bytes((root / "dog" / "00.png").read_bytes()[:60])
    spy, kept = Spy(tmp_path, monkeypatch, seconds=0.1), tmp_path / "kept"
    program = textwrap.dedent(f"""
        import signal
        from pathlib import Path
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell turns it off in the background
        from vit_keras.data.scan import scan as scanning
        from vit_keras.data.scan.listing import list_folder
        scanning._WORKER = "spy_worker"
        scanning.scan(list_folder(Path({str(root)!r})), folder=Path({str(kept)!r}), workers=2)
    """)
    child = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    log = kept / "progress.jsonl"
    wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") > 10)
    child.send_signal(how)
    child.communicate()
    wait_for(lambda: not any(map(is_alive, spy.processes())))
    assert not (kept / MANIFEST).exists()
    with log.open("ab") as file:
        file.write(b'{"path": "cat/19.png", "size"')  # as a power cut leaves it
    done = [json.loads(line)["path"] for line in log.read_text().splitlines()[1:-1]]
    assert 10 <= len(done) < 42
    spy.forget()
    monkeypatch.setenv("SPY_SECONDS", "0")
    told = []
    scan(list_folder(root), folder=kept, on_progress=lambda *counts: told.append(counts))
    assert sorted(spy.asked()) == sorted(set(list_folder(root).paths) - set(done))
    assert told[0] == (len(done) + 1, 42)
    assert not log.exists()
    scan(list_folder(root), folder=tmp_path / "at once")
    assert read(kept) == read(tmp_path / "at once")


@posix
def test_two_scans_at_once_share_the_work(root, tmp_path, monkeypatch):
    spy = Spy(tmp_path, monkeypatch, seconds=0.005)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: scan(list_folder(root), folder=tmp_path / "kept"), range(2))
    assert first.fingerprint == second.fingerprint
    assert sorted(spy.asked()) == sorted(list_folder(root).paths)


def test_a_folder_that_cannot_be_written_is_a_storage_error(root, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"the manifest could not be written.*VIT_KERAS_CACHE"):
        scan(list_folder(root), folder=tmp_path / "file" / "kept")


def test_an_error_in_the_caller_ends_the_processes_and_keeps_what_was_found(root, tmp_path, spy):
    def fail(done, total):
        raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="the caller's own"):
        scan(list_folder(root), folder=tmp_path / "kept", on_progress=fail)
    if sys.platform == "linux":
        wait_for(lambda: not any(map(is_alive, spy.processes())))
    assert len((tmp_path / "kept" / "progress.jsonl").read_text().splitlines()) == 2


def test_files_gone_since_they_were_listed_have_a_reason(root, tmp_path):
    listing = list_folder(root)
    (root / "cat" / "03.png").unlink()
    found = reasons(scan(listing, folder=tmp_path / "kept"))
    assert list(found) == ["cat/03.png"]
    assert "no such file" in found["cat/03.png"].lower()


@linux
def test_any_name_survives_and_is_known_again(root, tmp_path, spy):
    names = ["été 猫 😀.png", "n\new.png", "quo\"te'.png", "=cmd.png", "a,b\t.png", os.fsdecode(b"caf\xe9") + "/1.png"]
    for name in names:
        (root / "cat" / name).parent.mkdir(exist_ok=True)
        (root / "cat" / name).write_bytes((root / "cat" / "00.png").read_bytes())
    first = scan(list_folder(root), folder=tmp_path / "kept")
    assert {f"cat/{name}" for name in names} < set(first.paths)
    spy.forget()
    assert scan(list_folder(root), folder=tmp_path / "kept").fingerprint == first.fingerprint
    assert spy.asked() == []


def test_no_module_is_imported_from_where_the_user_stands(root, tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("PIL.py", "numpy.py", "json.py", "vit_keras.py"):
        (trap / name).write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    monkeypatch.chdir(trap)
    assert len(scan(list_folder(root), folder=tmp_path / "kept")) == 40
    assert not (tmp_path / "sprung").exists()


@linux
def test_a_process_has_a_limit_on_its_memory():
    code = (
        "from vit_keras.data.scan import worker; worker._limit_memory(); print(len(bytearray(2**30))); bytearray(2**31)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr.rstrip()[-11:]) == (f"{2**30}\n", "MemoryError")
