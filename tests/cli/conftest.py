import json

import pytest
from PIL import Image

from vit_keras.config import ViTConfig

SMALL = {"image_size": 32, "patch_size": 8, "hidden_dim": 48, "num_layers": 2, "num_heads": 2, "mlp_dim": 96}


@pytest.fixture
def small_preset(tmp_path_factory, monkeypatch):
    """The name of a registered preset of two narrow blocks, which other processes know, too."""
    stated = {"source": "ours", "params": ViTConfig(**SMALL).num_params, **SMALL}
    family = {"description": "Small", "paper": "", "license": "Apache-2.0", "recipe": "from_scratch"}
    tables = {"family": family, "vit_two_patch8_32": stated}
    path = tmp_path_factory.mktemp("presets") / "small.toml"
    path.write_text(
        "".join(
            f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
            for name, table in tables.items()
        )
    )
    monkeypatch.setenv("VIT_KERAS_PRESETS", str(path))
    return "vit_two_patch8_32"


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "good.png"
    Image.new("RGB", (40, 30), (200, 100, 0)).save(path)
    return path


@pytest.fixture
def interrupted(tmp_path):
    """A run that was interrupted, with options that are not the defaults."""
    options = {
        "data": "emoji", "preset": "vit_pico_patch4_32", "epochs": 5, "batch_size": 32, "limit": 64, "seed": 3,
        "precision": "float32",
    }  # fmt: skip
    parts = {key: {} for key in ("config", "recipe", "data", "environment", "seconds")}
    record = {"status": "interrupted", "command": "train", "options": options, "precision": "float32", **parts}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    return tmp_path / "run"


@pytest.fixture
def refused(run):
    """Returns a function that asserts that the command line ends with an exit code and a message."""

    def check(code, message, *arguments):
        ended, out, err = run(*arguments)
        assert (ended, message in err.replace("\n", ""), "Traceback" in err) == (code, True, False), err
        return out

    return check


@pytest.fixture
def snapshot():
    """Returns a function that reads all files of a folder."""
    return lambda folder: {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def foreign(tmp_path_factory):
    """A checkpoint under timm's names, of the architecture `test_vit`."""
    import keras

    from vit_keras import load_preset, vit
    from vit_keras.weights import write

    config = load_preset("test_vit").config
    arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in vit(config, num_classes=3).weights}
    return write(arrays, config, tmp_path_factory.mktemp("checkpoints") / "foreign", to="timm")
