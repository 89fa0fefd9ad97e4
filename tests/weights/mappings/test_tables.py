"""The mapping tables: every kind of model to each library's names and back gives the same bits."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from weights.checkpoints import CONFIGS, assert_same_bits, converted, random_weights, shapes_of

from vit_keras.cli.commands.weights.convert import convert_command
from vit_keras.errors import InvalidArgumentError, WeightMismatchError
from vit_keras.weights import load, open_tensors, plan, write_tensors
from vit_keras.weights.mappings.libraries.google import GOOGLE
from vit_keras.weights.mappings.libraries.meta import OPENAI_CLIP, PERCEPTION, PERCEPTION_CORE
from vit_keras.weights.mappings.libraries.timm import TIMM, timm_table
from vit_keras.weights.mappings.sources import SOURCES, TABLES, find_table
from vit_keras.weights.mappings.tables import GAP
from vit_keras.weights.writing import translate
from vit_keras.zoo.from_preset import from_preset

GOLDEN = Path(__file__).parents[2] / "golden" / "timm"
SMALL = CONFIGS["vit_patch8"]


def read(path, config, num_classes=7, left_out=(), **arguments):
    """Returns a file's weights for a config; all tensors but those left out must be used."""
    with open_tensors(path) as file:
        steps = plan(shapes_of(config, num_classes), config, file, **arguments)
        assert {name for step in steps.steps for name in step.sources} | set(left_out) == file.tensors.keys()
        return converted(steps, file)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_kind_of_model_is_translated_to_timms_names_and_back(tmp_path, name):
    config, weights = CONFIGS[name], random_weights(CONFIGS[name])
    theirs = translate(weights, config, timm_table(config))
    assert find_table(theirs).source == "timm"
    for tensors in (theirs, weights):  # and our own names
        write_tensors(tensors, tmp_path / "x.safetensors")
        assert_same_bits(read(tmp_path / "x.safetensors", config), weights)


@pytest.mark.parametrize(
    "path", sorted(set(GOLDEN.glob("*.safetensors")) - set(GOLDEN.glob("*.reference.*"))), ids=lambda path: path.stem
)
def test_timms_files_are_read_and_written_exactly(tmp_path, path):
    config = CONFIGS[path.stem]
    tensors = load_file(path).items()
    theirs = {name.removeprefix("weights/"): array for name, array in tensors if name.startswith("weights/")}
    save_file(theirs, tmp_path / "x.safetensors")
    weights = read(tmp_path / "x.safetensors", config)
    assert_same_bits(translate(weights, config, timm_table(config)), theirs)


GOOGLES = {
    "plain": SMALL,
    "map": SMALL.replace(class_token=False, pooling="map"),
    "pre_logits": SMALL.replace(pre_logits_dim=24),
}


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("plain", ""), ("map", "params/"), ("pre_logits", "opt/target/"), ("map", "params/img/"), ("map", "img/")],
)
@pytest.mark.parametrize("is_stacked", [False, True])  # big_vision's scan form
def test_googles_files_are_read_with_any_prefix(tmp_path, name, prefix, is_stacked):
    weights = random_weights(GOOGLES[name])
    theirs = translate(weights, GOOGLES[name], GOOGLE)
    assert theirs["Transformer/encoderblock_0/MultiHeadDotProductAttention_0/query/kernel"].shape == (48, 3, 16)
    for key in [key for key in theirs if "encoderblock_0/" in key and is_stacked]:
        blocks = [theirs.pop(key.replace("_0/", f"_{index}/", 1)) for index in range(2)]
        theirs[key.replace("encoderblock_0", "encoderblock")] = np.stack(blocks)
    others = ["params/txt/head/kernel", "params/t", "opt/state/m"] if prefix == "params/img/" else []
    theirs = {prefix + key: array for key, array in theirs.items()}
    np.savez(tmp_path / "x.npz", **theirs, **{key: np.ones(1) for key in others})
    assert_same_bits(read(tmp_path / "x.npz", GOOGLES[name], left_out=others), weights)


@pytest.mark.parametrize("place", ["Transformer/posembed_input/pos_embedding", "Transformer/pos_embedding"])
def test_googles_older_layouts_are_read(tmp_path, place):
    config = GOOGLES["map"]
    weights = random_weights(config)
    attention = "MultiHeadDotProductAttention_"
    older = {"LayerNorm_1": "LayerNorm_2", f"{attention}0": f"{attention}1", "MlpBlock_0": "MlpBlock_3"}
    theirs = {}
    for key, array in translate(weights, config, GOOGLE).items():
        name = place if key == "pos_embedding" else key.removeprefix("MAPHead_0/")
        for new, old in older.items() if "encoderblock" in key else ():
            name = name.replace(new, old)
        theirs[name] = array
    np.savez(tmp_path / "x.npz", **theirs)
    assert_same_bits(read(tmp_path / "x.npz", config), weights)


METAS = {
    "DINOv2": (CONFIGS["dinov2"], {}, {"mask_token": (1, 48)}),
    "DINOv2 with SwiGLU": (CONFIGS["dinov2_swiglu"], {".fc1.": ".w12.", ".fc2.": ".w3."}, {"mask_token": (1, 48)}),
    "MAE": (SMALL, {}, {"mask_token": (1, 1, 48), "decoder_embed.weight": (8, 48), "decoder_blocks.0.norm1.weight": (8,)}),
    "DINOv3": (
        CONFIGS["dinov3_gated"].replace(qkv_bias="none"),
        {"reg_token": "storage_tokens", ".fc1_g.": ".w1.", ".fc1_x.": ".w2.", ".fc2.": ".w3.", ".gamma_": ".ls_gamma_"},
        {"rope_embed.periods": (4,), "blocks.0.attn.qkv.bias_mask": (144,), "local_cls_norm.weight": (48,)},
    ),
    "BAAI's EVA-02": (
        CONFIGS["eva02_clip"],
        {
            ".fc1_g.": ".w1.", ".fc1_x.": ".w2.", ".fc2.": ".w3.", "mlp.norm.": "mlp.ffn_ln.", "attn.norm.": "attn.inner_attn_ln.",
            "q_proj.bias": "q_bias", "v_proj.bias": "v_bias",
        },
        {"rope.freqs_cos": (4,), "blocks.0.attn.rope.freqs_sin": (4,)},
    ),
    "OpenAI's CLIP": (
        CONFIGS["clip"], {},
        {"positional_embedding": (77, 8), "transformer.resblocks.0.ln_1.weight": (8,), "logit_scale": ()},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", METAS)
def test_metas_names_are_read_and_other_towers_left_out(tmp_path, name):
    config, renames, more = METAS[name]
    is_clip = "CLIP" in name
    weights = random_weights(config) | ({"head/bias": np.zeros(7, "float32")} if is_clip else {})
    theirs = {key: np.ones(shape, "float32") for key, shape in more.items()}
    for key, array in translate(weights, config, OPENAI_CLIP if is_clip else TIMM).items():
        spelled = key
        for new, old in renames.items():
            spelled = spelled.replace(new, old)
        theirs[spelled.replace("ls_gamma_1", "ls1.gamma").replace("ls_gamma_2", "ls2.gamma")] = array
    assert not is_clip or theirs["visual.proj"].shape == (48, 7)
    save_file(theirs, tmp_path / "x.safetensors")
    assert_same_bits(read(tmp_path / "x.safetensors", config, left_out=more), weights)
    assert find_table(theirs).source == "meta"


PERCEPTIONS = {
    "pe_core": (PERCEPTION_CORE, "visual.", {"positional_embedding": (32, 8), "transformer.resblocks.0.ln_1.weight": (8,)}),
    "pe_lang": (PERCEPTION, "", {}),
    "pe_spatial_gigantic": (PERCEPTION, "", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", PERCEPTIONS)
def test_perception_encoders_own_names_are_read(tmp_path, name):
    table, prefix, more = PERCEPTIONS[name]
    config, classes = CONFIGS[name], 7 if name == "pe_core" else None
    weights = random_weights(config, classes) | ({"head/bias": np.zeros(7, "float32")} if classes else {})
    theirs = translate(weights, config, table)
    shapes = {
        "conv1.weight": (24, 3, 8, 8), "positional_embedding": (16 + config.class_token, 24), "ln_pre.weight": (24,),
        "transformer.resblocks.1.attn.in_proj_weight": (72, 24), "transformer.resblocks.1.mlp.c_fc.bias": (config.mlp_dim,),
    }  # fmt: skip
    shapes |= {"class_embedding": (24,)} if config.class_token else {}
    shapes |= {"transformer.resblocks.1.ls_2.gamma": (24,)} if config.layer_scale else {}
    shapes |= {"proj": (24, 7), "attn_pool.probe": (1, 1, 24), "attn_pool.attn.in_proj_bias": (72,)} if classes else {}
    assert {key: theirs[prefix + key].shape for key in shapes} == shapes
    theirs |= {key: np.ones(shape, "float32") for key, shape in more.items()}
    save_file(theirs, tmp_path / "x.safetensors")
    assert_same_bits(read(tmp_path / "x.safetensors", config, classes, left_out=more), weights)
    assert find_table(theirs).title == table.title


@pytest.mark.parametrize("name", PERCEPTIONS)
def test_perception_encoders_own_names_are_timms(name):
    timm_eva, torch = pytest.importorskip("timm.models.eva"), pytest.importorskip("torch")
    table, prefix, _ = PERCEPTIONS[name]
    config, classes = CONFIGS[name], 7 if name == "pe_core" else None
    weights = random_weights(config, classes) | ({"head/bias": np.zeros(7, "float32")} if classes else {})
    theirs = translate(weights, config, table)
    timms = timm_eva._convert_pe({key: torch.tensor(array) for key, array in theirs.items()}, None, prefix)
    assert_same_bits(
        {key: value.numpy() for key, value in timms.items()}, translate(weights, config, timm_table(config))
    )


def test_apples_names_of_aimv2_are_read(tmp_path):
    config = CONFIGS["aimv2"]
    weights = random_weights(config, None)
    theirs = {}
    for key, array in translate(weights, config, TIMM).items():
        for pattern, name in (
            (r"^patch_embed\.", "preprocessor.patchifier."),
            (r"^pos_embed$", "preprocessor.pos_embed"),
            (r"^norm\.", "trunk.post_trunk_norm."),
            (r"^blocks\.", "trunk.blocks."),
            (r"\.norm(\d)\.", r".norm_\1."),
            (r"\.fc1_g\.", ".fc1."),
            (r"\.fc1_x\.", ".fc3."),
        ):
            key = re.sub(pattern, name, key)
        theirs[key] = array
    assert "trunk.blocks.1.mlp.fc3.weight" in theirs
    save_file(theirs, tmp_path / "x.safetensors")
    assert_same_bits(read(tmp_path / "x.safetensors", config, None), weights)
    assert find_table(theirs).title == "Apple's AIMv2"


@pytest.mark.parametrize("name", ["beit", "beit_shared"])
@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_microsofts_files_of_beit_are_read(tmp_path, name, prefix):
    config = CONFIGS[name]
    weights = random_weights(config)
    more = {"mask_token": (1, 1, 24), "lm_head.weight": (8, 24), "lm_head.bias": (8,)}
    index = {"beit": "blocks.0.attn.relative_position_index", "beit_shared": "rel_pos_bias.relative_position_index"}
    theirs = {prefix + key: np.zeros(shape, "float32") for key, shape in more.items()}
    theirs[prefix + index[name]] = np.zeros((25, 25), "int64")
    left_out = list(theirs)
    theirs |= {prefix + key: array for key, array in translate(weights, config, TIMM).items()}
    save_file(theirs, tmp_path / "x.safetensors")
    assert_same_bits(read(tmp_path / "x.safetensors", config, left_out=left_out), weights)
    assert find_table(theirs).title.startswith("timm's or Microsoft's BEiT")


def test_blocks_that_are_not_built_are_refused_by_name(tmp_path):
    config = CONFIGS["vit_patch8"]
    plain = translate(random_weights(config), config, TIMM)
    for name, message in (
        ("blocks.0.attn.rel_pos_h", "attention has relative positions along rows and columns, as in SAM"),
        ("blocks.1.attn.proj_l.weight", "attention heads are mixed, as in CaiT"),
    ):
        save_file({**plain, name: np.ones(3, "float32")}, tmp_path / "x.safetensors")
        with pytest.raises(WeightMismatchError, match=f"{message}, which vit_keras does not build"):
            read(tmp_path / "x.safetensors", config)


@pytest.mark.parametrize("prefix", ["", "module.", "module.backbone.", "teacher.backbone."])
def test_source_meta_reads_timms_names_with_metas_prefixes(tmp_path, prefix):
    weights = random_weights(SMALL)
    theirs = {prefix + key: array for key, array in translate(weights, SMALL, TIMM).items()}
    save_file(theirs, tmp_path / "x.safetensors")
    assert_same_bits(read(tmp_path / "x.safetensors", SMALL, source="meta"), weights)


def test_dinov3s_masked_biases_of_keys_are_left_out(tmp_path):
    config = CONFIGS["dinov3_gated"]
    weights = random_weights(config)
    theirs = translate(weights, config, TIMM)
    theirs["storage_tokens"] = theirs.pop("reg_token")
    for block in range(2):
        query, value = (theirs.pop(f"blocks.{block}.attn.{name}_bias") for name in "qv")
        theirs[f"blocks.{block}.attn.qkv.bias"] = np.concatenate([query, np.full(48, 5, "float32"), value])
    save_file(theirs, tmp_path / "x.safetensors")
    assert_same_bits(read(tmp_path / "x.safetensors", config), weights)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title)
def test_every_table_has_known_weights_block_numbers_and_canonical_names(table):
    known = {name.replace("block_00", "block_{i}") for config in CONFIGS.values() for name in shapes_of(config)}
    known |= {"pre_logits/kernel", "pre_logits/bias", "patch_encoder/norm/beta"}
    for item in table.rows:
        assert set(item.targets) - {GAP} <= known or item.targets[0].startswith("conv_stem/"), item
        for way in item.ways:
            assert not item.is_per_block or way.is_per_block or way.stacked is not None, item
            assert way.names or item.targets in (("head/bias",), ("patch_encoder/projection/bias",)), item
            names = [name.replace("{i}", "3") for name in way.names]
            assert [table.canonical(name) for name in names] == names


def test_an_unknown_source_is_named_with_the_nearest():
    with pytest.raises(InvalidArgumentError, match="did you mean 'timm'"):
        find_table(["a"], "tim")


def test_each_text_that_lists_the_sources_has_them_all():
    (option,) = inspect.signature(convert_command, eval_str=True).parameters["source"].annotation.__metadata__
    for text in (option.help, from_preset.__doc__, load.__doc__):
        assert {name for name in SOURCES if name not in text} == set()
