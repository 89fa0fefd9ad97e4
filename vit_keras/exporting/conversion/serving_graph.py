"""A model with its signatures as a `tf.Module`, which a SavedModel is written from."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from vit_keras.exporting.conversion.image_graph import preprocess_file
from vit_keras.models.output_kind import find_output_kind
from vit_keras.zoo.load_model import OpenModel

SERVING, SERVE_BYTES = "serving_default", "serve_bytes"
_TOP = 5  # classes that `serve_bytes` returns of a model of one class per image


def save(
    opened: OpenModel, path: Path, *, output: str, assets: Mapping[str, Path] | None = None, with_files: bool = True
) -> None:
    """Writes a SavedModel.

    Args:
        opened: The model, on TensorFlow.
        path: The new directory.
        output: Name of the output of the signature `serving_default`: what `ExportRecord.output` says.
        assets: Files that it takes along, by the name of the attribute.
        with_files: Whether it has the signature `serve_bytes`.
    """
    module = tf.Module()
    module.weights = [variable.value for variable in opened.model.variables]
    for name, file in (assets or {}).items():
        setattr(module, name, tf.saved_model.Asset(str(file)))
    signatures = {SERVING: _serve_pixels(opened, output)}
    if with_files:
        signatures[SERVE_BYTES] = _serve_files(opened, output)
    tf.saved_model.save(module, str(path), signatures=signatures)


def _serve_pixels(opened: OpenModel, output: str) -> Any:
    images_spec = tf.TensorSpec((None, *opened.model.input_shape[1:]), tf.uint8, name="images")

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output: opened.model(tf.cast(images, tf.float32), training=False)}

    return tf.function(serve, input_signature=[images_spec], autograph=False)


def _serve_files(opened: OpenModel, output: str) -> Any:
    rule, describe = opened.preprocessing, _describe(opened, output)
    found = tf.TensorSpec((*rule.image_size, rule.channels), tf.uint8), tf.TensorSpec((), tf.string)

    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images, problems = tf.map_fn(
            lambda content: preprocess_file(content, rule), image_bytes, fn_output_signature=found
        )
        answers = describe(opened.model(tf.cast(images, tf.float32), training=False))
        is_read = (problems == b"")[:, None]
        answers = {
            name: tf.where(is_read, values, tf.constant(b"" if values.dtype == tf.string else math.nan, values.dtype))
            for name, values in answers.items()
        }
        return {**answers, "error": problems}

    return tf.function(serve, input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")], autograph=False)


def _describe(opened: OpenModel, output: str) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Returns what makes the answer from the outputs of the model: the most probable classes, or the numbers or features."""
    if output in ("numbers", "features"):
        return lambda outputs: {output: outputs}
    names = tf.constant([name.encode("utf-8", "backslashreplace") for name in opened.class_names], tf.string)
    is_multi_label = opened.task == "multi_label"
    count = len(opened.class_names) if is_multi_label else min(_TOP, len(opened.class_names))
    is_probabilities = find_output_kind(opened.model) == "probabilities"

    def describe(outputs: tf.Tensor) -> dict[str, tf.Tensor]:
        if not is_probabilities:
            outputs = tf.sigmoid(outputs) if is_multi_label else tf.nn.softmax(outputs)
        probabilities, places = tf.math.top_k(outputs, count)
        return {"classes": tf.gather(names, places), "probabilities": probabilities}

    return describe
