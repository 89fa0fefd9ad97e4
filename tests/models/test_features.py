import keras
import numpy as np
import oracle
import pytest
from backends import only_elsewhere, some_elsewhere
from contracts import JIT
from faults.directories import IMAGENET
from weights.mappings.libraries.test_huggingface import CASES, make

import vit_keras as vk
from vit_keras.errors import InvalidArgumentError

torch = pytest.importorskip("torch")

CONFIG = vk.ViTConfig(
    image_size=(32, 48), patch_size=8, hidden_dim=16, num_layers=3, num_heads=2, mlp_dim=24, num_registers=2
)
IMAGES = np.random.default_rng(1).integers(0, 256, (2, 32, 48, 3)).astype("uint8")


@pytest.fixture(scope="module")
def model():
    return oracle.randomize(vk.vit(CONFIG, num_classes=3))


@pytest.mark.any_backend
def test_norm_and_grid_are_those_of_plain_numpy(model):
    tokens = vk.explain.block_features(model, IMAGES, blocks=[0, 2])
    normed = oracle.layer_norm(tokens, oracle.part(oracle.weights_of(model), "final_norm"), CONFIG.norm_epsilon)
    np.testing.assert_allclose(vk.explain.block_features(model, IMAGES, blocks=[0, 2], norm=True), normed, atol=1e-4)
    maps = vk.feature_extractor(model, blocks=[0, 2], norm=True, as_grid=True)
    for found, expected in zip(maps.predict(IMAGES, verbose=0), normed, strict=True):
        np.testing.assert_allclose(found, expected[:, 3:].reshape(2, 4, 6, 16), atol=1e-4)


@pytest.mark.parametrize(
    "name",
    only_elsewhere(
        ("vit", "dinov2", "dinov2 with registers", "dinov3", "siglip", "clip"), "dinov2 with registers", "dinov3"
    ),
)
def test_tokens_at_another_size_are_those_of_transformers(name, tmp_path):
    pytest.importorskip("transformers")
    kind, config, changes, _, (mean, std) = CASES[name]
    source = make(tmp_path, kind, config, changes)
    pixels = np.random.default_rng(2).integers(0, 256, (2, 48, 24, 3)).astype("float32")
    normalized = torch.from_numpy((pixels / 255 - np.float32(mean)) / np.float32(std)).permute(0, 3, 1, 2)
    resizing = {} if name.startswith("dino") else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        expected = source(pixel_values=normalized, output_hidden_states=True, **resizing)
    ours = vk.from_preset(tmp_path, dynamic_image_size=True)
    found = vk.explain.block_features(ours, pixels, blocks=None)
    for block in range(len(found) - 1):
        np.testing.assert_allclose(found[block], expected.hidden_states[block + 1].numpy(), atol=1e-4)
    last = getattr(expected, "last_hidden_state", None)
    if last is not None and name != "clip":  # CLIP normalizes the class token alone
        normed = vk.explain.block_features(ours, pixels, norm=True)[0]
        np.testing.assert_allclose(normed, last.numpy(), atol=1e-4)


def test_maps_are_those_of_transformers_backbone(tmp_path):
    transformers = pytest.importorskip("transformers")
    source = make(tmp_path, *CASES["dinov2"][:3])
    backbone = transformers.Dinov2Backbone.from_pretrained(tmp_path, out_indices=[1, 2]).eval()
    pixels = np.random.default_rng(2).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    mean, std = IMAGENET
    normalized = torch.from_numpy((pixels / 255 - np.float32(mean)) / np.float32(std)).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = backbone(normalized).feature_maps
    assert source.config.num_hidden_layers == len(expected) == 2
    maps = vk.feature_extractor(vk.from_preset(tmp_path), blocks=[0, 1], norm=True, as_grid=True)
    for found, theirs in zip(maps.predict(pixels, verbose=0), expected, strict=True):
        np.testing.assert_allclose(found, theirs.permute(0, 2, 3, 1).numpy(), atol=1e-4)


def by_torch(grid, weights, ups, downs, epsilon):
    """One level of ViTDet's simple pyramid, in torch."""
    functional = torch.nn.functional

    def norm(x, name):
        gamma, beta = (torch.from_numpy(weights[f"{name}/{part}"]) for part in ("gamma", "beta"))
        return functional.layer_norm(x.permute(0, 2, 3, 1), gamma.shape, gamma, beta, epsilon).permute(0, 3, 1, 2)

    x = torch.from_numpy(grid).permute(0, 3, 1, 2)
    for step in range(ups):
        if step:
            x = functional.gelu(norm(x, f"up_norm_{step - 1}"))
        kernel = torch.from_numpy(weights[f"up_{step}/kernel"]).permute(3, 2, 0, 1)  # (inputs, outputs, y, x)
        x = functional.conv_transpose2d(x, kernel, torch.from_numpy(weights[f"up_{step}/bias"]), stride=2)
    for _ in range(downs):
        x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
    for name, after, padding in (("project", "project_norm", 0), ("smooth", "", 1)):
        kernel = torch.from_numpy(weights[f"{name}/kernel"]).permute(3, 2, 0, 1)
        x = norm(functional.conv2d(x, kernel, padding=padding), after)
    return x.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("is_dynamic", some_elsewhere([False, True], every=2))
def test_the_pyramid_is_that_of_torch(model, is_dynamic):
    body = vk.rebuild(model, dynamic_image_size=is_dynamic)
    pyramid = oracle.randomize(vk.feature_pyramid(body, blocks=[0, 1, 2, 2, 2], strides=[2, 4, 8, 16, 32], channels=5))
    weights = {weight.path: keras.ops.convert_to_numpy(weight) for weight in pyramid.weights}
    maps = vk.explain.block_features(body, IMAGES, blocks=[0, 1, 2, 2, 2], as_grid=True)
    found = pyramid.predict(IMAGES, verbose=0)
    for level, stride, grid, (ups, downs) in zip(
        found, (2, 4, 8, 16, 32), maps, [(2, 0), (1, 0), (0, 0), (0, 1), (0, 2)], strict=True
    ):
        own = {
            path.removeprefix(f"stride_{stride:02d}").lstrip("_"): value
            for path, value in weights.items()
            if path.startswith(f"stride_{stride:02d}")
        }
        assert level.shape == (2, -(-32 // stride), -(-48 // stride), 5)
        expected = by_torch(grid, own, ups, downs, CONFIG.norm_epsilon)
        np.testing.assert_allclose(level, expected, rtol=1e-3, atol=1e-4)


def test_a_segmentation_model_on_a_pyramid_is_trained_saved_and_loaded(model, tmp_path):
    body = vk.rebuild(model)
    pyramid = vk.feature_pyramid(body, norm=True, channels=4)
    assert [shape[1:3] for shape in pyramid.output_shape] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    logits = keras.layers.UpSampling2D(2)(keras.layers.Conv2D(3, 1)(pyramid.outputs[0]))
    segmenter = keras.Model(pyramid.input, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    segmenter.compile("sgd", loss, jit_compile=JIT, run_eagerly=not JIT)
    before = [keras.ops.convert_to_numpy(weight).copy() for weight in body.get_layer("block_00").trainable_weights]
    segmenter.fit(IMAGES, np.ones((2, 32, 48), "int32"), verbose=0)
    after = [keras.ops.convert_to_numpy(weight) for weight in body.get_layer("block_00").trainable_weights]
    assert all((new != old).any() for new, old in zip(after, before, strict=True))
    segmenter.save(tmp_path / "segmenter.keras")
    loaded = keras.saving.load_model(tmp_path / "segmenter.keras")
    np.testing.assert_allclose(
        loaded.predict(IMAGES, verbose=0), segmenter.predict(IMAGES, verbose=0), rtol=1e-5, atol=1e-5
    )


def test_what_can_not_be_made_is_refused(model):
    for arguments, message in (
        (
            {"strides": [3]},
            r"\[3\] can't be made of patches of 8 px by doubling or halving; possible are \[1, 2, 4, 8, 16",
        ),
        ({"strides": [8, 8]}, "each at most once"),
        ({"strides": [4, 8, 16], "blocks": [0, 1]}, r"neither one block nor one per stride of \[4, 8, 16\]"),
        ({"blocks": 3}, "There is no block 3"),
        ({"channels": 0}, "channels must be a positive integer, got 0"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            vk.feature_pyramid(model, **arguments)
    after = vk.vit(CONFIG.replace(pooling="mean", final_norm="after"))
    with pytest.raises(
        InvalidArgumentError, match='norm=True needs a norm of tokens, and the model has final_norm="after"'
    ):
        vk.feature_extractor(after, norm=True)
    assert [shape[1] for shape in vk.feature_pyramid(vk.rebuild(after, image_size=28, patch_size=14)).output_shape] == [
        4,
        2,
        1,
    ]
