"""What int8 costs: accuracy and agreement on images, size and latency, and when a loss is refused."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vit_keras.errors import DataError, InvalidArgumentError

Run = Callable[[np.ndarray], np.ndarray]
"""Images `(batch, height, width, channels)`, uint8, in; outputs `(batch, ...)` out."""

LARGEST_LOSS = 0.01  # of the score; a larger one is refused where it is also above two standard errors
ENFORCED_FROM = 1000  # images; agreement on fewer is reported only
SMALLEST_AGREEMENT = 0.95  # on at least `ENFORCED_FROM` images without labels
CALIBRATION_IMAGES = 200  # more hardly change the ranges of the activations
_ROUNDING = 1e-9  # of a difference of two fractions
_TIMED = 15  # calls per model
_NAMES = {"single_label": "accuracy", "multi_label": "F1 per image", "regression": "R2"}


@dataclass(frozen=True, kw_only=True)
class QuantizationReport:
    """How the outputs of a quantized model differ from those of the model in float32, and what is gained.

    Args:
        images: Number of images that both were compared on; 0 where there were none.
        agreement: Mean agreement of the outputs: the fraction of the images with the same top class; for several classes per image,
            the fraction of equal yes or no decisions; for a regression, R2 of the quantized outputs against those in float32; for features, the mean
            cosine similarity. None without images.
        score_name: What `before` and `after` are: "accuracy", "F1 per image" or "R2"; None without labels.
        before: The score in float32.
        after: The score of the quantized model.
        standard_error: Of `before - after`, from the differences per image; the images are the same, so most of their spread cancels.
        bytes_before: Size of the file in float32, bytes.
        bytes_after: Size of the quantized file, bytes.
        latency_before: Median time for one image in float32, ms.
        latency_after: Median time for one image of the quantized model in the same runtime, ms.
    """

    images: int = 0
    agreement: float | None = None
    score_name: str | None = None
    before: float | None = None
    after: float | None = None
    standard_error: float | None = None
    bytes_before: int | None = None
    bytes_after: int | None = None
    latency_before: float | None = None
    latency_after: float | None = None

    @property
    def loss(self) -> float | None:
        """`before - after`; None without labels."""
        return None if self.before is None or self.after is None else self.before - self.after

    @property
    def refusal(self) -> str | None:
        """Why the quantized model should not be used; None where nothing speaks against it, or there were too few images to tell."""
        if self.loss is not None and self.standard_error is not None:
            if self.loss <= LARGEST_LOSS + _ROUNDING or self.loss <= 2 * self.standard_error:
                return None
            return (
                f"int8 lowers the {self.score_name} from {self.before:.2%} to {self.after:.2%} on {self.images:,} images, which is more "
                f"than {LARGEST_LOSS:.0%} and than two standard errors ({2 * self.standard_error:.2%})"
            )
        if self.agreement is None or self.images < ENFORCED_FROM or self.agreement >= SMALLEST_AGREEMENT:
            return None
        return (
            f"int8 agrees with float32 on {self.agreement:.2%} of {self.images:,} images without labels; at least "
            f"{SMALLEST_AGREEMENT:.0%} are expected"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns what was measured as plain data."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        parts = []
        if not self.images:
            parts.append("not checked on images")
        elif self.agreement is not None:
            parts.append(f"agreement {self.agreement:.2%} on {self.images:,} images")
        if self.before is not None and self.after is not None:
            parts.append(f"{self.score_name} {self.before:.2%} -> {self.after:.2%}")
        if self.bytes_before and self.bytes_after:
            parts.append(f"{self.bytes_before / 1e6:.1f} -> {self.bytes_after / 1e6:.1f} MB")
        if self.latency_before and self.latency_after:
            parts.append(f"{self.latency_before:.3g} -> {self.latency_after:.3g} ms an image")
        return "int8 against float32: " + ", ".join(parts)


def compare_outputs(
    before: np.ndarray,
    after: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    task: str | None = "single_label",
    threshold: float = 0.5,
) -> QuantizationReport:
    """Compares the outputs of two models for the same images.

    Args:
        before: In float32, `(images, classes)`, as `to_probabilities` returns them; for one class per image logits will do.
        after: Of the quantized model.
        labels: As `Split.labels` holds them; None where there are none.
        task: One of `vit_keras.data.tasks.TASKS`; None for features.
        threshold: Of several classes per image: the probability from which a class is predicted.

    Example:
        >>> float32 = np.array([[2.0, 1.0], [0.1, 0.2], [3.0, 0.0], [0.0, 9.0]])
        >>> int8 = np.array([[1.9, 1.1], [0.2, 0.1], [3.1, 0.1], [0.0, 8.0]])
        >>> print(compare_outputs(float32, int8, labels=np.array([0, 1, 0, 1])))
        int8 against float32: agreement 75.00% on 4 images, accuracy 100.00% -> 75.00%
    """
    if before.shape != after.shape or not len(before):
        raise InvalidArgumentError(f"Outputs of shape {before.shape} and {after.shape} can't be compared.")
    agreement = _agreement(before, after, task, threshold)
    if labels is None or task is None:
        return QuantizationReport(images=len(before), agreement=agreement)
    scores = [_scores(each, labels, task, threshold) for each in (before, after)]
    differences = scores[0] - scores[1]
    return QuantizationReport(
        images=len(before),
        agreement=agreement,
        score_name=_NAMES[task],
        before=float(scores[0].mean()),
        after=float(scores[1].mean()),
        standard_error=float(differences.std() / np.sqrt(len(differences))),
    )


def _agreement(before: np.ndarray, after: np.ndarray, task: str | None, threshold: float) -> float:
    if task == "single_label":
        return float((before.argmax(axis=1) == after.argmax(axis=1)).mean())
    if task == "multi_label":
        return float(((before >= threshold) == (after >= threshold)).mean())
    if task == "regression":
        return float(_scores(after, before, task, threshold).mean())
    rows = [each.reshape(len(each), -1).astype("float64") for each in (before, after)]
    norms = np.maximum(np.linalg.norm(rows[0], axis=1) * np.linalg.norm(rows[1], axis=1), 1e-12)
    return float(((rows[0] * rows[1]).sum(axis=1) / norms).mean())


def _scores(outputs: np.ndarray, labels: np.ndarray, task: str, threshold: float) -> np.ndarray:
    """Returns a score per image, whose mean is the score of the model: `(images,)`, 1 at best."""
    if task == "single_label":
        return (outputs.argmax(axis=1) == labels).astype("float64")
    if task == "multi_label":
        chosen, true = outputs >= threshold, labels > 0
        total = chosen.sum(axis=1) + true.sum(axis=1)
        scores: np.ndarray = np.where(total == 0, 1.0, 2 * (chosen & true).sum(axis=1) / np.maximum(total, 1))
        return scores
    labels = labels.astype("float64")
    spread = np.maximum(labels.var(axis=0), 1e-12)
    r2: np.ndarray = 1 - ((outputs - labels) ** 2 / spread).mean(axis=1)
    return r2


def choose_calibration(images: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Returns the images that set the ranges of the activations: at most `CALIBRATION_IMAGES`, drawn at random.

    Raises `DataError` without images: int8 activations need some.
    """
    if not len(images):
        raise DataError(
            "Static int8 needs images of your data, to find the range of each activation, and there are none: pass calibration=, or "
            'use precision="int8", which needs none.'
        )
    drawn = np.random.default_rng(seed).permutation(len(images))[:CALIBRATION_IMAGES]
    chosen: np.ndarray = images[np.sort(drawn)]
    return chosen


def measure_latency(before: Run, after: Run, image: np.ndarray) -> tuple[float, float]:
    """Returns the median times, ms, of two models for a batch; their calls alternate, so that other work on the machine slows both.

    Args:
        before: The first model.
        after: The second model.
        image: The batch, usually one image.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for run in (before, after):
        run(image)  # the first call allocates
    for _ in range(_TIMED):
        for run, measured in zip((before, after), times, strict=True):
            start = time.perf_counter()
            run(image)
            measured.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[0]), statistics.median(times[1])
