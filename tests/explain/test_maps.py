import keras
import numpy as np
import oracle
import pytest
from explain.families import CLASSES, FAMILIES, PARAMETERS, small_model

from vit_keras.config import ViTConfig
from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.explain import (
    attention_maps,
    attention_rollout,
    block_features,
    class_relevance,
    feature_extractor,
    gradient_rollout,
    relevance,
)
from vit_keras.explain.block_record import block_inputs, record_block
from vit_keras.explain.logits import compute_logits, pooling_attention
from vit_keras.explain.relevance import attention_gradients
from vit_keras.models.vit import model_config, vit
from vit_keras.models.wiring import read_model
from vit_keras.training.transfer.lora import add_lora

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
numbers = keras.ops.convert_to_numpy


@pytest.fixture(scope="module", params=PARAMETERS)
def family(request):
    """A model, three images, and what plain numpy computes of them, block by block."""
    model = small_model(request.param)
    images = np.random.default_rng(0).integers(0, 256, (3, *model_config(model).image_size, 3)).astype("float32")
    return model, images, plain_blocks(model, images)


def plain_blocks(model, images):
    """The attention weights and the output of each block in numpy, from `tests/oracle.py`."""
    config, weights = model_config(model), oracle.weights_of(model)
    weights_seen, softmax = [], oracle.softmax

    def noting(scores):
        weights_seen.append(softmax(scores))
        return weights_seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "softmax", noting)
        logits = oracle.vit(config, weights, images)
    heads = np.stack(weights_seen[: config.num_layers * config.num_heads], axis=1)  # (batch, layers x heads, ...)
    maps = heads.reshape(len(images), config.num_layers, config.num_heads, *heads.shape[2:]).swapaxes(0, 1)
    pooled = weights_seen[config.num_layers * config.num_heads :]
    return {"maps": maps, "pooled": np.stack(pooled, axis=1)[:, :, 0] if pooled else None, "logits": logits}


def expected_rollout(config, layers, pooled):
    """Abnar and Zuidema's product, spelled out image by image."""
    result = []
    for image in range(layers.shape[1]):
        product = np.eye(layers.shape[-1])
        for layer in layers[:, image]:
            mixed = layer + np.eye(len(layer))
            product = mixed / mixed.sum(1, keepdims=True) @ product
        result.append(seen(config, product, None if pooled is None else pooled[image].mean(0)))
    return np.stack(result)


def seen(config, product, pooled):
    prefix = config.num_prefix_tokens
    token, mean = product[0], product[prefix:].mean(0)
    if config.distillation_token:
        token = product[:2].mean(0)
    row = {"token": token, "mean": mean, "token_and_mean": (token + mean) / 2}.get(config.pooling)
    row = pooled @ product if row is None else row
    return row[prefix:].reshape(config.grid_size)


def test_maps_are_those_of_plain_numpy_and_rows_sum_to_one(family):
    model, images, plain = family
    maps = attention_maps(model, images, batch_size=2)
    np.testing.assert_allclose(maps, plain["maps"], **TOLERANCE)
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        attention_maps(model, images, layers=[-1], heads=1)[0, :, 0], maps[-1, :, 1], **TOLERANCE
    )


@pytest.mark.parametrize(("fusion", "rate"), [("mean", 0.0), ("max", 0.0), ("min", 0.3)])
def test_rollout_is_that_of_plain_numpy(family, fusion, rate):
    model, images, plain = family
    # What is left out hangs on the last bits of the smallest weights: those of the maps that were compared above.
    maps = attention_maps(model, images, batch_size=2) if rate else plain["maps"]
    fused = {"mean": np.mean, "max": np.max, "min": np.min}[fusion](maps, axis=2)
    count = int(rate * fused.shape[-1])
    kept = fused * (fused > np.sort(fused, axis=-1)[..., count - 1 : count]) if count else fused
    expected = expected_rollout(model_config(model), kept, plain["pooled"])
    found = attention_rollout(model, images, fusion=fusion, discard_rate=rate, batch_size=2)
    assert found.shape == (3, 3, 4)
    np.testing.assert_allclose(found, expected, **TOLERANCE)


def test_every_step_of_a_block_leads_to_its_output(family):
    model, images, plain = family
    inputs = block_inputs(model, images, range(2))
    tokens = inputs[0]
    for number, block in enumerate(read_model(model).blocks):
        record = record_block(block, tokens)
        np.testing.assert_allclose(numbers(record.output), numbers(block(tokens)), **TOLERANCE)
        np.testing.assert_allclose(numbers(record.weights), plain["maps"][number], **TOLERANCE)
        np.testing.assert_allclose(numbers(record.weights) @ numbers(record.values), numbers(record.heads), **TOLERANCE)
        tokens = record.output
    np.testing.assert_allclose(numbers(compute_logits(model, tokens)), plain["logits"], **TOLERANCE)


def test_gradients_are_what_differences_give(family):
    """Along random directions through all attention weights of all blocks, as near as float32 allows."""
    model, images, plain = family
    targets = np.array([0, 4, 1])
    weights, slopes = attention_gradients(model, images, targets)
    np.testing.assert_allclose(weights, plain["maps"], **TOLERANCE)
    rng, step = np.random.default_rng(0), 5e-4
    scale = float(np.sqrt((slopes**2).sum()))
    for _ in range(3):
        direction = rng.normal(size=slopes.shape).astype("float32")
        up, down = (
            logits_with(model, images, sign * step * direction)[range(3), targets].astype("float64") for sign in (1, -1)
        )
        expected = float((up - down).sum()) / (2 * step)
        assert float((slopes * direction).sum()) == pytest.approx(expected, rel=1e-2, abs=1e-2 * scale)


def logits_with(model, images, added):
    tokens = block_inputs(model, images, [0])[0]
    for number, block in enumerate(read_model(model).blocks):
        tokens = record_block(block, tokens, keras.ops.convert_to_tensor(added[number])).output
    return numbers(compute_logits(model, tokens))


@pytest.mark.parametrize("classes", [None, 2, [0, 4, 1]])
def test_relevance_is_that_of_plain_numpy(family, classes):
    model, images, plain = family
    config, pooled = model_config(model), plain["pooled"]
    targets = plain["logits"].argmax(1) if classes is None else np.broadcast_to(classes, (3,))
    weights, slopes = attention_gradients(model, images, targets)
    weighted = np.maximum(slopes * weights, 0).mean(2)
    expected = []
    for image in range(3):
        relevance = np.eye(config.num_tokens)
        for layer in weighted[:, image]:
            relevance = relevance + layer @ relevance
        extra = relevance - np.eye(config.num_tokens)
        expected.append(seen(config, extra, None if pooled is None else pooled[image].mean(0)))
    found = class_relevance(model, images, classes=classes, batch_size=2)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert found.min() >= 0
    rolled = gradient_rollout(model, images, classes=classes)
    np.testing.assert_allclose(rolled, expected_rollout(config, weighted, pooled), **TOLERANCE)


def test_features_are_what_comes_out_of_blocks(family):
    model, images, _ = family
    config = model_config(model)
    tokens = block_features(model, images, blocks=[0, -1], batch_size=2)
    assert tokens.shape == (2, 3, config.num_tokens, config.hidden_dim)
    block = read_model(model).blocks[1]
    np.testing.assert_allclose(numbers(block(tokens[0])), tokens[1], **TOLERANCE)
    grids = block_features(model, images, as_grid=True)
    np.testing.assert_allclose(grids[0, :, 1, 2], tokens[1, :, config.num_prefix_tokens + 6], **TOLERANCE)
    extractor = feature_extractor(model, blocks=[0, 1])
    np.testing.assert_allclose(extractor.predict_on_batch(images)[1], tokens[1], **TOLERANCE)


# --- Once


@pytest.fixture(scope="module")
def model():
    return small_model("vit_base_patch16_224" if "vit_base_patch16_224" in FAMILIES else next(iter(FAMILIES)))


@pytest.fixture(scope="module")
def images(model):
    return np.random.default_rng(0).integers(0, 256, (2, *model_config(model).image_size, 3)).astype("uint8")


def test_looking_leaves_the_model_as_it_was(model, images):
    model.compile(loss="mse")
    before = model.predict_on_batch(images)
    function, names, config = model.predict_function, set(vars(model)), model.get_config()
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    weights = [weight.copy() for weight in model.get_weights()]
    attention_maps(model, images)
    attention_rollout(model, images)
    class_relevance(model, images)
    block_features(model, images)
    assert model.predict_function is function
    assert set(vars(model)) == names
    assert model.get_config() == config
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes
    for now, then in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)
    np.testing.assert_array_equal(model.predict_on_batch(images), before)


def test_adapters_are_looked_through(model, images):
    adapted = oracle.randomise(add_lora(model), seed=9)
    record = record_block(read_model(adapted).blocks[0], block_inputs(adapted, images, [0])[0])
    np.testing.assert_allclose(
        numbers(record.output), numbers(read_model(adapted).blocks[0](record.tokens)), **TOLERANCE
    )


def test_one_image_is_a_batch_of_one(model, images):
    np.testing.assert_allclose(attention_rollout(model, images[0])[0], attention_rollout(model, images)[0], **TOLERANCE)


def test_relevance_holds_the_maps_of_a_few_images_at_a_time(model, monkeypatch):
    held = []

    def noting(model, images, classes):
        held.append(len(images))
        return kept(model, images, classes)

    kept = relevance._attention_times_gradient
    monkeypatch.setattr(relevance, "_attention_times_gradient", noting)
    many = np.zeros((5, 12, 16, 3))
    running = relevance._weight_attention(model, many, None, 2)
    next(running)
    assert held == [2]  # the next are computed when these have been used
    assert gradient_rollout(model, many, batch_size=2).shape[0] == 5


def test_half_precision_gives_maps_in_float32():
    with_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = vit(next(iter(FAMILIES.values())), num_classes=CLASSES)
    finally:
        keras.config.set_dtype_policy(with_policy)
    maps = attention_maps(half, np.zeros((1, *model_config(half).image_size, 3), "uint8"))
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 2}, "no block 2: the model has 2, 0 to 1"),
        ({"heads": [0, -3]}, "no head -3"),
        ({"layers": True}, "no block True"),
        ({"layers": []}, "No block was given"),
        ({"heads": []}, "No head was given"),
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
    ],
)
def test_what_is_not_there_is_said(model, images, arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        attention_maps(model, images, **arguments)


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (lambda images: images[:, :-1], "resize them"),
        (lambda images: "photo.jpg", "expected pixels"),
        (lambda images: images[:0], "expected pixels"),
        (lambda images: np.where(images > 100, np.nan, images), "NaN"),
        (lambda images: images[..., :1], "but the model takes"),
    ],
)
def test_what_is_no_image_is_said(model, images, spoiled, message):
    with pytest.raises(DataError, match=message):
        attention_maps(model, spoiled(images))


def test_a_model_of_somebody_else_is_refused(images):
    other = keras.Sequential([keras.Input((12, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    for function in (attention_maps, attention_rollout, class_relevance, block_features):
        with pytest.raises(InvalidArgumentError, match=r"not made by vit_keras\.vit"):
            function(other, images)


def test_relevance_needs_a_class(model, images):
    with pytest.raises(InvalidArgumentError, match="classes 0 to 4"):
        class_relevance(model, images, classes=5)
    with pytest.raises(InvalidArgumentError, match="one for each of 2 images"):
        class_relevance(model, images, classes=[0, 1, 2])
    with pytest.raises(InvalidArgumentError, match="has no head"):
        class_relevance(vit(model_config(model)), images)
    with pytest.raises(InvalidArgumentError, match="fusion"):
        attention_rollout(model, images, fusion="median")
    with pytest.raises(InvalidArgumentError, match="discard_rate"):
        attention_rollout(model, images, discard_rate=1.0)


def test_rollout_gives_no_share_to_tokens_that_attention_pooling_skips():
    config = ViTConfig(
        image_size=16, patch_size=4, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=24, num_registers=1,
        pooling="map", map_includes_prefix=False,
    )  # fmt: skip
    model = oracle.randomise(vit(config), seed=4)
    tokens = np.random.default_rng(0).normal(size=(2, 18, 16)).astype("float32")
    shares = keras.ops.convert_to_numpy(pooling_attention(model, keras.ops.convert_to_tensor(tokens)))
    assert shares.shape == (2, 2, 18)
    assert not shares[..., :2].any()
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-5)
    images = np.random.default_rng(1).uniform(0, 255, size=(2, 16, 16, 3)).astype("float32")
    assert attention_rollout(model, images).shape == (2, 4, 4)
