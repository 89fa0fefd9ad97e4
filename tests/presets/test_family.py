import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.presets import Checkpoint
from vit_keras.presets.family import read_family

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


def test_a_family_shares_its_config_and_a_preset_overrides_it():
    weights = "[vit_mine.weights]\nfirst = { source = 'timm', url = 'x', config = { activation = 'silu' } }"
    (preset,) = read_family("presets/mine.toml", FAMILY + PRESET + "patch_size = 16\n" + weights)
    assert (preset.name, preset.family, preset.description, preset.source) == ("vit_mine", "mine", "Mine", "ours")
    assert (preset.config.image_size, preset.config.patch_size) == ((32, 32), 16)
    assert preset.weights == {
        "first": Checkpoint(tag="first", source="timm", url="x", license="Apache-2.0", config={"activation": "silu"})
    }


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("[family", "presets/mine.toml", r"is not TOML: Expected '\]' at the end of a table declaration"),
        ("", "presets/mine.toml [family]", r"missing description, license, paper, recipe; the known keys are config"),
        ("[family]\npapers = ''", "presets/mine.toml [family]", r"unknown papers, missing description, "),
        (FAMILY + "patchsize = 3", "presets/mine.toml [family.config]", r"unknown patchsize; the known keys are "),
        (FAMILY + PRESET + "top1 = 3", "presets/mine.toml [vit_mine]", r"unknown top1; the known keys are "),
        (FAMILY + "[vit_mine]\nparams = 1", "presets/mine.toml [vit_mine]", r"missing source"),
        (FAMILY + "[vit_mine]\nsource = 'ours'", "presets/mine.toml [vit_mine]", r"missing params"),
        (FAMILY + PRESET.replace("num_heads = 2", "num_heads = 3"), "presets/mine.toml [vit_mine]", "num_heads=3 does not divide hidden_dim=16"),
        (FAMILY + PRESET + "[vit_mine.weights]\nt = { url = 'x' }", "presets/mine.toml [vit_mine.weights] t", r"missing source"),
        (FAMILY + PRESET + WEIGHTS + "file = 'y' }", "presets/mine.toml [vit_mine.weights] t", "expected either url, an address, or file, a directory"),
        (FAMILY + PRESET + WEIGHTS + "top = 3 }", "presets/mine.toml [vit_mine.weights] t", r"unknown top"),
        (FAMILY + PRESET + WEIGHTS + "config = { num_heads = 3 } }", "presets/mine.toml [vit_mine.weights] t", "num_heads=3 does not"),
        (FAMILY + PRESET + WEIGHTS + "config = { heads = 3 } }", "presets/mine.toml [vit_mine.weights] t", "no field 'heads'"),
        (FAMILY + PRESET.replace("num_heads = 2", ""), "presets/mine.toml [vit_mine]", r"num_heads must be given"),
        ("family = 3", "presets/mine.toml", r": expected a table, not family = 3\."),
        ("vit_mine = 3\n" + FAMILY, "presets/mine.toml", r": expected a table, not vit_mine = 3\."),
        (FAMILY.split("[family.config]")[0] + "config = 3", "presets/mine.toml [family]", r": expected a table, not config = 3\."),
        (FAMILY.replace('"Mine"', "3"), "presets/mine.toml [family]", r": expected a string, not description = 3\."),
        (FAMILY + PRESET.replace("params = 1", "params = 'many'"), "presets/mine.toml [vit_mine]", r": expected an integer, not params = 'many'\."),
        (FAMILY + PRESET + "weights = 3", "presets/mine.toml [vit_mine]", r": expected a table, not weights = 3\."),
    ],
)  # fmt: skip
def test_a_faulty_family_is_refused_by_file_and_table(text, where, what):
    with pytest.raises(InvalidArgumentError, match=what) as caught:
        read_family("presets/mine.toml", text)
    assert str(caught.value).startswith(where)
