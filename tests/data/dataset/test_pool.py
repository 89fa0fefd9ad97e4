import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from PIL import Image

from vit_keras.data import Preprocessing, load
from vit_keras.data.augment.augmentation import STRENGTHS
from vit_keras.data.augment.training_image import from_file
from vit_keras.data.dataset import pipeline
from vit_keras.data.dataset.pool import DecoderPool
from vit_keras.data.images.decode import Picture
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.runtime.worker_process import WorkerDiedError, WorkerProcess

RULE = Preprocessing(image_size=(16, 20))
STRONG = STRENGTHS["strong"]


@pytest.fixture
def pair():
    pool = DecoderPool(2)
    yield pool
    pool.end()


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    names = ["plain.png", "été 猫.png", "new\nline.png"] + (["no text \udce9.png"] if sys.platform == "linux" else [])
    for name in names:
        Image.fromarray(rng.integers(0, 256, (40, 50, 3)).astype("uint8")).save(tmp_path / name, "PNG")
    return [tmp_path / name for name in names]


def request(paths):
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns, 7, draw) for draw, path in enumerate(paths)]
    return {"preprocessing": json.dumps(RULE.to_dict()), "augmentation": json.dumps(STRONG.to_dict()), "files": files}


def expected(paths):
    pictures = [Picture(path.read_bytes(), path) for path in paths]
    return np.stack([from_file(picture, RULE, STRONG, (7, draw)) for draw, picture in enumerate(pictures)])


def test_a_process_makes_the_images_that_this_one_would_and_names_those_that_fail(pair, paths):
    asked, images = request(paths), expected(paths)
    made, failed = pair.ask(asked, images.shape)
    assert failed == {}
    np.testing.assert_array_equal(made, images)
    paths[1].unlink()
    made, failed = pair.ask(asked, images.shape)
    assert list(failed) == ["1"]
    assert "there is no such file" in failed["1"]
    images[1] = 0
    np.testing.assert_array_equal(made, images)


def test_processes_that_were_killed_are_replaced(pair, paths):
    for _ in range(2):
        decoder = pair._idle.get()
        os.kill(decoder.pid, signal.SIGKILL)
        pair._idle.put(decoder)
    for _ in range(3):
        images, failed = pair.ask(request(paths), (len(paths), 16, 20, 3))
        assert failed == {}
        np.testing.assert_array_equal(images, expected(paths))


def test_where_the_processes_die_each_time_every_place_is_failed(pair, paths, monkeypatch):
    def die(self, timeout=None):
        raise WorkerDiedError

    monkeypatch.setattr(WorkerProcess, "receive", die)
    images, failed = pair.ask(request(paths), (len(paths), 16, 20, 3))
    assert (images.shape, set(failed)) == ((len(paths), 16, 20, 3), set(map(str, range(len(paths)))))


@pytest.fixture
def own_pool(tmp_path, monkeypatch):
    """Returns a function that makes a pool of one process, which answers "crash", "wait" or with zeros, as it is asked."""
    program = """
        import os, time
        from vit_keras.runtime.worker_process import ParentConnection
        parent = ParentConnection()
        while True:
            request, content = parent.receive_with_payload()
            if content == b"crash":
                os._exit(1)
            if content == b"wait":
                time.sleep(1000)
            parent.send({}, bytes(3) if content == b"black" else bytes(7))
        """
    (tmp_path / "own_decoder.py").write_text(textwrap.dedent(program))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    pools = []

    def make(timeout):
        pools.append(DecoderPool(1, module="own_decoder", timeout=timeout))
        return pools[-1]

    yield make
    for pool in pools:
        pool.end()


def test_a_payload_that_crashes_stops_or_confuses_a_process_fails_alone(own_pool):
    pool = own_pool(timeout=20)
    for content in (b"crash", b"nonsense"):
        images, failed = pool.ask({}, (1, 3), payload=content)
        assert (images.tolist(), failed) == ([[0, 0, 0]], {"0": "the decoder crashed"})
        assert pool.ask({}, (1, 3), payload=b"black")[1] == {}
    pool = own_pool(timeout=0.2)
    assert pool.ask({}, (1, 3), payload=b"wait")[1] == {"0": "decoding took longer than 0.2 seconds"}


def test_training_batches_are_the_same_by_processes_and_by_threads(make_folder, monkeypatch):
    root = make_folder({"cat": 40, "dog": 40})
    batches = {}
    for worth in (1, 10**9):
        monkeypatch.setattr(pipeline, "_WORTH_PROCESSES", worth)
        data = load(root, preprocessing=RULE, batch_size=8, reading=ReadOptions(cache="none"))
        batches[worth] = [(x.numpy(), y.numpy()) for x, y in data.training_batches(epochs=2, augmentation="medium")]
    assert len(batches[1]) == 16
    for by_processes, by_threads in zip(*batches.values(), strict=True):
        np.testing.assert_array_equal(by_processes[0], by_threads[0])
        np.testing.assert_array_equal(by_processes[1], by_threads[1])


def test_a_file_lost_to_the_processes_is_replaced_and_said(make_folder, monkeypatch):
    monkeypatch.setattr(pipeline, "_WORTH_PROCESSES", 1)
    data = load(make_folder({"cat": 120, "dog": 120}), preprocessing=RULE, batch_size=8)
    os.remove(data.splits["train"].files.name(5))
    with pytest.warns(UserWarning, match="Another image of its class replaces it"):
        assert len(list(data.training_batches(epochs=1, augmentation="light"))) == data.steps_per_epoch


@pytest.mark.slow
def test_no_process_outlives_its_parent(make_folder):
    root = make_folder({"cat": 150, "dog": 150})
    program = textwrap.dedent(
        """
        import sys
        import vit_keras as vk
        from vit_keras.data.dataset.pool import decoder_pool
        data = vk.data.load(sys.argv[1], image_size=16)
        next(iter(data.training_batches(epochs=1, augmentation="light")))
        decoders = [decoder_pool()._idle.get() for _ in range(decoder_pool().count)]
        print(*(decoder.pid for decoder in decoders), flush=True)
        if sys.argv[2] == "killed":
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
        for decoder in decoders:
            decoder_pool()._idle.put(decoder)
        """
    )

    def has_ended(pid):
        for _ in range(100):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.05)
        return False

    for end in ("normal", "killed"):
        answer = subprocess.run([sys.executable, "-c", program, root, end], capture_output=True, text=True, check=False)
        assert all(map(has_ended, map(int, answer.stdout.split())))
        assert len(answer.stdout.split()) == min(os.cpu_count(), 16)


def test_a_folder_named_from_here_is_read_from_anywhere(make_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(pipeline, "_WORTH_PROCESSES", 1)
    root = make_folder({"cat": 20, "dog": 20})
    monkeypatch.chdir(root.parent)
    data = load(root.name, preprocessing=RULE, batch_size=8)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(list(data.training_batches(epochs=1, augmentation="light"))) == 4
    assert data.splits["train"].replaced == {}
