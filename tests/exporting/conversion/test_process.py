"""A conversion that fails in its process is an error here, with the reason; nothing of it is left."""

import tempfile

import pytest

from vit_keras.errors import VitKerasError
from vit_keras.exporting.conversion import process
from vit_keras.zoo.load_model import open_model


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_process_that_dies_is_told(tiny_preset, temporary, monkeypatch):
    monkeypatch.setattr(process, "_MODULE", "vit_keras.no_such_module")
    with pytest.raises(VitKerasError, match="process that converts the model ended"):
        process.run_in_tensorflow(open_model(tiny_preset), {"format": "tflite"})
    assert not list(temporary.iterdir())


@pytest.mark.slow
def test_what_goes_wrong_there_is_told(tiny_preset, temporary):
    request = {
        "format": "tflite", "target": str(temporary / "none" / "model.tflite"), "output": "logits", "precision": "float32",
        "images": None, "float32_target": None,
    }  # fmt: skip
    with pytest.raises(VitKerasError, match=r"TensorFlow could not convert the model: FileNotFoundError.*model.tflite"):
        process.run_in_tensorflow(open_model(tiny_preset), request)
    assert not list(temporary.iterdir())
