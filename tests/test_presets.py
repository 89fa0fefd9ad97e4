import subprocess
import sys
from pathlib import Path

import pytest

from vit_keras import list_presets, load_preset, preset_info
from vit_keras.errors import InvalidArgumentError
from vit_keras.presets import Checkpoint, read_family
from vit_keras.weights.mappings.sources import SOURCES

FAMILY = """
[family]
description = "Mine"
paper = "https://example.org"
license = "Apache-2.0"
recipe = "from_scratch"
[family.config]
image_size = 32
patch_size = 8
"""
PRESET = """
[vit_mine]
source = "ours"
params = 1
hidden_dim = 16
num_layers = 1
num_heads = 2
mlp_dim = 32
"""
WEIGHTS = "[vit_mine.weights]\nt = { source = 'timm', url = 'x', "
CHECKPOINTS = [(name, tag) for name in list_presets() for tag in load_preset(name).weights]


@pytest.mark.parametrize("name", list_presets())
def test_stated_parameters_are_those_of_the_config(name):
    preset = load_preset(name)
    assert preset.params == preset.config.num_params


@pytest.mark.parametrize("name", list_presets())
def test_a_preset_says_where_it_is_from_and_how_it_is_trained(name):
    from vit_keras.training.recipes import RECIPES

    preset = load_preset(name)
    assert preset.recipe in RECIPES
    assert preset.paper.startswith("https://")
    assert all((preset.description, preset.source, preset.license, preset.family))


def test_parameters_are_those_that_timm_counts():
    """With the checkpoint's own head; the golden file holds what timm 1.0.31 counted, in millions."""
    lines = (Path(__file__).parent / "golden" / "timm_params.csv").read_text().splitlines()[1:]
    counted = dict(line.split(",") for line in lines)
    found = {}
    for name, tag in CHECKPOINTS:
        preset = load_preset(name)
        checkpoint = preset.weights[tag]
        config = preset.config.replace(**checkpoint.config)
        heads = 2 if config.distillation_token else 1
        head = heads * (config.feature_dim + 1) * (checkpoint.num_classes or 0) if checkpoint.num_classes else 0
        if checkpoint.source == "timm":
            found[f"{name}.{tag}"] = (config.num_params + head) / 1e6
    assert found.keys() == counted.keys()
    assert found == {name: pytest.approx(float(params), abs=5.01e-4) for name, params in counted.items()}


@pytest.mark.parametrize(("name", "tag"), CHECKPOINTS)
def test_a_checkpoint_says_where_it_is_and_under_which_license(name, tag):
    checkpoint = load_preset(name).weights[tag]
    assert checkpoint.source in SOURCES
    assert checkpoint.url.startswith(("hf://", "https://"))
    assert checkpoint.url.endswith((".safetensors", ".npz"))
    assert checkpoint.needs_acceptance == (checkpoint.license not in ("Apache-2.0", "MIT"))
    assert checkpoint.crop_mode in ("center", "squash")
    assert checkpoint.interpolation in ("bicubic", "bilinear")
    assert 0.8 < checkpoint.crop <= 1


@pytest.mark.parametrize("name", list_presets())
def test_info_is_what_the_config_computes(name):
    info, config = preset_info(name), load_preset(name).config
    assert (info["name"], info["params"], info["tokens"]) == (name, config.num_params, config.num_tokens)
    assert info["gmacs"] == config.num_macs / 1e9
    assert info["activation_mib"] == config.activation_bytes() / 2**20
    assert info["config"] == config.to_dict()


def test_wildcards_choose_names():
    assert list_presets() == sorted(list_presets())
    assert list_presets("vit_base_patch16_[23]*") == ["vit_base_patch16_224", "vit_base_patch16_384"]
    assert list_presets("vit_[ls]*32_224") == ["vit_large_patch32_224", "vit_small_patch32_224"]
    assert list_presets("vit_base_patch?_224") == ["vit_base_patch8_224"]
    assert list_presets("resnet*") == []


@pytest.mark.parametrize("look_up", [load_preset, preset_info])
def test_an_unknown_name_proposes_the_closest(look_up):
    with pytest.raises(
        InvalidArgumentError, match=r"no preset 'vit_bse_patch16_224'.* \['vit_base_patch16_224', .*list_presets\(\)"
    ):
        look_up("vit_bse_patch16_224")


def test_a_family_shares_its_config_and_a_preset_overrides_it():
    weights = "[vit_mine.weights]\nfirst = { source = 'timm', url = 'x', config = { activation = 'silu' } }"
    (preset,) = read_family("mine", FAMILY + PRESET + "patch_size = 16\n" + weights)
    assert (preset.name, preset.family, preset.description, preset.source) == ("vit_mine", "mine", "Mine", "ours")
    assert (preset.config.image_size, preset.config.patch_size) == ((32, 32), 16)
    assert preset.weights == {
        "first": Checkpoint(tag="first", source="timm", url="x", license="Apache-2.0", config={"activation": "silu"})
    }


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("[family", "presets/mine.toml", r"is not TOML: Expected '\]' at the end of a table declaration"),
        ("", "presets/mine.toml [family]", r"missing \['description', 'license', 'paper', 'recipe'\]; the known keys are \['config'"),
        ("[family]\npapers = ''", "presets/mine.toml [family]", r"unknown \['papers'\], missing \['description', "),
        (FAMILY + "patchsize = 3", "presets/mine.toml [family.config]", r"unknown \['patchsize'\]; the known keys are \["),
        (FAMILY + PRESET + "top1 = 3", "presets/mine.toml [vit_mine]", r"unknown \['top1'\]; the known keys are \["),
        (FAMILY + "[vit_mine]\nparams = 1", "presets/mine.toml [vit_mine]", r"missing \['source'\]"),
        (FAMILY + "[vit_mine]\nsource = 'ours'", "presets/mine.toml [vit_mine]", r"missing \['params'\]"),
        (FAMILY + PRESET.replace("num_heads = 2", "num_heads = 3"), "presets/mine.toml [vit_mine]", "num_heads=3 does not divide hidden_dim=16"),
        (FAMILY + PRESET + "[vit_mine.weights]\nt = { url = 'x' }", "presets/mine.toml [vit_mine.weights] t", r"missing \['source'\]"),
        (FAMILY + PRESET + WEIGHTS + "top = 3 }", "presets/mine.toml [vit_mine.weights] t", r"unknown \['top'\]"),
        (FAMILY + PRESET + WEIGHTS + "config = { num_heads = 3 } }", "presets/mine.toml [vit_mine.weights] t", "num_heads=3 does not"),
        (FAMILY + PRESET + WEIGHTS + "config = { heads = 3 } }", "presets/mine.toml [vit_mine.weights] t", "no field 'heads'"),
        (FAMILY + PRESET.replace("num_heads = 2", ""), "presets/mine.toml [vit_mine]", r"\['num_heads'\] must be given"),
    ],
)  # fmt: skip
def test_a_faulty_family_is_refused_by_file_and_table(text, where, what):
    with pytest.raises(InvalidArgumentError, match=what) as caught:
        read_family("mine", text)
    assert str(caught.value).startswith(where)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("family = 3", r": expected a table, not family = 3\."),
        ("vit_mine = 3\n" + FAMILY, r": expected a table, not vit_mine = 3\."),
        (FAMILY.split("[family.config]")[0] + "config = 3", r" \[family\]: expected a table, not config = 3\."),
        (FAMILY + PRESET.replace("params = 1", "params = 'many'"), r" \[vit_mine\]: expected a whole number, not params = 'many'\."),
        (FAMILY + PRESET + "weights = 3", r" \[vit_mine\]: expected a table, not weights = 3\."),
    ],
    ids=["family", "preset", "config", "params", "weights"],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused_by_file_and_table(text, message):
    with pytest.raises(InvalidArgumentError, match=r"^presets/mine\.toml" + message):
        read_family("mine", text)


def test_info_imports_no_backend():
    code = (
        "import sys, vit_keras; vit_keras.preset_info('vit_base_patch16_224'); vit_keras.list_presets('*tiny*');"
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch', 'numpy', 'matplotlib', 'keras_tuner'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
