"""ONNX graphs compute what numpy computes from the same config and weights, for every option of `ViTConfig`."""

from dataclasses import fields
from typing import get_args, get_type_hints

import keras
import numpy as np
import onnx
import oracle
import pytest
from explain.families import FAMILIES, PARAMETERS
from exporting.onnx.graphs import describe, run_graph

from vit_keras import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.exporting.onnx.writer import write_graph
from vit_keras.models import architecture
from vit_keras.presets import load_preset
from vit_keras.weights.adapt.resize import resize_positions

CONFIG = ViTConfig(
    image_size=(12, 16), patch_size=4, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=24, pixel_mean=(0.4, 0.5, 0.6),
    pixel_std=(0.2, 0.3, 0.4), norm_epsilon=1e-5,
)  # fmt: skip
ROTARY = {"rotary_embedding": "axial"}
# Of each field other values than the default; those that only matter in training or loading change nothing.
VALUES = {
    "image_size": [{"image_size": (8, 24)}],
    "patch_size": [{"patch_size": 2}],
    "hidden_dim": [{"hidden_dim": 24}],
    "num_layers": [{"num_layers": 1}],
    "num_heads": [{"num_heads": 4}],
    "mlp_dim": [{"mlp_dim": 40}],
    "channels": [{"channels": 1, "pixel_mean": 0.4, "pixel_std": 0.2}],
    "dynamic_image_size": [{"dynamic_image_size": True}],
    "pixel_mean": [{"pixel_mean": 0.1}],
    "pixel_std": [{"pixel_std": 0.7}],
    "stem": [{"stem": "conv"}],
    "patch_bias": [{"patch_bias": False}],
    "class_token": [{"class_token": False, "pooling": "mean"}],
    "distillation_token": [{"distillation_token": True, "num_registers": 1}],
    "distillation_head": [{"distillation_token": True, "distillation_head": False}],
    "num_registers": [{"num_registers": 3}],
    "position_embedding": [
        {"position_embedding": "sincos2d"},
        {"position_embedding": "sincos2d_mae"},
        {"position_embedding": "none"},
    ],
    "position_on_prefix": [{"position_on_prefix": False, "num_registers": 2}],
    "position_resize": [{"position_resize": "bicubic_offset"}],
    "patch_resize": [{"patch_resize": "bilinear"}],
    "rotary_embedding": [
        {"rotary_embedding": "axial", "pooling": "mean"},
        {"rotary_embedding": "mixed", "num_registers": 1},
        {"rotary_embedding": "centered"},
    ],
    "rotary_temperature": [{**ROTARY, "rotary_temperature": 10.0}],
    "rotary_order": [{**ROTARY, "rotary_order": "xy"}, {"rotary_embedding": "mixed", "rotary_order": "xy"}],
    "rotary_reference": [{**ROTARY, "rotary_reference": (5, 7)}],
    "stem_norm": [{"stem_norm": True}],
    "qkv_bias": [{"qkv_bias": "query_value"}, {"qkv_bias": "none"}],
    "qk_norm": [{"qk_norm": True}],
    "parallel_block": [{"parallel_block": True, "layer_scale": 0.1}],
    "gated_mlp": [{"gated_mlp": True, "activation": "silu"}],
    "attention_inner_norm": [{"attention_inner_norm": True}, {"attention_inner_norm": True, "norm": "rms"}],
    "mlp_inner_norm": [{"mlp_inner_norm": True}],
    "pre_logits_dim": [{"pre_logits_dim": 8}],
    "pooling": [{"pooling": "mean"}, {"pooling": "token_and_mean"}, {"pooling": "map", "class_token": False}],
    "map_includes_prefix": [{"pooling": "map", "map_includes_prefix": False, "num_registers": 1}],
    "final_norm": [{"final_norm": "after", "pooling": "mean"}, {"final_norm": "none"}],
    "norm_epsilon": [{"norm_epsilon": 0.01}],
    "activation": [{"activation": "gelu_tanh"}, {"activation": "quick_gelu"}, {"activation": "silu"}],
    "layer_scale": [{"layer_scale": 0.1}],
    "dropout_rate": [{"dropout_rate": 0.1}],
    "attention_dropout_rate": [{"attention_dropout_rate": 0.1}],
    "stochastic_depth_rate": [{"stochastic_depth_rate": 0.1}],
    "remat": [{"remat": "block"}],
    "partial_patches": [{"partial_patches": "crop", "image_size": (14, 19)}],
    "rotary_offset": [{**ROTARY, "rotary_offset": 1.5, "rotary_reference": (5, 7)}],
    "relative_position": [
        {"relative_position": "table"},
        {"relative_position": "table", "class_token": False, "pooling": "mean"},
        {"relative_position": "mlp", "num_registers": 2},
    ],
    "relative_position_shared": [{"relative_position": "table", "relative_position_shared": True}],
    "relative_position_dim": [{"relative_position": "mlp", "relative_position_dim": 8}],
    "patch_norm": [{"patch_norm": True}, {"patch_norm": True, "norm": "rms"}],
    "differential_attention": [
        {"differential_attention": True},
        {"differential_attention": True, "parallel_block": True},
    ],
    "projection_bias": [{"projection_bias": False}],
    "block_norm": [{"block_norm": "after", "layer_scale": 0.1}],
    "num_map_heads": [{"pooling": "map", "num_map_heads": 4}],
    "map_mlp_dim": [{"pooling": "map", "map_mlp_dim": 40}],
    "norm": [{"norm": "rms", "qk_norm": True, "mlp_inner_norm": True, "pooling": "map", "stem_norm": True}],
}
REFUSED = {"max_num_patches": 16}
CASES = [(name, changes) for name, each in VALUES.items() for changes in each]
IDS = [f"{name}-{index}" for name, each in VALUES.items() for index in range(len(each))]


def random_images(config, count=3, size=None):
    shape = (count, *(size or config.image_size), config.channels)
    return np.random.default_rng(1).integers(0, 256, shape).astype("uint8")


def assert_computes(model, config, weights, images, tolerance=1e-5):
    expected = oracle.vit(config, {name: array.astype("float64") for name, array in weights.items()}, images)
    found = run_graph(model, images)[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_every_field_of_the_config_has_an_example_here():
    """A field that is added to ViTConfig needs a row in `VALUES`, and the writer code for it or a refusal."""
    assert VALUES.keys() | REFUSED.keys() == {field.name for field in fields(ViTConfig)}
    for name, value in REFUSED.items():
        with pytest.raises(InvalidArgumentError, match="does not know the layer"):
            write_graph(describe(CONFIG.replace(**{name: value}), num_classes=5), output="logits")


@pytest.mark.parametrize(("name", "changes"), CASES, ids=IDS)
def test_every_option_gives_what_numpy_computes(name, changes):
    config = CONFIG.replace(**changes)
    assert getattr(config, name) != getattr(CONFIG, name)
    described = describe(config, num_classes=5)
    for opset, count in ((17, 1), (20, 3)):
        model = write_graph(described, output="logits", opset=opset)
        onnx.checker.check_model(model, full_check=True)
        assert [each.version for each in model.opset_import] == [opset]
        assert_computes(model, config, described.weights, random_images(config, count))


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_architecture_of_the_zoo_gives_what_numpy_computes(name):
    described = describe(FAMILIES[name], num_classes=5)
    model = write_graph(described, output="logits")
    assert_computes(model, FAMILIES[name], described.weights, random_images(FAMILIES[name], 2))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_small_patch16_224", "vit_tiny_patch16_224", "eva02_small_patch14_224"])
def test_a_file_of_real_size_is_as_large_as_its_weights_and_computes_the_same(name):
    config = load_preset(name).config
    described = describe(config, num_classes=1000, scale=0.03)
    model = write_graph(described, output="logits")
    weights = sum(array.nbytes for array in described.weights.values())
    assert model.ByteSize() == pytest.approx(weights, rel=0.01)
    assert_computes(model, config, described.weights, random_images(config, 1), tolerance=1e-4)


def test_a_value_or_field_or_layer_that_has_no_graph_is_refused_in_words(monkeypatch):
    """Every value of every field that has a list of values is written or refused: none is taken for another."""
    hints = get_type_hints(ViTConfig)
    listed = {
        name: get_args(hint)
        for name, hint in hints.items()
        if all(isinstance(each, str) for each in get_args(hint) or [0])
    }
    assert {"activation", "pooling", "stem", "rotary_embedding"} <= listed.keys()
    for name, values in listed.items():
        tried = {getattr(CONFIG, name), *(changes.get(name) for changes in VALUES[name])}
        if name in ("position_resize", "patch_resize"):  # of images of any size, and of loading
            continue
        assert set(values) <= tried | {"token"}, f"{name} has values that VALUES does not try"

    described, specs = describe(CONFIG), architecture.layer_specs(CONFIG)

    def change(kind, **arguments):
        def changed(*args, **kwargs):
            return [
                architecture.LayerSpec(name=spec.name, kind=spec.kind, inputs=spec.inputs, arguments={**spec.arguments, **arguments})
                if spec.kind.__name__ == kind else spec
                for spec in specs
            ]  # fmt: skip

        return changed

    for kind, arguments, words in (
        ("TransformerBlock", {"activation": "relu2"}, "the activation 'relu2'"),
        ("TransformerBlock", {"sandwich_norm": True}, "sandwich_norm=True of the layer 'block_00', a TransformerBlock"),
        ("TransformerBlock", {"qkv_bias": "key"}, "qkv_bias='key'"),
        ("TransformerBlock", {"rotary": {"kind": "spiral", "grid_size": [3, 4]}}, "rotary embedding"),
        ("PatchEncoder", {"position_embedding": "fourier"}, "position_embedding='fourier'"),
        ("TokenPooling", {"pooling": "max"}, "pooling='max'"),
    ):
        monkeypatch.setattr("vit_keras.exporting.onnx.writer.layer_specs", change(kind, **arguments))
        with pytest.raises(InvalidArgumentError, match=words):
            write_graph(described, output="features")
    other = [
        architecture.LayerSpec(
            name="pooling", kind=keras.layers.GlobalMaxPooling1D, inputs=("final_norm",), arguments={}
        )
    ]
    monkeypatch.setattr("vit_keras.exporting.onnx.writer.layer_specs", lambda *args, **kwargs: specs[:-1] + other)
    with pytest.raises(InvalidArgumentError, match="the layer 'pooling', a GlobalMaxPooling1D"):
        write_graph(described, output="features")


def test_nodes_are_named_as_the_layers_and_weights_as_in_the_model():
    described = describe(CONFIG.replace(layer_scale=0.1, num_registers=2), num_classes=5)
    model = write_graph(described, output="logits")
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert {"block_01/attention/qkv", "block_00/mlp/expand", "patch_encoder/projection", "final_norm", "head"} <= set(
        names
    )
    stored = {tensor.name for tensor in model.graph.initializer}
    joined = {f"patch_encoder/{name}" for name in ("class_token", "registers")}  # with their positions
    assert set(described.weights) - stored == joined


@pytest.mark.parametrize("rule", get_args(get_type_hints(ViTConfig)["position_resize"]))
@pytest.mark.parametrize("size", [(12, 16), (20, 8), (8, 8), (9, 30)])
def test_images_of_any_size_have_positions_resized_by_the_configs_rule(rule, size):
    config = CONFIG.replace(dynamic_image_size=True, position_resize=rule, num_registers=1)
    described = describe(config, num_classes=5)
    model = write_graph(described, output="logits")
    images = random_images(config, 2, size)
    grid = tuple(-(-side // config.patch_size) for side in size)
    weights = dict(described.weights)
    weights["patch_encoder/position_embedding"] = resize_positions(
        weights["patch_encoder/position_embedding"], before=config.grid_size, after=grid, rule=rule, num_prefix=2
    )
    same = config.replace(image_size=tuple(side * config.patch_size for side in grid))
    expected = oracle.vit(same, {name: array.astype("float64") for name, array in weights.items()}, pad(images, same))
    np.testing.assert_allclose(run_graph(model, images)[0], expected, rtol=1e-5, atol=1e-5)


def pad(images, config):
    """The images with mean pixels, which the model's normalization makes zeros, at the bottom and right."""
    mean = np.broadcast_to(255 * np.array(config.pixel_mean), (len(images), *config.image_size, config.channels)).copy()
    mean[:, : images.shape[1], : images.shape[2]] = images
    return mean


@pytest.mark.parametrize(
    "changes",
    [
        {"position_embedding": "sincos2d", "stem": "conv"},
        {"rotary_embedding": "axial", "rotary_reference": (5, 7), "class_token": False, "pooling": "map"},
        {"rotary_embedding": "axial", "rotary_order": "xy", "num_registers": 2},
        {"rotary_embedding": "mixed", "rotary_order": "xy"},
        {"rotary_embedding": "centered", "num_registers": 2},
        {"pooling": "token_and_mean", "qk_norm": True},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
@pytest.mark.parametrize("size", [(12, 16), (20, 8), (9, 30)])
def test_images_of_any_size_with_other_positions(changes, size):
    config = CONFIG.replace(dynamic_image_size=True, **{"position_embedding": "none", **changes})
    described = describe(config, num_classes=5)
    grid = tuple(-(-side // config.patch_size) for side in size)
    same = config.replace(image_size=tuple(side * config.patch_size for side in grid))
    images = pad(random_images(config, 2, size), same)
    for opset in (17, 20):
        model = write_graph(described, output="logits", opset=opset)
        expected = oracle.vit(
            same, {name: array.astype("float64") for name, array in described.weights.items()}, images
        )
        found = run_graph(model, random_images(config, 2, size))[0]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_more_outputs_are_the_features_the_tokens_and_the_attention_of_the_last_block():
    config = CONFIG.replace(num_registers=1, num_layers=1)
    described = describe(config, num_classes=5)
    weights = {name: array.astype("float64") for name, array in described.weights.items()}
    model = write_graph(described, output="logits", more=["features", "tokens", "attention"])
    images = random_images(config, 2)
    logits, features, tokens, attention = run_graph(model, images)
    block = oracle.part(weights, "block_00")
    embedded = oracle.patch_encoder(
        oracle.patches(oracle.pixel_normalization(images, config.pixel_mean, config.pixel_std), 4),
        oracle.part(weights, "patch_encoder"),
    )
    normed = oracle.layer_norm(embedded, oracle.part(block, "attention_norm"), 1e-5)
    queries, keys, _ = np.split(oracle.dense(normed, oracle.part(block, "attention/qkv")), 3, axis=-1)
    for head in range(2):
        channels = slice(8 * head, 8 * head + 8)
        scores = queries[..., channels] @ keys[..., channels].swapaxes(1, 2) / np.sqrt(8)
        np.testing.assert_allclose(attention[:, head], oracle.softmax(scores), atol=1e-5)
    after = oracle.transformer_block(embedded, block, num_heads=2, norm_epsilon=1e-5)
    expected = oracle.layer_norm(after, oracle.part(weights, "final_norm"), 1e-5)
    np.testing.assert_allclose(tokens, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(features, expected[:, 0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logits, oracle.vit(config, weights, images), rtol=1e-5, atol=1e-5)
    shapes = [
        [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim] for value in model.graph.output
    ]
    assert shapes == [["batch", 5], ["batch", 16], ["batch", 14, 16], ["batch", 2, 14, 14]]


def test_a_model_without_a_head_returns_features_and_refuses_them_twice():
    described = describe(CONFIG)
    model = write_graph(described, output="features")
    assert_computes(model, CONFIG, described.weights, random_images(CONFIG))
    with pytest.raises(InvalidArgumentError, match="leave it out"):
        write_graph(described, output="features", more=["features"])


def test_an_empty_batch_gives_no_rows():
    model = write_graph(describe(CONFIG, num_classes=5), output="logits")
    assert run_graph(model, random_images(CONFIG, 0))[0].shape == (0, 5)


def test_images_of_any_size_whose_partial_patches_are_cropped():
    config = CONFIG.replace(dynamic_image_size=True, partial_patches="crop", position_embedding="none")
    described = describe(config, num_classes=5)
    images = random_images(config, 2, (14, 19))
    whole = config.replace(image_size=(12, 16))
    expected = oracle.vit(whole, described.weights, images[:, :12, :16])
    found = run_graph(write_graph(described, output="logits"), images)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_two_maps_of_differential_attention_are_no_attention_output():
    described = describe(CONFIG.replace(differential_attention=True), num_classes=5)
    with pytest.raises(InvalidArgumentError, match="two maps"):
        write_graph(described, output="logits", more=["attention"])
