import csv
import math
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from presets.test_family import FAMILY, PRESET

import vit_keras as vk
from vit_keras import list_presets, load_preset, preset_info
from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.presets.family import read_family
from vit_keras.training.recipes import RECIPES
from vit_keras.weights.mappings.sources import SOURCES

CHECKPOINTS = [(name, tag) for name in list_presets() for tag in load_preset(name).weights]


def test_every_preset_states_its_parameters_its_source_and_its_recipe():
    for name in list_presets():
        preset = load_preset(name)
        assert preset.params == preset.config.num_params, name
        assert preset.recipe in RECIPES, name
        assert preset.paper.startswith("https://"), name
        assert all((preset.description, preset.source, preset.license, preset.family)), name


def published():
    """Returns what timm 1.0.31 says of each checkpoint, by name; scripts/make_references.py writes it."""
    with (Path(__file__).parents[1] / "golden" / "timm" / "checkpoints.csv").open() as file:
        return {row.pop("name"): row for row in csv.DictReader(file)}


def _input_size(config):
    """Returns the size that timm states; of packed images a square, of 576 patches for SigLIP 2, which was evaluated with fewer."""
    side = math.isqrt(max(config.max_num_patches or 0, 576)) * config.patch_size
    return config.image_size if config.max_num_patches is None else (side, side)


def test_every_checkpoint_of_timm_has_its_parameters_sizes_and_preprocessing():
    found, expected = {}, published()
    for name, tag in CHECKPOINTS:
        checkpoint = load_preset(name).weights[tag]
        config = load_preset(name).config.replace(**checkpoint.config)
        head = (1 + config.distillation_token) * (config.feature_dim + 1) * (checkpoint.num_classes or 0)
        if (
            checkpoint.source == "timm" or f"{name}.{tag}" in expected
        ):  # I-JEPA is read from another address than timm's
            found[f"{name}.{tag}"] = {
                "params": str(config.num_params + head),
                "image_size": "x".join(map(str, _input_size(config))),
                "num_classes": str(checkpoint.num_classes or 0),
                "mean": " ".join(map(str, config.pixel_mean * (3 // len(config.pixel_mean)))),
                "std": " ".join(map(str, config.pixel_std * (3 // len(config.pixel_std)))),
                "crop": str(float(checkpoint.crop)),
                "crop_mode": checkpoint.crop_mode,
                "interpolation": checkpoint.interpolation,
                "license": checkpoint.license.lower().replace(" ", "-").replace("unknown-license", ""),
            }
    assert found.keys() == expected.keys()
    wrong = {name: (facts, expected[name]) for name, facts in found.items() if facts != expected[name]}
    assert not wrong


def test_every_checkpoint_states_its_address_its_license_and_its_preprocessing():
    for name, tag in CHECKPOINTS:
        checkpoint = load_preset(name).weights[tag]
        assert checkpoint.source in SOURCES, (name, tag)
        if checkpoint.directory is None:
            assert checkpoint.url.startswith(("hf://", "https://")), (name, tag)
            assert checkpoint.url.endswith((".safetensors", ".npz")), (name, tag)
        else:
            assert (checkpoint.directory / "model.safetensors").is_file(), (name, tag)
        assert checkpoint.needs_acceptance == (checkpoint.license not in ("Apache-2.0", "MIT")), (name, tag)
        assert checkpoint.crop_mode in ("center", "squash"), (name, tag)
        assert checkpoint.interpolation in ("bicubic", "bilinear"), (name, tag)
        assert 0.8 < checkpoint.crop <= 1, (name, tag)


def test_every_family_is_in_the_table_of_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "reference" / "weights.md").read_text("utf-8")
    named = {
        name
        for line in text.partition("| family |")[2].partition("\n\n")[0].splitlines()
        if line.startswith("| `")
        for name in line.split("|")[1].strip(" `").split("`, `")
    }
    assert named == {load_preset(name).family for name in list_presets()}


def test_info_is_what_the_config_computes():
    info, config = preset_info("deit_tiny_distilled_patch16_224"), load_preset("deit_tiny_distilled_patch16_224").config
    assert (info["family"], info["params"], info["tokens"]) == ("deit", config.num_params, config.num_tokens)
    assert info["gmacs"] == config.num_macs / 1e9
    assert info["activation_mib"] == config.activation_bytes() / 2**20
    assert info["config"] == config.to_dict()


def test_names_are_known_without_parsing_and_one_preset_parses_its_family_alone():
    folder = Path(__file__).parents[2] / "presets"
    tables = [tomllib.loads(path.read_text("utf-8")) for path in folder.glob("*.toml")]
    assert list_presets() == sorted(name for table in tables for name in table.keys() - {"family"})
    code = (
        "import sys, tomllib; parsed = []; loads = tomllib.loads; tomllib.loads = lambda text: parsed.append(text) or loads(text)\n"
        "import vit_keras as vk; vk.list_presets(); vk.load_preset('deit_tiny_patch16_224'); print(len(parsed))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


def test_wildcards_choose_names():
    assert list_presets() == sorted(list_presets())
    assert list_presets("vit_base_patch16_[23]*") == [
        "vit_base_patch16_224", "vit_base_patch16_224_miil", "vit_base_patch16_384",
    ]  # fmt: skip
    assert list_presets("vit_[ls]*32_224") == ["vit_large_patch32_224", "vit_small_patch32_224"]
    assert list_presets("vit_base_patch?_224") == ["vit_base_patch8_224"]
    assert list_presets("resnet*") == []


@pytest.mark.parametrize("look_up", [load_preset, preset_info])
def test_an_unknown_name_proposes_the_closest(look_up):
    with pytest.raises(
        InvalidArgumentError, match=r"no preset 'vit_bse_patch16_224'.* vit_base_patch16_224, .*list_presets\(\)"
    ):
        look_up("vit_bse_patch16_224")


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A user's file of presets."""
    monkeypatch.setenv("VIT_KERAS_PRESETS", "")  # which registering changes
    path = tmp_path / "mine.toml"
    (preset,) = read_family("mine.toml", FAMILY + PRESET)
    path.write_text((FAMILY + PRESET).replace("params = 1", f"params = {preset.config.num_params}"))
    return path


def test_registered_presets_behave_as_the_shipped_ones_in_worker_processes_too_and_a_changed_file_is_read_again(mine):
    assert vk.register_presets(mine) == vk.register_presets(str(mine)) == ["vit_mine"]
    assert set(list_presets()) > {"vit_mine", "vit_base_patch16_224"}
    assert preset_info("vit_mine")["family"] == "mine"
    assert vk.from_preset("vit_mine", num_classes=3).output_shape == (None, 3)
    code = "import vit_keras; print(vit_keras.list_presets('*_mine'))"
    worker = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert worker.stdout.strip() == "['vit_mine']"
    mine.write_text(mine.read_text().replace("vit_mine", "vit_other"))
    assert vk.register_presets(mine) == ["vit_other"]
    assert list_presets("vit_mine") == []


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda text: text.replace("vit_mine", "vit_base_patch16_224"), InvalidArgumentError, "The family 'mine' has a preset 'vit_base_patch16_224', and so has the family 'vit': choose another name"),
        (lambda text: text.replace("source =", "sorce ="), InvalidArgumentError, r"mine.toml \[vit_mine\]: unknown sorce, missing source; the known keys are"),
        (lambda text: text.replace("params = ", "params = 1"), InvalidArgumentError, r"mine.toml \[vit_mine\]: params = 1\d+, but the config has \d+ parameters without a head"),
        (lambda text: "\xe9".encode("latin-1"), InvalidArgumentError, "mine.toml is not UTF-8 text"),
        (lambda text: None, StorageError, "mine.toml: the file of presets can't be read .* Check its path"),
    ],
    ids=["name", "key", "params", "encoding", "missing"],
)  # fmt: skip
def test_a_file_that_is_refused_changes_nothing(change, error, message, mine):
    before, content = list_presets(), change(mine.read_text())
    mine.unlink()
    if content is not None:
        mine.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=message):
        vk.register_presets(mine)
    assert list_presets() == before
