import json
import re

import keras

import vit_keras
from vit_keras.presets import preset_info


def test_info_shows_numbers_source_and_every_field_and_json_what_preset_info_says(run):
    code, out, _ = run("info", "vit_base_patch16_224")
    assert code == 0
    rows = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in out.splitlines() if "  " in line.strip())
    expected = {"parameters": "85,798,656", "tokens": "197", "license": "Apache-2.0", "hidden_dim": "768"}
    assert rows | expected == rows
    info = preset_info("vit_base_patch16_224")
    assert info["config"].keys() <= rows.keys()
    assert json.loads(run("info", "vit_base_patch16_224", "--json")[1]) == info


def test_an_unknown_preset_exits_2_and_suggests_the_closest(refused):
    out = refused(2, "There is no preset 'vit_base_patch16_225'", "info", "vit_base_patch16_225")
    assert out == refused(2, "closest names are vit_base_patch16_224,", "info", "vit_base_patch16_225") == ""


def test_the_attention_kernel_of_this_machine_is_shown_with_its_reason(run):
    code, out, _ = run("info", "vit_nano_conv8_32", "--attention", "--json")
    assert code == 0
    kernel = json.loads(out)["attention"]
    assert kernel.keys() == {"name", "padding", "reason", "has_padding", "description"}
    assert kernel["name"]
    assert kernel["name"] in run("info", "vit_nano_conv8_32", "--attention")[1]


def test_relatives_and_label_sets_are_shown(run):
    out = run("info", "vit_small_patch16_224")[1]
    rows = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in out.splitlines() if "  " in line.strip())
    assert rows["next smaller"] == "vit_tiny_patch16_224"
    assert rows["next larger"] == "vit_base_patch16_224"
    assert "vit_small_patch16_384" in out
    assert "augreg_in21k: 21,843 classes of imagenet-21k" in out


def test_names_of_timm_and_hugging_face_show_the_preset_and_what_is_taken(run, refused):
    for word in ("vit_tiny_patch16_224.augreg_in21k", "timm/vit_tiny_patch16_224.augreg_in21k"):
        code, out, _ = run("info", word)
        assert code == 0
        assert "vit_tiny_patch16_224:augreg_in21k" in out
    out = " ".join(run("info", "openai/clip-vit-base-patch32")[1].split())
    assert "vit_base_patch32_clip_quickgelu_224:openai" in out
    assert "the image tower with its projection, without the text tower" in out
    refused(2, "its tags are augreg_in21k, augreg_in21k_ft_in1k", "info", "vit_tiny_patch16_224.nope")
    refused(6, "hf download google/vit-huge-patch99 --local-dir vit-huge-patch99", "info", "google/vit-huge-patch99")


def test_without_a_name_it_shows_what_a_bug_report_needs(run, refused):
    code, out, _ = run("info", "--json")
    assert code == 0
    info = json.loads(out)
    assert info.keys() == {
        "python",
        "versions",
        "backend",
        "devices",
        "processor",
        "cores",
        "parallel_operations",
        "system",
    }
    assert info["versions"]["keras"] == keras.__version__
    assert info["versions"]["vit-keras-zoo"] == vit_keras.__version__
    code, out, _ = run("info")
    assert code == 0
    rows = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out.splitlines())
    assert rows["keras"] == keras.__version__
    assert rows["backend"] == keras.backend.backend()
    refused(2, "--attention is for a preset: give its name", "info", "--attention")
