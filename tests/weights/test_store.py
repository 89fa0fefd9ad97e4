import ml_dtypes
import numpy as np
import pytest
from weights.checkpoints import safetensors_bytes

from vit_keras.errors import CorruptFileError, StorageError, WeightMismatchError
from vit_keras.weights import read_tensors, write_tensors

SHAPES = {"block/kernel": (3, 4), "block/bias": (4,), "head/kernel": (4, 2)}


@pytest.fixture
def tensors(rng):
    return {name: rng.normal(size=shape).astype("float32") for name, shape in SHAPES.items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "uint8"])
def test_round_trip_is_exact(path, dtype):
    written = {
        "kernel": np.arange(6).astype(dtype).reshape(2, 3),
        "strided": np.arange(4).astype(dtype)[::2],
        "transposed": np.arange(15).astype(dtype).reshape(3, 5).T,
        "scalar": np.array(7).astype(dtype),
    }
    write_tensors(written, path)
    read = read_tensors(path, {name: array.shape for name, array in written.items()})
    for name, array in written.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_all_misfits_are_in_one_report_that_names_ten_tensors_of_each_kind(path, tensors):
    write_tensors(tensors, path)
    with pytest.raises(WeightMismatchError) as caught:
        read_tensors(path, {"block/kernel": (4, 3), "block/bias": (4,), "norm/gamma": (4,)})
    for part in (
        str(path), "1 missing: norm/gamma", "1 not in the model: head/kernel", "block/kernel is (3, 4), not (4, 3)",
    ):  # fmt: skip
        assert part in str(caught.value)
    write_tensors({f"extra_{index:03d}": np.zeros(1) for index in range(300)}, path)
    with pytest.raises(WeightMismatchError, match="300 not in the model") as caught:
        read_tensors(path, {})
    assert str(caught.value).count("extra_") == 10


def test_a_file_that_cannot_be_read_is_named(path, tensors):
    with pytest.raises(StorageError, match=r"model\.safetensors: there is no such file"):
        read_tensors(path, SHAPES)
    write_tensors(tensors, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match=r"model\.safetensors"):
        read_tensors(path, SHAPES)
    for number, dtype in ((np.nan, "float32"), (np.inf, "float16"), (-np.inf, ml_dtypes.bfloat16)):
        write_tensors({"good": np.zeros(3, dtype), "bad": np.array([0, number], dtype)}, path)
        message = r"not finite \(NaN, infinity\) in 1 of its tensors, such as bad"
        with pytest.raises(CorruptFileError, match=message):
            read_tensors(path, {"good": (3,), "bad": (2,)})
    header = {"a": {"dtype": "C64", "shape": [2], "data_offsets": [0, 16]}}
    path.write_bytes(safetensors_bytes(header, bytes(16)))
    with pytest.raises(WeightMismatchError, match=r"unsupported dtypes: .'a': 'complex64'"):
        read_tensors(path, {"a": (2,)})


@pytest.mark.parametrize("step", ["vit_keras.weights.store.save_file", "vit_keras.runtime.files.os.fsync"])
def test_a_failed_write_leaves_only_the_old_file(path, tensors, monkeypatch, step):
    write_tensors(tensors, path)
    before = path.read_bytes()

    def full(*arguments, **keywords):
        if step.endswith("save_file"):
            arguments[1].write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, full)
    with pytest.raises(StorageError, match=r"model\.safetensors.*No space left on device"):
        write_tensors({"other": np.ones(3)}, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    monkeypatch.undo()
    with pytest.raises(StorageError):
        write_tensors(tensors, path.parent / "nowhere" / "model.safetensors")
