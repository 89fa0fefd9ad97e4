"""Files of torch.save: what torch reads is read, without torch; whatever else their pickles say is refused and never run."""

import argparse
import collections
import io
import os
import pathlib
import pickle
import sys
import zipfile

import numpy as np
import pytest
from weights.checkpoints import npz_bytes

from vit_keras.errors import CorruptFileError, UnsafeFileError
from vit_keras.weights import open_tensors
from vit_keras.weights.formats import torch_zip

torch = pytest.importorskip("torch")


def read_all(path):
    with open_tensors(path) as file:
        return {name: file.read(name) for name in file.tensors}


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


BASE = torch.arange(24.0).reshape(2, 3, 4)
TENSORS = {
    "plain": BASE, "transposed": BASE.permute(2, 0, 1), "slice": BASE[1, 1:, ::2], "scalar": torch.tensor(3.5), "empty": torch.zeros(0, 4),
    "half": BASE.half(), "double": BASE.double(), "integers": torch.arange(5), "flags": torch.tensor([True, False]),
    "parameter": torch.nn.Parameter(torch.ones(2, 2)), "bytes": torch.arange(4, dtype=torch.uint8), "complex": torch.ones(2) * 1j,
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".pth.tar", ""])
@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_are_those_that_torch_reads(tmp_path, suffix, protocol):
    path = saved(tmp_path / f"model{suffix}", TENSORS, pickle_protocol=protocol)
    expected = torch.load(path, weights_only=protocol == 2)
    found = read_all(path)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        array = tensor.detach().numpy()
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    bfloat = read_all(saved(tmp_path / f"b{suffix}", {"b": BASE.bfloat16()}))["b"]
    np.testing.assert_array_equal(bfloat.astype("float32"), BASE.numpy())


def test_a_training_checkpoint_gives_its_tensors_and_nothing_else(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = saved(
        tmp_path / "checkpoint.pth",
        {
            "model": model.state_dict(), "state_dict_ema": dict(model.named_parameters()), "optimizer": optimizer.state_dict(), "epoch": 3,
            "args": argparse.Namespace(lr=1e-3, out=pathlib.PurePosixPath("out"), device=torch.device("cpu"), tags={"a", "b"}),
            "best": np.float64(0.5), "rng": np.arange(3), "shape": torch.Size([1, 2]), "counts": collections.Counter("aab"),
            "losses": collections.defaultdict(list, {"train": [1.0]}), "dtype": torch.float32, "done": None, "name": "run 1", "raw": b"x",
        },
    )  # fmt: skip
    found = read_all(path)
    names = ("0.weight", "0.bias", "1.weight", "1.bias")
    assert found.keys() == {f"{start}.{name}" for start in ("model", "state_dict_ema") for name in names}
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(found[f"model.{name}"], tensor.numpy())
    with pytest.raises(pickle.UnpicklingError):  # which torch itself does not read without trust
        torch.load(path, weights_only=True)


class Call:
    """A pickle that calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.what = (function, arguments)

    def __reduce__(self):
        return self.what


def zipped(path, content, **members):
    path.write_bytes(
        npz_bytes({"archive/data.pkl": content, **{f"archive/{name}": data for name, data in members.items()}})
    )
    return path


RAN = []
CALLS = {
    "os.system": Call(os.system, "touch ran"), "exec": Call(exec, "raise SystemExit"), "open": Call(open, "ran", "w"),
    "getattr": Call(getattr, os, "system"), "import": Call(__import__, "antigravity"), "list.append": Call(RAN.append, 1),
}  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", CALLS)
def test_a_pickle_that_calls_functions_is_refused_and_nothing_runs(tmp_path, monkeypatch, name, protocol):
    monkeypatch.chdir(tmp_path)
    try:
        content = pickle.dumps({"weight": CALLS[name]}, protocol)
    except TypeError:  # a module is no value
        content = pickle.dumps({"weight": Call(getattr, "os", "system")}, protocol)
    path = zipped(tmp_path / "x.pt", content)
    with pytest.raises(UnsafeFileError, match=r"(?s)pickle names '.*nothing of it was run\. .*weights_only=True"):
        open_tensors(path)
    assert not (tmp_path / "ran").exists()
    assert not RAN
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"(S'touch ran'\nios\nsystem\n.", "operation STRING"),
        (b"\x80\x02(cos\nsystem\nU\x09touch ranoq.", "names 'os.system'"),
        (b"\x80\x02\x82\x01.", "operation EXT1"),
        (b"\x80\x04]\x8c\x02os\x8c\x06system\x93.", "names 'os.system'"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x000\x80\x02.", "operation POP"),
        (b"\x80\x02}2.", "operation DUP"),
        (b"P1\n.", "operation PERSID"),
        (b"\x80\x05\x97.", "operation NEXT_BUFFER"),
    ],
)  # fmt: skip
def test_operations_and_names_outside_the_list_are_refused(tmp_path, content, message):
    with pytest.raises(UnsafeFileError, match=message):
        open_tensors(zipped(tmp_path / "x.pt", content))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x02", b"\x80\x02.", b"\x80\x02}u.", b"\x80\x02h\x05.", b"\x80\x02}}R.", b"\x80\x02(K\x01Q.", b"\x80\x02K\x01\x85."[:4] + b"\x87."],
)  # fmt: skip
def test_a_damaged_pickle_is_refused(tmp_path, content):
    with pytest.raises(CorruptFileError, match=r"not a complete file of torch\.save"):
        open_tensors(zipped(tmp_path / "x.pt", content))


class Tensor:
    """Pickled as a tensor of any shape and strides."""

    def __init__(self, shape, strides, *, offset=0, key="0", count=4):
        self.arguments = (key, count, offset, shape, strides)


class TensorPickler(pickle.Pickler):
    def persistent_id(self, value):
        if isinstance(value, tuple) and value and value[0] == "a storage":
            return ("storage", torch.FloatStorage, value[1], "cpu", value[2])
        return None

    def reducer_override(self, value):
        if isinstance(value, Tensor):
            key, count, offset, shape, strides = value.arguments
            return torch._utils._rebuild_tensor_v2, (("a storage", key, count), offset, shape, strides, False, {})
        return NotImplemented


def pickled(value):
    buffer = io.BytesIO()
    TensorPickler(buffer, 2).dump(value)
    return buffer.getvalue()


FOUR = np.arange(4, dtype="float32")


def test_the_pickles_of_the_next_test_are_right_but_for_their_numbers(tmp_path):
    content = pickled({"x": Tensor((2, 2), (1, 2))})
    found = read_all(zipped(tmp_path / "x.pt", content, **{"data/0": FOUR.tobytes()}))
    np.testing.assert_array_equal(found["x"], FOUR.reshape(2, 2).T)


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor((2**40,), (0,)), Tensor((2, 4), (0, 1)), Tensor((4,), (2,)), Tensor((2,), (1,), offset=3), Tensor((4,), (1,), count=5),
        Tensor((4,), (1,), key="1"), Tensor((-1,), (1,)), Tensor((4,), (-1,)), Tensor((2,), (1, 1)), Tensor((1,) * 40, (1,) * 40),
        Tensor(("4",), (1,)), Tensor((2**64,), (1,)), Tensor((4,), (1,), key=0), Tensor((4,), (1,), count=-4), Tensor((True,), (1,)),
        Tensor([4], (1,)), Tensor((4,), (1,), key="../data.pkl"),
    ],
    ids=lambda tensor: str(tensor.arguments)[:40],
)  # fmt: skip
def test_a_tensor_that_is_no_part_of_its_storage_is_refused(tmp_path, tensor):
    with pytest.raises(CorruptFileError):
        open_tensors(zipped(tmp_path / "x.pt", pickled({"x": tensor}), **{"data/0": FOUR.tobytes()}))


def test_dictionaries_that_would_fill_the_memory_are_refused(tmp_path):
    wide = {str(index): index for index in range(300)}
    for _ in range(3):
        wide = {str(index): wide for index in range(300)}
    deep = {}
    for _ in range(20):
        deep = {"a": deep}
    itself = {}
    itself["again"] = itself
    for content in (wide, deep, itself):
        with pytest.raises(UnsafeFileError, match="too many or too deep"):
            open_tensors(zipped(tmp_path / "x.pt", pickle.dumps(content, 2)))
    doubled = ()
    for _ in range(200):  # hashing it as a key takes forever
        doubled = (doubled, doubled)
    content = b"\x80\x02}" + pickle.dumps(doubled, 2)[2:-1] + b"Ns."
    assert read_all(zipped(tmp_path / "x.pt", content)) == {}


def test_archives_that_torch_does_not_write_are_refused(tmp_path, monkeypatch):
    content = pickle.dumps({}, 2)
    path = tmp_path / "x.pt"
    path.write_bytes(npz_bytes({"archive/data.pkl": content}, zipfile.ZIP_DEFLATED))
    with pytest.raises(UnsafeFileError, match="compressed"):
        open_tensors(path)
    path.write_bytes(npz_bytes({"archive/data.pkl": content, "other/data/0": b""}))
    with pytest.raises(UnsafeFileError, match="several folders"):
        open_tensors(path)
    for members in (
        {"data.pkl": content, "constants.pkl": b""},
        {"data/0": b"", "code/x.py": b"", "constants.pkl": b"", "data.pkl": content},
    ):
        path.write_bytes(npz_bytes({f"jit/{name}": data for name, data in members.items()}))
        with pytest.raises(UnsafeFileError, match=r"TorchScript.*torch\.jit\.load"):
            open_tensors(path)
    with pytest.raises(CorruptFileError, match="big-endian"):
        open_tensors(zipped(path, content, byteorder=b"big"))
    monkeypatch.setattr(torch_zip, "_LARGEST_PICKLE", 4)
    with pytest.raises(UnsafeFileError, match="larger than 4 bytes"):
        open_tensors(zipped(path, content))


def test_a_damaged_storage_is_found_by_its_checksum(tmp_path):
    path = saved(tmp_path / "x.pt", {"x": BASE})
    content = bytearray(path.read_bytes())
    content[content.index(BASE.numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="x is damaged"):
        read_all(path)


def test_no_module_that_a_file_names_is_imported(tmp_path):
    assert "this" not in sys.modules
    with pytest.raises(UnsafeFileError, match=r"names 'this\.s'"):
        open_tensors(zipped(tmp_path / "x.pt", b"\x80\x02cthis\ns\n."))
    assert "this" not in sys.modules
