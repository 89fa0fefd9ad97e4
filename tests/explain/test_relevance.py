import keras
import numpy as np
import pytest
from explain.families import CLASSES
from explain.plain import TOLERANCE, expected_rollout, plain_blocks, seen

from vit_keras.errors import InvalidArgumentError
from vit_keras.explain import class_relevance, gradient_rollout, relevance
from vit_keras.explain.block_record import compute_block_inputs, compute_shared_bias, record_block
from vit_keras.explain.logits import compute_logits
from vit_keras.explain.relevance import compute_attention_gradients
from vit_keras.models.vit import model_config, vit
from vit_keras.models.wiring import read_model


def test_gradients_are_finite_differences(family):
    """Along random directions through all attention weights of all blocks, as near as float32 allows."""
    model, images, plain = family
    targets = np.array([0, 4, 1])
    weights, slopes = compute_attention_gradients(model, images, targets)
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
    tokens = compute_block_inputs(model, images, [0])[0]
    parts = read_model(model)
    for number, block in enumerate(parts.blocks):
        more = keras.ops.convert_to_tensor(added[number])
        tokens = record_block(block, tokens, more, shared_bias=compute_shared_bias(parts)).output
    return keras.ops.convert_to_numpy(compute_logits(model, tokens))


def test_relevance_is_that_of_plain_numpy(every_family):
    model, images, plain = every_family
    config, pooled = model_config(model), plain["pooled"]
    targets = np.array([0, 4, 1])
    weights, slopes = compute_attention_gradients(model, images, targets)
    weighted = np.maximum(slopes * weights, 0).mean(2)
    expected = []
    for image in range(3):
        relevance = np.eye(config.num_tokens)
        for layer in weighted[:, image]:
            relevance = relevance + layer @ relevance
        extra = relevance - np.eye(config.num_tokens)
        expected.append(seen(config, extra, None if pooled is None else pooled[image].mean(0)))
    found = class_relevance(model, images, classes=targets, batch_size=2)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert found.min() >= 0
    rolled = gradient_rollout(model, images, classes=targets)
    np.testing.assert_allclose(rolled, expected_rollout(config, weighted, pooled), **TOLERANCE)


@pytest.mark.parametrize("explain", [class_relevance, gradient_rollout])
def test_without_classes_it_is_that_of_the_largest_logit(model, images, explain):
    largest = plain_blocks(model, images)["logits"].argmax(1)
    np.testing.assert_array_equal(explain(model, images), explain(model, images, classes=largest))
    assert (explain(model, images) != explain(model, images, classes=(largest + 1) % CLASSES)).any()


def test_memory_is_bounded_by_the_batch(model, monkeypatch):
    held = []

    def record(model, images, classes):
        held.append(len(images))
        return kept(model, images, classes)

    kept = relevance._multiply_by_gradient
    monkeypatch.setattr(relevance, "_multiply_by_gradient", record)
    many = np.zeros((5, 12, 16, 3))
    running = relevance._weight_attention(model, many, None, 2)
    next(running)
    assert held == [2]  # the next batch is computed only when this one was used
    assert gradient_rollout(model, many, batch_size=2).shape[0] == 5


def test_relevance_needs_a_class(model, images):
    np.testing.assert_array_equal(*(class_relevance(model, images, classes=same) for same in (2, [2, 2])))
    for classes, message in ((5, "classes 0 to 4"), ([0, 1, 2], "one for each of 2 images")):
        with pytest.raises(InvalidArgumentError, match=message):
            class_relevance(model, images, classes=classes)
    with pytest.raises(InvalidArgumentError, match="has no head"):
        class_relevance(vit(model_config(model)), images)
