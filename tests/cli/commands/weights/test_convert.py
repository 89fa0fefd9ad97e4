from argparse import Namespace

import keras
import pytest
from safetensors.numpy import load_file


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


def test_convert_reads_a_training_checkpoint_of_torch_and_prefix_chooses_the_model(run, refused, foreign, tmp_path):
    torch = pytest.importorskip("torch")
    weights = {name: torch.from_numpy(array) for name, array in load_file(foreign / "model.safetensors").items()}
    halves = {name: tensor / 2 for name, tensor in weights.items()}
    path = tmp_path / "checkpoint.pth"
    settings = Namespace(lr=1e-3)
    torch.save(
        {"model": halves, "model_ema": weights, "optimizer": {"state": {0: {"step": torch.ones(1)}}}, "args": settings},
        path,
    )
    for name, expected in (("model_ema", weights), (None, weights), ("model", halves)):
        out = tmp_path / f"out {name}"
        chosen = ("--prefix", name) if name else ()
        assert run("convert", path, out, "--preset", "test_vit", "--to", "timm", *chosen)[0] == 0
        found = load_file(out / "model.safetensors")
        assert all((found[key] == expected[key].numpy()).all() for key in expected)
    refused(
        2,
        "the prefixes of models in the file are",
        "convert",
        path,
        tmp_path / "x",
        "--preset",
        "test_vit",
        "--prefix",
        "student",
    )


def test_convert_shows_its_plan_and_writes_nothing(run, foreign, tmp_path):
    code, out, _ = run("convert", foreign, tmp_path / "ours", "--preset", "test_vit", "--dry-run")
    assert code == 0
    assert "block_05/mlp/contract/kernel <- blocks.5.mlp.fc2.weight" in out
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("IN", "OUT", "--to", "onnx", "--preset", "test_vit"), 2, "--to must be one of"),
        (("BARE", "OUT"), 2, "give its architecture with --preset NAME"),
        (("BARE", "OUT", "--dry-run"), 2, "give --preset NAME"),
        (("photo.png", "OUT"), 2, "is an image"),
        (("IN", "IN", "--preset", "test_vit"), 6, "nothing is overwritten"),
        (("nowhere", "OUT"), 2, "There is no preset 'nowhere', and no file or directory of that name"),
        (("test_vit:nope", "OUT"), 2, "its tags are r160_in1k"),
        (("vit_base_patch16_224:mae", "OUT"), 2, "CC-BY-NC-4.0"),
        (("IN", "OUT", "--preset", "vit_pico_patch4_32"), 4, "do not fit the model"),
        (("IN", "OUT", "--preset", "test_vit", "--source", "google"), 4, 'looks like one of "timm"'),
        (("IN", "OUT", "--preset", "test_vit", "--to", "keras"), 2, "must end in .keras"),
    ],
)
def test_convert_refuses(refused, foreign, tmp_path, arguments, code, message):
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes((foreign / "model.safetensors").read_bytes())
    (tmp_path / "photo.png").touch()
    places = {"IN": foreign, "photo.png": tmp_path / "photo.png", "BARE": bare, "OUT": tmp_path / "out"}
    refused(code, message, "convert", *(places.get(argument, argument) for argument in arguments))
    assert not (tmp_path / "out").exists()


def test_a_directory_is_replaced_when_asked_and_kept_when_the_conversion_fails(run, refused, foreign, tmp_path):
    ours = tmp_path / "ours"
    assert run("convert", foreign, ours, "--preset", "test_vit")[0] == 0
    (ours / "config.json").write_text((ours / "config.json").read_text() + " ")
    changed = (ours / "config.json").read_text()
    refused(6, "add --overwrite", "convert", foreign, ours, "--preset", "test_vit")
    refused(4, "do not fit the model", "convert", foreign, ours, "--preset", "vit_pico_patch4_32", "--overwrite")
    refused(2, "holds the checkpoint to convert", "convert", ours, ours, "--overwrite")
    assert (ours / "config.json").read_text() == changed
    assert run("convert", foreign, ours, "--preset", "test_vit", "--overwrite")[0] == 0
    assert (ours / "config.json").read_text() == changed.removesuffix(" ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours"]
