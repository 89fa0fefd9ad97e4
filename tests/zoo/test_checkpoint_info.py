"""What files and directories are said to be, and that the printed lines load them."""

import json
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import vit_keras as vk
from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError
from vit_keras.weights import write, write_tensors
from vit_keras.weights.mappings.libraries.google import GOOGLE
from vit_keras.weights.writing import translate
from vit_keras.zoo.checkpoint_info import checkpoint_info

NAMES = ["cat", "dog", "owl"]
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3)).astype("uint8")


@pytest.fixture(scope="module")
def model():
    model, rng = vk.from_preset("test_vit", num_classes=3), np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.1).astype("float32"))
    return model


@pytest.fixture(scope="module")
def arrays(model):
    return {weight.path: np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights}


@pytest.fixture(scope="module")
def folder(model, arrays, tmp_path_factory):
    """One of each kind of file and directory with the same model."""
    folder = tmp_path_factory.mktemp("with spaces")
    config = vk.model_config(model)
    vk.save_preset(model, folder / "preset", class_names=NAMES)
    (folder / "run").mkdir()
    vk.save_preset(model, folder / "run" / "model", class_names=NAMES)
    (folder / "run" / "run.json").write_text(json.dumps({"command": "finetune", "status": "complete"}))
    for to in ("timm", "huggingface"):
        write(arrays, config, folder / to, to=to, class_names=NAMES)
        (folder / f"{to}.safetensors").write_bytes((folder / to / "model.safetensors").read_bytes())
    write_tensors(arrays, folder / "native.safetensors")
    np.savez(folder / "google.npz", **translate(arrays, config, GOOGLE))
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    return folder


def run_lines(info):
    """Returns the model that the printed Python lines load."""
    names = {}
    exec("\n".join(info["python"]), names)
    return names["model"]


KINDS = {
    "preset": ("a preset directory of vit_keras", "vit_keras"),
    "run": ("the run directory", "vit_keras"),
    "timm": ("a directory of timm: vit_", "timm"),
    "huggingface": ("a directory of transformers: vit", "huggingface"),
    "timm.safetensors": ("weights in safetensors, of timm's VisionTransformer", "timm"),
    "huggingface.safetensors": ("weights in safetensors, of transformers' ViT", "huggingface"),
    "native.safetensors": ("weights in safetensors, of a preset directory", "vit_keras"),
    "google.npz": ("weights in npz, of Google's vision_transformer", "google"),
    "model.keras": ("a Keras file of a vit_keras model", "vit_keras"),
    "model.weights.h5": ("weights that Keras saved", "vit_keras"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_named_and_the_printed_line_loads_the_model(folder, model, kind):
    info = checkpoint_info(folder / kind)
    what, library = KINDS[kind]
    assert info["what"].startswith(what)
    assert info["library"] == library
    assert info["num_classes"] == 3
    if kind not in ("model.keras", "model.weights.h5"):
        assert info["image_size"] == (160, 160)
        assert info["patch_size"] == 16
        assert info["dtypes"] == ["float32"]
        assert info["params"] == sum(np.prod(weight.shape) for weight in model.weights)
    if kind != "model.keras":
        assert info["presets"][0] == "test_vit"
    is_named = kind in ("preset", "run", "timm", "huggingface")
    assert info["class_names"] == (NAMES if is_named else None)
    assert ("class names" in info["missing"]) is not is_named
    outputs = [keras.ops.convert_to_numpy(each(PIXELS)) for each in (run_lines(info), model)]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-4)


def test_a_prefix_and_half_precision_are_named(arrays, folder, tmp_path):
    with_prefix = {name: array.astype("float16") for name, array in load(folder / "huggingface").items()}
    save_file(with_prefix, tmp_path / "half.safetensors")
    info = checkpoint_info(tmp_path / "half.safetensors")
    assert (info["dtypes"], info["prefix"]) == (["float16"], "vit.")


def test_a_training_checkpoint_of_torch_and_a_directory_of_kerashub_are_described(folder, tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array) for name, array in load(folder / "huggingface").items()}
    torch.save(
        {"state_dict": {f"net.{name}": tensor for name, tensor in tensors.items()}, "epoch": 1}, tmp_path / "last.ckpt"
    )
    info = checkpoint_info(tmp_path / "last.ckpt")
    assert (info["library"], info["prefix"]) == ("huggingface", "state_dict.net.vit.")
    assert info["what"].startswith("weights in a file of torch.save, of transformers' ViT")
    hub = Path(__file__).parents[1] / "golden" / "libraries" / "keras_hub"
    info = checkpoint_info(hub)
    assert (info["what"], info["library"], info["num_classes"]) == ("a preset directory of KerasHub", "keras_hub", 5)
    assert info["image_size"] == (32, 32)
    scope = {}
    exec("\n".join(info["python"]), scope)
    assert scope["model"].output_shape == (None, 5)


def load(folder):
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def test_weights_of_another_size_are_loaded_at_their_size(tmp_path):
    config = vk.load_preset("test_vit").config.replace(image_size=(64, 64))
    weights = {weight.path: keras.ops.convert_to_numpy(weight) for weight in vk.vit(config, num_classes=2).weights}
    write(weights, config, tmp_path / "timm", to="timm")
    file = tmp_path / "small.safetensors"
    (tmp_path / "timm" / "model.safetensors").rename(file)
    info = checkpoint_info(file)
    assert info["python"][-1] == f"model = vk.from_preset('test_vit', weights={str(file)!r}, image_size=(64, 64))"
    assert run_lines(info).input_shape == (None, 64, 64, 3)
    assert "num_heads=2" in info["missing"][-1]  # what no tensor reveals


def test_a_config_alone_builds_the_model(folder, tmp_path):
    for to in ("huggingface", "timm", "preset"):
        config = tmp_path / to / "config.json"
        config.parent.mkdir()
        config.write_bytes((folder / to / "config.json").read_bytes())
        for path in (config, config.parent):
            info = checkpoint_info(path)
            assert "without weights" in info["what"]
            assert (info["presets"][0], info["num_classes"]) == ("test_vit", 3)
            built = run_lines(info)
            assert vk.model_config(built).hidden_dim == 64
            assert built.output_shape == (None, 3)


def test_a_config_that_no_preset_has_builds_the_model(tmp_path):
    sizes = {
        "hidden_size": 40,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 72,
        "image_size": 32,
    }
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "vit", "patch_size": 8, "id2label": {"0": "a", "1": "b"}, **sizes})
    )
    info = checkpoint_info(tmp_path)
    assert (info["presets"], info["class_names"]) == ([], ["a", "b"])
    assert run_lines(info).output_shape == (None, 2)


def test_an_adapter_of_peft_is_named_with_its_base(folder, model, tmp_path):
    adapted = vk.training.add_lora(model, rank=3, targets=["query", "value"])
    path = vk.training.save_lora(
        adapted, tmp_path / "adapter", to="huggingface", base_model=str(folder / "huggingface")
    )
    info = checkpoint_info(path)
    assert info["what"] == "a LoRA adapter of PEFT of rank 3, on 12 layers (q_proj, v_proj)"
    assert info["missing"] == []
    assert run_lines(info).output_shape == (None, 3)
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((path / "adapter_model.safetensors").read_bytes())
    assert checkpoint_info(alone)["missing"] == ["the base model", "alpha, which adapter_config.json states"]
    described = json.loads((path / "adapter_config.json").read_text())
    described["base_model_name_or_path"] = "timm/test_vit.r160_in1k"
    (path / "adapter_config.json").write_text(json.dumps(described))
    assert checkpoint_info(path)["python"][-1].startswith("model = vk.training.load_lora(vk.from_preset('test_vit:")


def test_the_lines_for_a_pickle_of_torch_convert_it(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(
        {"model": {"cls_token": torch.ones(1, 1, 4)}}, tmp_path / "model.pth", _use_new_zipfile_serialization=False
    )
    info = checkpoint_info(tmp_path / "model.pth")
    exec("\n".join(info["python"]))
    assert shlex.split(info["command"][0]) == ["vit-keras", "info", str(tmp_path / "model.safetensors")]
    assert load(tmp_path)["cls_token"].shape == (1, 1, 4)


def test_a_file_of_presets_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("VIT_KERAS_PRESETS", raising=False)
    text = (vk.presets.catalog._shipped_files()[0].parent / "test_vit.toml").read_text()
    (tmp_path / "ours.toml").write_text(text.replace("[test_vit", "[vit_ours"))
    info = checkpoint_info(tmp_path / "ours.toml")
    assert "vit_ours" in info["presets"]
    assert info["python"][-1] == f"model = vk.from_preset({info['presets'][0]!r})"


def test_an_unfinished_run_says_how_to_finish_it(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"command": "finetune"}))
    assert checkpoint_info(tmp_path)["command"] == [f"vit-keras finetune --resume --run-dir {tmp_path}"]


def test_a_file_of_torch_that_holds_only_tensors_is_read(folder, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({name: torch.tensor(array) for name, array in load(folder / "timm").items()}, tmp_path / "model.pth")
    info = checkpoint_info(tmp_path / "model.pth")
    assert info["what"] == "weights in a file of torch.save, of timm's VisionTransformer or Eva"
    assert run_lines(info).output_shape == (None, 3)


def test_what_is_of_no_known_kind_is_refused(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.keras").write_bytes(b"x")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    for name, error, message in (
        ("missing", StorageError, "no such file or directory"),
        ("photo.jpg", InvalidArgumentError, "Known endings are .safetensors, .npz"),
        ("empty", StorageError, "of no known kind"),
        ("broken.keras", CorruptFileError, "not a .keras file"),
        ("other.keras", CorruptFileError, "not a model that Keras saved"),
    ):
        with pytest.raises(error, match=message):
            checkpoint_info(tmp_path / name)


def test_the_printed_command_works(folder, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind in ("huggingface", "timm.safetensors"):
        code, out, _ = run("info", folder / kind)
        assert code == 0
        command = shlex.split(out.splitlines()[-1])
        code, _, err = run(*command[1:])
        assert code == 0, err
        assert vk.load_model(command[3]).output_shape == (None, 3)
    assert json.loads(run("info", folder / "preset", "--json")[1])["presets"][0] == "test_vit"


def test_it_starts_no_backend(folder):
    code = (
        "import sys; from vit_keras.zoo.checkpoint_info import checkpoint_info\n"
        f"checkpoint_info({str(folder / 'huggingface')!r}); checkpoint_info({str(folder / 'model.keras')!r})\n"
        "print({'keras', 'tensorflow', 'torch', 'jax'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "set()"
