import re

import pytest

from vit_keras import list_presets, load_preset, preset_info
from vit_keras.errors import InvalidArgumentError
from vit_keras.presets.catalog import find_name
from vit_keras.presets.names import PresetName, published_models

TINY = PresetName(preset="vit_tiny_patch16_224", tag="augreg_in21k")


@pytest.mark.parametrize(
    "word",
    [
        "vit_tiny_patch16_224:augreg_in21k",
        "vit_tiny_patch16_224.augreg_in21k",
        "timm/vit_tiny_patch16_224.augreg_in21k",
        "hf_hub:timm/vit_tiny_patch16_224.augreg_in21k",
        "hf-hub:timm/vit_tiny_patch16_224.augreg_in21k",
        "hf://timm/vit_tiny_patch16_224.augreg_in21k",
        "https://huggingface.co/timm/vit_tiny_patch16_224.augreg_in21k/",
    ],
)
def test_every_way_to_write_weights_names_the_same(word):
    assert find_name(word) == TINY
    assert load_preset(word).name == preset_info(word)["name"] == TINY.preset


def test_a_name_without_a_tag_is_the_preset():
    for word in ("vit_tiny_patch16_224", "timm/vit_tiny_patch16_224", "hf_hub:timm/vit_tiny_patch16_224"):
        assert find_name(word) == PresetName(preset="vit_tiny_patch16_224")


def test_weights_on_hugging_face_are_found_by_their_address_and_by_the_other_name_they_have():
    assert find_name("facebook/ijepa_vith14_1k") == PresetName(preset="vit_huge_patch14_gap_224", tag="in1k_ijepa")
    found = find_name("openai/clip-vit-base-patch32")
    assert (found.preset, found.tag) == ("vit_base_patch32_clip_quickgelu_224", "openai")
    assert found.taken == "the image tower with its projection, without the text tower"
    assert find_name("hf_hub:Facebook/DINOv2-Base") == find_name("facebook/dinov2-base")
    # timm's own name of the same file keeps timm's architecture.
    assert find_name("timm/vit_base_patch32_clip_224.openai").preset == "vit_base_patch32_clip_224"


WIDTHS = {
    "radiov3-b$": 768, "radiov3-l$": 1024, "radiov[34]-h$": 1280, "radiov3-g$": 1536, "pe-.*-t16": 192, "pe-.*-s16": 384, "pe-.*-g14|aimv2-huge|dinov2.*giant|giant-opt": 1536, "aimv2-1b": 2048, "aimv2-3b": 3072,
    "bigg": 1664, "-g-14": 1408, "7b16": 4096, "so400m": 1152, "tiny": 192, "small|vits": 384, "base|vitb|-b-?16|-b-?32": 768,
    "large|vitl|-l-?14": 1024, "huge|vith|-h-?14": 1280,
}  # fmt: skip
"""Width of a model by what is in its name; the first that is in it counts."""


@pytest.mark.parametrize("word", sorted(published_models()))
def test_a_published_model_has_the_sizes_that_its_name_states(word):
    found, name = published_models()[word], word.lower()
    config = load_preset(found.preset).config
    assert found.tag in load_preset(found.preset).weights
    assert config.hidden_dim == next(width for part, width in WIDTHS.items() if re.search(part, name))
    patch = re.search(r"patch(\d+)|(?:vit[sblh7]?|metaclip|pe-[a-z]+)b?-?[blhgts]*-?(\d+)(?:-|plus|$)", name)
    if patch is not None:
        assert config.patch_size == int(patch[1] or patch[2])
    size = re.search(r"patch\d+-(\d{3})|-(\d{3})x\d{3}-", name)
    if size is not None:
        assert config.image_size == (int(size[1] or size[2]),) * 2
    assert ("distilled-" in name) == config.distillation_token  # AIMv2's are distilled without a token
    if "radio" not in name:
        assert config.num_registers == (4 if re.search("registers|dinov3", name) else 0)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("google/vit-base-patch16-224", "ViTConfig"),
        ("facebook/deit-base-patch16-224", "DeiTConfig"),
        ("microsoft/beit-base-patch16-224", "BeitConfig"),
        ("facebook/vit-mae-base", "ViTMAEConfig"),
        ("facebook/dinov2-base", "Dinov2Config"),
        ("facebook/dinov3-vitb16-pretrain-lvd1689m", "DINOv3ViTConfig"),
        ("openai/clip-vit-base-patch32", "CLIPVisionConfig"),
        ("google/siglip-base-patch16-224", "SiglipVisionConfig"),
    ],
)
def test_the_settings_are_those_of_the_published_config(word, kind):
    """Their config.json files state neither, so transformers' defaults are theirs."""
    theirs = getattr(pytest.importorskip("transformers"), kind)()
    found = find_name(word)
    config = load_preset(found.preset).config.replace(**found.config)
    names = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_pytorch_tanh": "gelu_tanh"}
    assert (config.norm_epsilon, config.activation) == (theirs.layer_norm_eps, names[theirs.hidden_act])


@pytest.mark.parametrize(
    "word", ["vit_tiny_patch16_224.nope", "timm/vit_tiny_patch16_224.nope", "vit_tiny_patch16_224:nope"]
)
def test_an_unknown_tag_lists_the_tags(word):
    tags = r"no weights 'nope': its tags are augreg_in21k, augreg_in21k_ft_in1k"
    with pytest.raises(InvalidArgumentError, match=tags):
        find_name(word)


def test_an_unknown_model_gets_the_nearest_and_what_to_do():
    assert find_name("google/vit-bse-patch16-224") is find_name("resnet50") is None
    with pytest.raises(
        InvalidArgumentError,
        match=r" google/vit-base-patch16-224, .*`hf download google/vit-bse-patch16-224 --local-dir vit-bse",
    ):
        load_preset("google/vit-bse-patch16-224")
    with pytest.raises(InvalidArgumentError, match=r"closest names are vit_tiny_patch16_224"):
        load_preset("timm/vit_tny_patch16_224.augreg_in21k")


def test_a_registered_preset_has_these_names_too(tmp_path, monkeypatch):
    import vit_keras as vk
    from vit_keras.presets.family import read_family

    monkeypatch.setenv("VIT_KERAS_PRESETS", "")
    text = (
        '[family]\ndescription = "Ours"\npaper = ""\nlicense = "MIT"\nrecipe = "from_scratch"\n'
        '["our.vit_8"]\nsource = "us"\nparams = 1\nimage_size = 16\npatch_size = 8\nhidden_dim = 16\nnum_layers = 1\nnum_heads = 2\n'
        'mlp_dim = 32\n["our.vit_8".weights]\nbest = { source = "timm", url = "hf://us/our-vit/model.safetensors" }\n'
    )
    (preset,) = read_family("ours.toml", text)
    (tmp_path / "ours.toml").write_text(text.replace("params = 1", f"params = {preset.config.num_params}"))
    vk.register_presets(tmp_path / "ours.toml")
    assert "our.vit_8" in list_presets()
    for word in ("our.vit_8:best", "us/our-vit", "hf_hub:us/our-vit"):
        assert find_name(word) == PresetName(preset="our.vit_8", tag="best")
