import json
import re

from vit_keras.presets import preset_info


def test_info_shows_numbers_source_and_every_field(run):
    code, out, _ = run("info", "vit_base_patch16_224")
    assert code == 0
    rows = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in out.splitlines() if "  " in line.strip())
    expected = {"parameters": "85,798,656", "tokens": "197", "license": "Apache-2.0", "hidden_dim": "768"}
    assert rows | expected == rows
    assert preset_info("vit_base_patch16_224")["config"].keys() <= rows.keys()


def test_json_is_what_preset_info_says(run):
    code, out, _ = run("info", "vit_base_patch16_224", "--json")
    assert code == 0
    assert json.loads(out) == preset_info("vit_base_patch16_224")


def test_an_unknown_preset_exits_2_and_suggests_the_closest(run):
    code, out, err = run("info", "vit_base_patch16_225")
    assert (code, out) == (2, "")
    assert "There is no preset 'vit_base_patch16_225'" in err
    assert "'vit_base_patch16_224'" in err


def test_the_attention_kernel_of_this_machine_is_shown_with_its_reason(run):
    code, out, _ = run("info", "vit_nano_conv8_32", "--attention", "--json")
    assert code == 0
    kernel = json.loads(out)["attention"]
    assert kernel.keys() == {"name", "padding", "reason", "description"}
    assert kernel["name"]
    assert kernel["name"] in run("info", "vit_nano_conv8_32", "--attention")[1]
