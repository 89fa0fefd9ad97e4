"""Compares a file's outputs with the model's: differences, agreement, accuracy, and the first block that differs."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from vit_keras.errors import VerificationError
from vit_keras.exporting.base import ExportJob, Format, Runtime
from vit_keras.exporting.check_images import random_images
from vit_keras.exporting.quantize import OutputComparison, compare_outputs
from vit_keras.exporting.result import Verification
from vit_keras.models.features import feature_extractor

_RANDOM_BATCHES = (1, 2, 5)
_BATCH = 32
_RELATIVE = {"float32": 1e-4, "float16": 2e-2}  # of the spread of the outputs
_TIMED_RUNS = 20
_TIMED_S = 1.0
_UNCHECKED = (
    "not checked on images: random pixels hide most of the error of rounded weights. Give some with calibration="
)


def verify(format: Format, path: Path, job: ExportJob) -> Verification:
    """Runs a file on the job's images and on random ones, and compares its outputs with the model's.

    Raises:
        VerificationError: The outputs differ by more than is allowed, or the accuracy is lost; the message names the first block that
            differs.
    """
    runtime = format.open(path, job)
    real = job.images.images
    batches = [random_images(job.opened, size, seed=size) for size in _RANDOM_BATCHES]
    batches += [real[first : first + _BATCH] for first in range(0, len(real), _BATCH)]
    expected = [predict(job.model, batch) for batch in batches]
    found = [np.asarray(runtime(batch), "float32") for batch in batches]
    for before, after in zip(expected, found, strict=True):
        if before.shape != after.shape:
            raise VerificationError(
                f"{job.record.format}: the file gives outputs of shape {after.shape} where the model gives {before.shape}; it was not kept."
            )
    num_random = len(_RANDOM_BATCHES)
    start = num_random if len(real) else 0  # random images say little about the agreement on real ones
    before, after = np.concatenate(expected), np.concatenate(found)
    difference = _largest(before, after)
    tolerance = _tolerance(before, job.record.precision)
    if not np.isfinite(after).all() or (tolerance is not None and not difference <= tolerance):
        raise VerificationError(_describe_difference(format, path, job, batches[0], difference, tolerance))
    judged = np.concatenate(expected[start:]), np.concatenate(found[start:])
    compared = compare(job, *judged)
    check_accuracy(job, compared)
    return Verification(
        largest_difference=difference,
        tolerance=tolerance,
        images=len(before),
        real_images=len(real),
        batch_sizes=tuple(sorted({len(batch) for batch in batches})),
        agreement=compared.agreement,
        labeled_images=0 if compared.before is None else compared.images,
        accuracy_before=compared.before,
        accuracy_after=compared.after,
        score_name=compared.score_name or "accuracy",
        note="" if len(real) or job.record.precision == "float32" else _UNCHECKED,
    )


def predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Returns a model's outputs, computed on the CPU, whose float32 products are not shortened."""
    with keras.device("cpu:0"):
        return np.asarray(keras.ops.convert_to_numpy(model(images, training=False)), "float32")


def compare(job: ExportJob, before: np.ndarray, after: np.ndarray) -> OutputComparison:
    """Returns what `compare_outputs` finds in the outputs for the job's images, or for others where it has none."""
    is_classifier = job.record.output in ("logits", "probabilities")
    threshold = 0.5 if job.opened.threshold is None else job.opened.threshold
    if job.record.output == "logits":
        threshold = (
            math.log(threshold / (1 - threshold)) if 0 < threshold < 1 else math.copysign(math.inf, threshold - 0.5)
        )
    return compare_outputs(
        before,
        after,
        task=job.record.task if is_classifier or job.record.output == "numbers" else None,
        labels=job.images.labels if len(job.images) else None,
        threshold=threshold,
    )


def check_accuracy(job: ExportJob, compared: OutputComparison) -> None:
    """Raises `VerificationError` where too much accuracy is lost, on enough images to tell."""
    allowed = job.options.max_accuracy_loss
    refusal = None if allowed is None or not len(job.images) else compared.refusal(allowed)
    if refusal is not None:
        raise VerificationError(
            f"{job.record.precision} loses accuracy: {refusal}. The file was not kept. Use float16, or max_accuracy_loss=None to keep it "
            "anyway."
        )


def _largest(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.max(np.abs(before - after), initial=0.0))


def _tolerance(outputs: np.ndarray, precision: str) -> float | None:
    """Returns the largest difference that is allowed: relative to the spread of the outputs, absolute where all are equal."""
    relative = _RELATIVE.get(precision)
    if relative is None:
        return None
    spread = float(np.ptp(outputs)) or 1.0
    return relative * spread + 8 * float(np.finfo("float32").eps) * float(np.abs(outputs).max(initial=0.0))


def _describe_difference(
    format: Format, path: Path, job: ExportJob, images: np.ndarray, difference: float, tolerance: float | None
) -> str:
    allowed = "" if tolerance is None else f", and {tolerance:.3g} is allowed"
    text = f"{job.record.format}: the outputs of the file differ from the model's by {difference:.3g}{allowed}; it was not kept."
    found = format.read_blocks(job, path, images)
    if not found:
        return text
    names = sorted(found)
    tokens = dict(zip(names, _block_tokens(job.model, images), strict=True))
    for name in names:
        apart, limit = _largest(tokens[name], found[name]), _tolerance(tokens[name], job.record.precision)
        if not np.isfinite(found[name]).all() or (limit is not None and not apart <= limit):
            return f"{text} The first block that differs is {name}, by {apart:.3g}."
    return f"{text} All blocks agree: the difference is in the pooling or the head."


def _block_tokens(model: keras.Model, images: np.ndarray) -> list[np.ndarray]:
    with keras.device("cpu:0"):
        outputs = feature_extractor(model)(images, training=False)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return [np.asarray(keras.ops.convert_to_numpy(each), "float32") for each in outputs]


def measure_latency(runtime: Runtime, image: np.ndarray, *, clock: Callable[[], float] = time.perf_counter) -> float:
    """Returns the median milliseconds of running one image `(1, height, width, channels)`."""
    runtime(image)
    times: list[float] = []
    while len(times) < _TIMED_RUNS and sum(times) < _TIMED_S:
        start = clock()
        runtime(image)
        times.append(clock() - start)
    return 1000 * float(np.median(times))
