"""What rounded weights cost: agreement and score on images, when a loss is refused, and the images that int8 is calibrated with."""

from dataclasses import dataclass

import numpy as np

from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.exporting.check_images import CheckImages

CALIBRATION_IMAGES = 200  # more hardly change the ranges of the activations
_STANDARD_ERRORS = 2
_ENFORCED_FROM = 1000  # images without labels; agreement on fewer is reported only
_SMALLEST_AGREEMENT = 0.95
_ROUNDING = 1e-9  # of a difference of two fractions
_NAMES = {"single_label": "accuracy", "multi_label": "F1 per image", "regression": "R2"}


@dataclass(frozen=True, kw_only=True)
class OutputComparison:
    """How the outputs of a file with rounded weights differ from those of the model, on the same images.

    Args:
        images: Number of images.
        agreement: The fraction of images with the same top class, or of a multi-label model the same classes; None for numbers and features.
        score_name: What `before` and `after` are: "accuracy", "F1 per image" of a multi-label model, or "R2" of a regression; None without
            labels.
        before: The score of the model.
        after: The score of the file.
        standard_error: Of `before - after`. The images are the same, so most of the spread of the scores cancels.
    """

    images: int
    agreement: float | None = None
    score_name: str | None = None
    before: float | None = None
    after: float | None = None
    standard_error: float | None = None

    @property
    def loss(self) -> float | None:
        """`before - after`; None without labels."""
        return None if self.before is None or self.after is None else self.before - self.after

    def refusal(self, allowed: float = 0.01) -> str | None:
        """Returns why the file should not be used; None where nothing speaks against it, or there are too few images to tell.

        With labels that is a loss above what is allowed and above two standard errors; without, an agreement below 95 % on at least
        1,000 images.
        """
        if self.loss is not None and self.standard_error is not None:
            if self.loss <= max(allowed + _ROUNDING, _STANDARD_ERRORS * self.standard_error):
                return None
            return (
                f"the {self.score_name} is {100 * (self.before or 0):.2f} % before and {100 * (self.after or 0):.2f} % after, on "
                f"{self.images:,} labeled images; a loss of {100 * allowed:g} points or of two standard errors, "
                f"{100 * _STANDARD_ERRORS * self.standard_error:.2f} points, is allowed"
            )
        if self.agreement is None or self.images < _ENFORCED_FROM or self.agreement >= _SMALLEST_AGREEMENT:
            return None
        return (
            f"{100 * self.agreement:.2f} % of {self.images:,} images without labels get the same class; at least "
            f"{100 * _SMALLEST_AGREEMENT:g} % are expected"
        )


def compare_outputs(
    before: np.ndarray,
    after: np.ndarray,
    *,
    task: str | None = "single_label",
    labels: np.ndarray | None = None,
    threshold: float = 0.5,
) -> OutputComparison:
    """Compares the outputs of two models for the same images, `(images, outputs)`.

    Args:
        before: Of the model.
        after: Of the file.
        task: One of `vit_keras.data.task_names.TASKS`; None for features, which are not compared.
        labels: As `Split.labels` holds them; None where they are unknown.
        threshold: Of a multi-label model: the output from which on an image has a class.

    Example:
        >>> model = np.array([[2.0, 1.0], [0.1, 0.2], [3.0, 0.0], [0.0, 9.0]])
        >>> file = np.array([[1.9, 1.1], [0.2, 0.1], [3.1, 0.1], [0.0, 8.0]])
        >>> found = compare_outputs(model, file, labels=np.array([0, 1, 0, 1]))
        >>> found.agreement, found.before, found.after
        (0.75, 1.0, 0.75)
    """
    if before.shape != after.shape or not len(before):
        raise InvalidArgumentError(f"Outputs of shape {before.shape} and {after.shape} can't be compared.")
    if task is None:
        return OutputComparison(images=len(before))
    agreement = None
    if task != "regression":
        agreement = float(np.mean(_decide(before, task, threshold) == _decide(after, task, threshold)))
    if labels is None or (task == "single_label") != (labels.ndim == 1):
        return OutputComparison(images=len(before), agreement=agreement)
    scores = [_scores(each, labels, task, threshold) for each in (before, after)]
    differences = scores[0] - scores[1]
    spread = float(((differences - differences.mean()) ** 2).sum())
    return OutputComparison(
        images=len(before),
        agreement=agreement,
        score_name=_NAMES[task],
        before=float(scores[0].mean()),
        after=float(scores[1].mean()),
        # The 1 is of one more image: that a few images don't differ says little of others.
        standard_error=float(np.sqrt(spread + 1) / len(differences)),
    )


def _decide(outputs: np.ndarray, task: str, threshold: float) -> np.ndarray:
    """Returns the class of each image, or of a multi-label model all its classes, as one value per image."""
    if task == "single_label":
        classes: np.ndarray = outputs.argmax(axis=1)
        return classes
    return np.array([row.tobytes() for row in outputs >= threshold])


def _scores(outputs: np.ndarray, labels: np.ndarray, task: str, threshold: float) -> np.ndarray:
    """Returns a score per image, at best 1, whose mean is the score of the model."""
    if task == "single_label":
        right: np.ndarray = (outputs.argmax(axis=1) == labels).astype("float64")
        return right
    if task == "multi_label":
        chosen, true = outputs >= threshold, labels > 0
        total = chosen.sum(axis=1) + true.sum(axis=1)
        scores: np.ndarray = np.where(total == 0, 1.0, 2 * (chosen & true).sum(axis=1) / np.maximum(total, 1))
        return scores
    labels = labels.astype("float64")
    spread = np.maximum(labels.var(axis=0), 1e-12)
    r2: np.ndarray = 1 - ((outputs - labels) ** 2 / spread).mean(axis=1)
    return r2


def choose_calibration(images: CheckImages, *, seed: int = 0) -> np.ndarray:
    """Returns the images that static int8 measures the range of each activation on: at most `CALIBRATION_IMAGES`, drawn at random.

    Raises:
        DataError: There are no images.
    """
    if not len(images):
        raise DataError(
            'quantization="static" measures the range of each activation on images of your data, and there are none: give some with '
            'calibration=, or use quantization="dynamic", which needs none.'
        )
    drawn = np.random.default_rng(seed).permutation(len(images))[:CALIBRATION_IMAGES]
    chosen: np.ndarray = images.images[np.sort(drawn)]
    return chosen
