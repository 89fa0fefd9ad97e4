import json
from pathlib import Path

import keras
import pytest

from vit_keras import load_preset, vit

GOLDEN = Path(__file__).parents[1] / "golden" / "timm"


@pytest.fixture
def foreign(tmp_path):
    """A checkpoint under timm's names, of the architecture `test_vit`."""
    from vit_keras.weights import write

    config = load_preset("test_vit").config
    model = vit(config, num_classes=3)
    arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
    return write(arrays, config, tmp_path / "foreign", to="timm")


def test_convert_goes_through_every_form_and_back(run, foreign, tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert run("convert", foreign, ours, "--preset", "test_vit")[0] == 0
    assert run("convert", ours, theirs, "--to", "huggingface")[0] == 0
    assert run("convert", theirs, tmp_path / "again", "--preset", "test_vit", "--to", "timm")[0] == 0
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (foreign / "model.safetensors").read_bytes()
    assert run("convert", ours, tmp_path / "mine.safetensors", "--to", "safetensors")[0] == 0
    assert (tmp_path / "mine.safetensors").read_bytes() == (ours / "model.safetensors").read_bytes()
    assert run("convert", ours, tmp_path / "mine.keras", "--to", "keras")[0] == 0
    assert keras.saving.load_model(tmp_path / "mine.keras").output_shape == (None, 3)


def test_convert_shows_its_plan_and_writes_nothing(run, foreign, tmp_path):
    code, out, _ = run("convert", foreign, tmp_path / "ours", "--preset", "test_vit", "--dry-run")
    assert code == 0
    assert "block_05/mlp/contract/kernel <- blocks.5.mlp.fc2.weight" in out
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("IN", "OUT", "--to", "onnx", "--preset", "test_vit"), 2, "--to onnx is none of"),
        (("BARE", "OUT"), 2, "say its architecture with --preset NAME"),
        (("BARE", "OUT", "--dry-run"), 2, "give --preset NAME"),
        (("IN", "IN", "--preset", "test_vit"), 6, "nothing is overwritten"),
        (("nowhere", "OUT"), 6, "nowhere: there is no such file"),
        (("test_vit:nope", "OUT"), 2, "its tags are ['r160_in1k']"),
        (("vit_base_patch16_224:mae", "OUT"), 2, "CC-BY-NC-4.0"),
        (("IN", "OUT", "--preset", "vit_pico_patch4_32"), 4, "do not fit the model"),
        (("IN", "OUT", "--preset", "test_vit", "--source", "google"), 4, 'looks like one of "timm"'),
        (("IN", "OUT", "--preset", "test_vit", "--to", "keras"), 2, "Keras wants the ending .keras"),
    ],
)
def test_convert_refuses(run, foreign, tmp_path, arguments, code, message):
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes((foreign / "model.safetensors").read_bytes())
    places = {"IN": foreign, "BARE": bare, "OUT": tmp_path / "out"}
    ended, _, err = run("convert", *(places.get(argument, argument) for argument in arguments))
    assert ended == code
    assert message in err
    assert not (tmp_path / "out").exists()


def test_verify_compares_block_by_block(run):
    code, out, _ = run("verify", GOLDEN / "eva02.safetensors", "--json")
    assert code == 0
    assert [entry["output"] for entry in json.loads(out)["differences"]] == ["block 0", "block 1", "logits"]
    assert "logits" in run("verify", GOLDEN / "vit.safetensors")[1]


def test_verify_refuses_another_model_and_another_file(run, foreign, tmp_path):
    run("convert", foreign, tmp_path / "ours", "--preset", "test_vit")
    code, _, err = run("verify", GOLDEN / "test_vit.safetensors", "--preset", tmp_path / "ours")
    assert code == 4
    assert "The reference has 6 blocks and images of (64, 64, 3)" in err
    code, _, err = run("verify", GOLDEN / "google_augreg.reference.safetensors")
    assert code == 4
    assert "this is not a reference" in err
