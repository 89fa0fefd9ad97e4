"""Compares the compiled step of the fine-tuning benchmark with `model.fit` and with keras_hub's own classifier."""

from typing import Any

import finetune_cells as cells
import finetune_engine as engine
import finetune_runs as runs
import keras
import numpy as np

import vit_keras as vk
from vit_keras.training.losses.crossentropy import SmoothedCrossentropy
from vit_keras.training.optim import optimizers, schedules

STEPS = 40


def differences(made: runs.Runs, cell: cells.Cell, kerashub: engine.Way, default: engine.Way) -> dict[str, Any]:
    """Returns the distance of the weights after 40 steps, compared with how far training moved them.

    Args:
        made: Provides backbones and tuners.
        cell: The training cell.
        kerashub: KerasHub's defaults.
        default: Our defaults.
    """
    return {
        "cell": cell.name,
        "steps": STEPS,
        "default_beside_fit": _beside(made, cell, default, fit_ours),
        "kerashub_beside_its_own_class": _beside(made, cell, kerashub, fit_kerashub),
    }


def fit_ours(model: keras.Model, way: engine.Way, images: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Trains with the package's optimizer and loss; returns the weights."""
    steps = len(images) // cells.BATCH_SIZE
    rate = schedules.warmup_cosine(way.learning_rate, steps=steps, warmup_steps=round(way.warmup_rate * steps))
    optimizer = optimizers.AdamW(
        rate, weight_decay=way.weight_decay, layer_decay=way.layer_decay, global_clipnorm=way.clip_norm or None
    )
    model.compile(optimizer=optimizer, loss=SmoothedCrossentropy(way.label_smoothing))
    model.fit(images, labels, batch_size=cells.BATCH_SIZE, shuffle=False, verbose=0)
    return [weight.numpy() for weight in model.trainable_weights]


def fit_kerashub(model: keras.Model, way: engine.Way, images: np.ndarray, labels: np.ndarray) -> list[np.ndarray] | str:
    """Trains keras_hub's `ImageClassifier` on our backbone with its defaults; returns the weights."""
    try:
        import keras_hub
    except ImportError as error:
        return f"left out: {error}"
    tokens = model.get_layer("pooling").input
    side = int(tokens.shape[1] ** 0.5)  # its pooling needs a feature map
    backbone = keras.Model(model.input, keras.layers.Reshape((side, side, tokens.shape[2]))(tokens))
    head = model.get_layer("head")
    classifier = keras_hub.models.ImageClassifier(backbone=backbone, num_classes=head.units)
    classifier.output_dense.set_weights(head.get_weights())
    classifier.compile()
    classifier.fit(images, labels, batch_size=cells.BATCH_SIZE, shuffle=False, verbose=0)
    head.set_weights(classifier.output_dense.get_weights())
    return [weight.numpy() for weight in model.trainable_weights]


def _beside(made: runs.Runs, cell: cells.Cell, way: engine.Way, fit: Any) -> dict[str, float] | str:
    data = cell.training_images(made.source(cell.data), seed=0)
    tuner = made.tuner(cell)
    head = made.head(cell, way, data, 0)
    tuner.run(way, data, steps=STEPS, seed=0, head=head)
    ours = [weight.numpy() for weight in tuner.model.trainable_weights]
    seen = engine.batches(data, STEPS, augmentation=way.augmentation, smoothing=0.0, seed=0)
    images, targets = (np.concatenate(parts) for parts in zip(*seen.as_numpy_iterator(), strict=True))
    model = vk.from_preset(made.backbone(cell.backbone), num_classes=head[1].size)
    model.get_layer("head").set_weights(list(head))
    start = [weight.numpy() for weight in model.trainable_weights]
    theirs = fit(model, way, images, targets.argmax(-1))
    if isinstance(theirs, str):
        return theirs
    pairs = list(zip(ours, theirs, start, strict=True))
    return {
        "largest_difference": max(float(np.abs(our - their).max()) for our, their, _ in pairs),
        "largest_change": max(float(np.abs(their - before).max()) for _, their, before in pairs),
        "mean_difference": float(np.mean([np.abs(our - their).mean() for our, their, _ in pairs])),
        "mean_change": float(np.mean([np.abs(their - before).mean() for _, their, before in pairs])),
    }
