"""Plans: all problems in one report, and each change that makes a file fit is noted and correct.

Tests named `a..` are rows of the table of bad inputs that every reader of weights must refuse.
"""

import numpy as np
import pytest
from safetensors.numpy import save_file
from weights.checkpoints import assert_same_bits, converted, random_weights, safetensors_bytes, shapes_of

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError, WeightMismatchError
from vit_keras.weights import AdaptOptions, open_tensors, plan
from vit_keras.weights.adapt.resize import resize_patches, resize_positions
from vit_keras.weights.mappings.libraries.google import GOOGLE
from vit_keras.weights.mappings.libraries.huggingface import HF_DINOV2
from vit_keras.weights.mappings.libraries.timm import TIMM
from vit_keras.weights.writing import translate

SMALL = ViTConfig(image_size=32, patch_size=8, hidden_dim=24, num_layers=2, num_heads=2, mlp_dim=48)
POSITIONS, KERNEL = "patch_encoder/position_embedding", "patch_encoder/projection/kernel"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.safetensors"


def put(path, config=SMALL, classes=7, table=TIMM, **changes):
    """Writes random weights of a config, with changes to some or, given None, without them; returns them by our names."""
    weights = random_weights(config, classes)
    theirs = translate(weights, config, table) | {name.replace("__", "."): array for name, array in changes.items()}
    theirs = {name: array for name, array in theirs.items() if array is not None}
    np.savez(path, **theirs) if path.suffix == ".npz" else save_file(theirs, path)
    return weights


def made(path, config, classes=7, source="auto", **adapt):
    """Returns the weights that a file makes for a config, and the plan's notes."""
    with open_tensors(path) as file:
        steps = plan(shapes_of(config, classes), config, file, source=source, adapt=AdaptOptions(**adapt))
        return converted(steps, file), steps.notes


def refusal(path, config, classes=7, **adapt) -> str:
    with pytest.raises(WeightMismatchError) as caught:
        made(path, config, classes, **adapt)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "name", "size"),
    [("F8_E4M3", "float8_e4m3fn", 1), ("C64", "complex64", 8), ("I16", "int16", 2), ("F4", "F4", 1)],
)
def test_a13_a14_a_dtype_that_is_no_float_is_refused_by_name(path, dtype, name, size):
    end = 24 * size
    header = {"norm.bias": {"dtype": dtype, "shape": [24], "data_offsets": [0, end]}}
    for tensor in ("patch_embed.proj.weight", "blocks.0.norm1.weight"):
        header[tensor] = {"dtype": "F32", "shape": [0], "data_offsets": [end, end]}
    path.write_bytes(safetensors_bytes(header, bytes(end)))
    assert f"1 of an unsupported dtype: norm.bias of {name}" in refusal(path, SMALL)


@pytest.mark.parametrize("dtype", ["U3", "complex64", "bool", "int32"])
def test_a14_an_npz_without_floats_is_refused_by_name(tmp_path, dtype):
    put(tmp_path / "x.npz", table=GOOGLE, **{"head/bias": np.zeros(7, dtype)})
    assert "1 of an unsupported dtype: head/bias of" in refusal(tmp_path / "x.npz", SMALL)


def test_a16_all_problems_are_in_one_report_that_names_ten_of_each_kind(path):
    extra = {f"extra__{index:03d}": np.zeros(1, "float32") for index in range(300)}
    put(
        path, norm__bias=None, head__weight=None, norm__weight=np.ones(25, "float32"),
        blocks__0__mlp__fc1__bias=np.ones(48, "int64"), **extra,
    )  # fmt: skip
    message = refusal(path, SMALL, head="load")
    for part in (
        "2 missing", "final_norm/beta (norm.bias)", "300 not in the model: extra.000, ", "blocks.0.mlp.fc1.bias of int64",
        "final_norm/gamma is (24,), and norm.weight of (25,) does not fit",
    ):  # fmt: skip
        assert part in message
    assert message.count("extra.") == 10


def test_a17_another_number_of_classes_keeps_the_models_head(path):
    weights = put(path, classes=21)
    found, notes = made(path, SMALL, classes=10)
    assert_same_bits(found, {name: array for name, array in weights.items() if not name.startswith("head/")})
    assert notes == ("head: the file's has 21 classes and 24 features, the model's 10 and 24; the model's own is kept",)
    assert "head/kernel is (24, 10)" in refusal(path, SMALL, classes=10, head="load")


def test_a17_a_head_that_only_one_of_file_and_model_has_is_kept_or_left_out(path):
    put(path, classes=None)
    assert made(path, SMALL)[1] == ("head: the model's own is kept, the file has none",)
    assert "2 missing: head/kernel (head.weight), head/bias (head.bias)" in refusal(path, SMALL, head="load")
    put(path)
    assert made(path, SMALL, classes=None)[1] == ("left out: the file's head",)
    found, notes = made(path, SMALL, head="new")
    assert not any(name.startswith("head/") for name in found)
    assert 'head: the model\'s own is kept, because of head="new"' in notes


@pytest.mark.parametrize("rule", ["bicubic_antialias", "bicubic_offset"])
def test_a18_positions_are_resized_by_the_configs_rule(path, rule):
    weights = put(path)
    found, notes = made(path, SMALL.replace(image_size=(48, 64), position_resize=rule))
    expected = resize_positions(weights[POSITIONS], before=(4, 4), after=(6, 8), rule=rule, num_prefix=1)
    np.testing.assert_array_equal(found[POSITIONS], expected)
    assert notes == (f'positions resized from 4x4 to 6x8 patches by the rule "{rule}"',)


def test_a18_a_grid_that_is_no_square_is_assumed_with_a_note_or_needs_grid_size(path):
    put(path)
    wide = SMALL.replace(image_size=(16, 64))
    assert "positions assumed to be 2x8 patches" in made(path, wide)[1][0]
    assert "resized from 4x4 to 2x8" in made(path, wide, grid_size=(4, 4))[1][0]
    weights = put(path, SMALL.replace(image_size=(16, 48)))
    assert "give grid_size" in refusal(path, SMALL.replace(image_size=40))
    found, _ = made(path, SMALL.replace(image_size=40), grid_size=(2, 6))
    expected = resize_positions(weights[POSITIONS], before=(2, 6), after=(5, 5), rule="bicubic_antialias", num_prefix=1)
    np.testing.assert_array_equal(found[POSITIONS], expected)


@pytest.mark.parametrize("tokens", [("class_token",), ("class_token", "distillation_token")])
def test_a18_positions_of_prefix_tokens_are_added_to_the_tokens_of_a_model_without_such_positions(path, tokens):
    config = SMALL.replace(distillation_token=len(tokens) == 2)
    weights = put(path, config)
    found, notes = made(path, config.replace(position_on_prefix=False))
    np.testing.assert_array_equal(found[POSITIONS], weights[POSITIONS][:, len(tokens) :])
    for index, token in enumerate(tokens):
        name = f"patch_encoder/{token}"
        np.testing.assert_array_equal(found[name], weights[name] + weights[POSITIONS][:, index : index + 1])
    assert notes == (f"positions of {len(tokens)} prefix tokens added to the tokens themselves",)


def test_a18_registers_without_positions_in_the_file_get_zeros(path):
    registers = SMALL.replace(num_registers=4, layer_scale=1.0, pooling="token_and_mean")
    weights = random_weights(registers.replace(position_on_prefix=False))
    theirs = translate(weights, registers, HF_DINOV2)
    table = theirs["embeddings.position_embeddings"]
    theirs["embeddings.position_embeddings"] = np.concatenate([np.ones((1, 1, 24), "float32"), table], axis=1)
    save_file(theirs, path)
    found, notes = made(path, registers)
    np.testing.assert_array_equal(found[POSITIONS][0, :5, 0], [1, 0, 0, 0, 0])
    assert "set to zero" in " ".join(notes)
    folded, _ = made(path, registers.replace(position_on_prefix=False, image_size=64))
    np.testing.assert_array_equal(folded["patch_encoder/class_token"], weights["patch_encoder/class_token"] + 1)
    np.testing.assert_array_equal(folded["patch_encoder/registers"], weights["patch_encoder/registers"])


def test_a18_a19_what_the_layout_reveals_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    put(path)
    message = refusal(path, SMALL.replace(class_token=False, pooling="mean"))
    assert "cls_token" in message
    assert "class_token, distillation_token and num_registers" in message
    theirs = translate(random_weights(SMALL), SMALL, TIMM)
    put(path, blocks__0__mlp__fc1__weight=np.ascontiguousarray(theirs["blocks.0.mlp.fc1.weight"].T))
    assert "block_00/mlp/expand/kernel is (24, 48), and blocks.0.mlp.fc1.weight of (24, 48)" in refusal(path, SMALL)
    put(tmp_path / "x.npz", table=GOOGLE)
    message = refusal(tmp_path / "x.npz", SMALL.replace(num_heads=4))
    assert "query/kernel" in message
    assert "(24, 2, 12)" in message


def test_a20_the_size_of_a_file_of_another_model_is_inferred(path):
    tiny = {"hidden_dim": 192, "num_layers": 12, "num_heads": 3, "mlp_dim": 8, "patch_size": 16, "image_size": 16}
    put(path, ViTConfig(**tiny))
    message = refusal(path, ViTConfig(**{**tiny, "hidden_dim": 96}))
    assert "looks like vit_tiny_patch16: 12 blocks of width 192, patches of 16 px" in message
    assert "the model has 12 blocks of width 96" in message


def test_a_file_with_more_blocks_needs_fewer_layers(tmp_path):
    config = SMALL.replace(num_layers=3)
    weights = put(tmp_path / "x.safetensors", config)
    theirs = translate(weights, config, GOOGLE)
    for name in [name for name in theirs if "encoderblock_0/" in name]:
        blocks = [theirs.pop(name.replace("_0/", f"_{index}/", 1)) for index in range(3)]
        theirs[name.replace("encoderblock_0", "encoderblock")] = np.stack(blocks)
    np.savez(tmp_path / "x.npz", **theirs)
    for path in (tmp_path / "x.safetensors", tmp_path / "x.npz"):
        assert "the file has 3 blocks and the model 2; fewer_layers=True" in refusal(path, SMALL)
        found, notes = made(path, SMALL, fewer_layers=True)
        assert_same_bits(found, {name: array for name, array in weights.items() if "block_02" not in name})
        assert notes == ("the first 2 of 3 blocks are loaded",)
    put(tmp_path / "x.safetensors", SMALL.replace(num_layers=1))
    assert "12 missing" in refusal(tmp_path / "x.safetensors", SMALL, fewer_layers=True)


def test_patches_are_resized_by_the_pseudo_inverse(path):
    weights = put(path)
    found, notes = made(path, SMALL.replace(patch_size=4, image_size=16, patch_resize="bilinear"))
    expected = resize_patches(weights[KERNEL], before=8, after=4, channels=3, rule="bilinear")
    np.testing.assert_array_equal(found[KERNEL], expected)
    assert notes == ('patches resized from 8 to 4 px by the pseudo-inverse of "bilinear"',)
    save_file(weights, path)  # our own names
    assert made(path, SMALL.replace(patch_size=16, image_size=64))[0][KERNEL].shape == (768, 24)


@pytest.mark.parametrize(("channels", "rule"), [(1, "sum"), (6, "repeat")])
def test_channels_are_changed_by_timms_rule_by_default(path, channels, rule):
    weights = put(path)
    config = SMALL.replace(channels=channels)
    found, notes = made(path, config)
    assert notes == (f'channels changed from 3 to {channels} by the rule "{rule}"',)
    assert found[KERNEL].shape == (64 * channels, 24)
    np.testing.assert_allclose(found[KERNEL].sum(), weights[KERNEL].sum(), rtol=1e-4)
    assert '"mean"' in made(path, config, channels="mean")[1][0]


@pytest.mark.parametrize(
    ("file", "model", "left_out"),
    [
        ({"pre_logits_dim": 24}, {"pre_logits_dim": None}, "pre_logits"),
        ({"pooling": "map", "class_token": False}, {"pooling": "mean", "class_token": False}, "pooling"),
    ],
)
def test_a_head_after_layers_that_the_model_lacks_is_refused_or_new(tmp_path, file, model, left_out):
    path, config, (field, value) = tmp_path / "x.npz", SMALL.replace(**model), next(iter(model.items()))
    put(path, SMALL.replace(**file), table=GOOGLE)
    theirs = f"{field}={file[field]!r}"
    assert f"trained on features of {theirs}, and the model has {field}={value!r}" in refusal(path, config)
    for notes in (made(path, config, classes=3)[1], made(path, config, head="new")[1]):
        assert f"left out: the file's {left_out}" in notes
    note = f"the file's model has {theirs}, this one {field}={value!r}: its features differ from the file's"
    assert left_out != "pooling" or note in notes


def test_names_that_say_nothing_or_the_same_or_come_from_another_library_are_refused(path):
    put(path, **{"module.norm.bias": np.ones(24, "float32"), "mask_token": np.ones(24, "float32")})
    assert "are the same tensor" in refusal(path, SMALL)
    put(path)
    assert 'no file of source="google" but looks like one of "timm"' in refusal(path, SMALL, source="google")
    save_file({"conv1.weight": np.ones(3)}, path)
    with pytest.raises(WeightMismatchError, match=r"no Vision Transformer.*conv1\.weight"):
        made(path, SMALL)


def test_a_plan_reads_no_tensor(path, monkeypatch):
    put(path)
    with open_tensors(path) as file:
        monkeypatch.setattr(file, "read", None)
        text = plan(shapes_of(SMALL, 3), SMALL, file).describe(each=True)
    assert text.splitlines()[:2] == [f"{path}: timm (timm's VisionTransformer or Eva)", "30 tensors become 30 weights"]
    assert "block_01/attention/qkv/kernel <- blocks.1.attn.qkv.weight" in text


@pytest.mark.parametrize(
    "values",
    [{"head": "renew"}, {"channels": "max"}, {"grid_size": (4,)}, {"grid_size": (0, 4)}, {"grid_size": ("4", 4)}],
)
def test_illegal_options_are_refused(values):
    with pytest.raises(InvalidArgumentError, match=next(iter(values))):
        AdaptOptions(**values)
