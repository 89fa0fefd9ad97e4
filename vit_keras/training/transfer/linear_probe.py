"""Linear probe: a linear classifier on frozen features, fitted to its optimum, with a penalty chosen by validation."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from vit_keras.errors import ClassLayoutError, InvalidArgumentError, WeightMismatchError
from vit_keras.models.wiring import read_model
from vit_keras.training.transfer.feature_checks import check_features, check_labels
from vit_keras.training.transfer.penalty_search import PENALTIES, Holdout, choose_penalty, split_folds
from vit_keras.training.transfer.softmax_regression import SoftmaxRegression, find_axes
from vit_keras.validation import is_number

_SHOWN = 10  # classes in a warning


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A linear classifier of features."""

    kernel: np.ndarray  # `(dim, num_classes)`, float32, for features as the model outputs them
    bias: np.ndarray  # `(num_classes,)`, float32
    penalty: float  # the L2 penalty it was fitted with
    validation_accuracies: Mapping[float, float]  # on the holdout images, by penalty; empty without a holdout split

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Returns the logits of features, `(count, num_classes)`."""
        checked = check_features(features, "features", dim=len(self.kernel))
        logits: np.ndarray = checked.astype("float32") @ self.kernel + self.bias
        return logits

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Returns the top-1 class of each image, `(count,)`."""
        predictions: np.ndarray = self.logits(features).argmax(axis=1)
        return predictions

    def accuracy(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Returns the fraction of correct predictions."""
        predictions = self.predict(features)
        labels = check_labels(labels, "labels", count=len(predictions), num_classes=len(self.bias))
        return float((predictions == labels).mean())

    def apply_to(self, model: keras.Model) -> None:
        """Writes the classifier into a model's head, so that the model's logits are those of this classifier.

        In a head of your own, this is the last dense layer. A model with two heads, which averages them, gets twice the classifier in
        the first and zeros in the second. Heads of another shape raise `WeightMismatchError`, and nothing is changed.
        """
        heads = read_model(model).classifiers
        shapes = [tuple(tuple(weight.shape) for weight in head.weights) for head in heads]
        if not heads or any(shape != (self.kernel.shape, self.bias.shape) for shape in shapes):
            raise WeightMismatchError(
                f"The classifier maps {self.kernel.shape[0]} features to {self.kernel.shape[1]} classes; the heads of {model.name!r} have "
                f"kernel and bias of {shapes or 'no shape: there are none'}. Make the model with num_classes={self.kernel.shape[1]}."
            )
        factors = [float(len(heads)), *[0.0] * (len(heads) - 1)]
        for head, factor in zip(heads, factors, strict=True):
            head.kernel.assign(self.kernel * np.float32(factor))
            head.bias.assign(self.bias * np.float32(factor))


def linear_probe(
    features: np.ndarray,
    labels: np.ndarray,
    validation_features: np.ndarray | None = None,
    validation_labels: np.ndarray | None = None,
    *,
    num_classes: int,
    penalties: Sequence[float] = PENALTIES,
    class_weights: Sequence[float] | None = None,
) -> LinearProbe:
    """Returns the linear classifier with the lowest cross-entropy under an L2 penalty, which is chosen on holdout images.

    The holdout images are the validation images, which are never trained on; without them, 5-fold cross-validation on the training
    images, or one fold of 5,000 images or more. The classifier is then fitted to all training images. A class without training images
    is never predicted, and a warning names it. If no class has two images, there is no holdout, and the penalty nearest to 1 is used.

    Args:
        features: Of the training images, `(images, dim)`, such as from `vk.training.extract_features`.
        labels: Their classes, `(images,)`.
        validation_features: Of holdout images, to choose the penalty on.
        validation_labels: Their classes.
        num_classes: Number of classes.
        penalties: To choose from, those in `mean loss + penalty / 2 * sum of squared kernel` on standardized features.
        class_weights: Weight of an image per class, in the loss and in the choice.

    Raises:
        InvalidArgumentError: Features or labels have other shapes or values than these.

    Example:
        >>> features, labels = np.array([[-1.0], [-2.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
        >>> linear_probe(features, labels, num_classes=2).accuracy(features, labels)
        1.0
    """
    features = check_features(features, "training features")
    labels = check_labels(labels, "training labels", count=len(features), num_classes=num_classes)
    weights = _check_class_weights(class_weights, num_classes)
    candidates = _check_penalties(penalties)
    if (validation_features is None) != (validation_labels is None):
        raise InvalidArgumentError("Give both validation_features and validation_labels, or neither.")
    present = _present_classes(labels, num_classes)
    axes = find_axes(features)
    rotated, places = axes.rotate(features), np.searchsorted(present, labels)

    def problem(chosen: np.ndarray) -> SoftmaxRegression:
        importance = weights[labels[chosen]]
        return SoftmaxRegression(
            rotated[chosen], places[chosen], importance / importance.sum(), axes.spread, len(present)
        )

    everything = np.arange(len(labels))
    whole = problem(everything)
    if validation_features is not None:
        held_out = check_features(validation_features, "validation features", dim=features.shape[1])
        targets = check_labels(validation_labels, "validation labels", count=len(held_out), num_classes=num_classes)
        known = np.where(np.isin(targets, present), np.searchsorted(present, targets), -1)
        folds = [Holdout(whole, axes.rotate(held_out), known, weights[targets])]
    else:
        folds = [
            Holdout(problem(np.setdiff1d(everything, out)), rotated[out], places[out], weights[labels[out]])
            for out in split_folds(labels)
        ]
    choice = choose_penalty(folds, candidates)
    start = whole.start() if choice.coefficients is None else choice.coefficients
    coefficients = whole.fit_closely(choice.penalty, start)
    coefficients -= coefficients.mean(axis=1, keepdims=True)  # the same probabilities, and logits around zero
    kernel = np.zeros((features.shape[1], num_classes), "float32")
    # The largest logit of an image is above zero, so an absent class never wins; its probability is at most 1 / count.
    bias = np.full(num_classes, -np.log(len(labels)), "float32")
    kernel[:, present], bias[present] = axes.undo(coefficients[:-1], coefficients[-1])
    return LinearProbe(kernel, bias, choice.penalty, choice.accuracies)


def _present_classes(labels: np.ndarray, num_classes: int) -> np.ndarray:
    present = np.unique(labels)
    if len(present) < 2:
        raise ClassLayoutError(
            f"All {len(labels)} training images are of class {present[0]}; a classifier needs images of at least two classes."
        )
    absent = np.setdiff1d(np.arange(num_classes), present)
    if absent.size:
        warnings.warn(
            f"{absent.size} of {num_classes} classes {'has' if absent.size == 1 else 'have'} no training image and will never be predicted: "
            f"{', '.join(map(str, absent[:_SHOWN]))}{', ...' if absent.size > _SHOWN else ''}.",
            stacklevel=3,
        )
    return present


def _check_penalties(penalties: Sequence[float]) -> list[float]:
    """Returns the penalties from strong to weak."""
    if not len(penalties) or not all(is_number(penalty) and 0 < penalty < np.inf for penalty in penalties):
        raise InvalidArgumentError(
            f"penalties must be one or more positive numbers, such as (0.1, 0.01), got {penalties!r}."
        )
    return sorted({float(penalty) for penalty in penalties}, reverse=True)


def _check_class_weights(class_weights: Sequence[float] | None, num_classes: int) -> np.ndarray:
    if class_weights is None:
        return np.ones(num_classes)
    if len(class_weights) != num_classes or not all(is_number(item) and 0 < item < np.inf for item in class_weights):
        raise InvalidArgumentError(
            f"class_weights must be {num_classes} positive numbers, one per class, got {class_weights!r}."
        )
    return np.asarray(class_weights, "float64")
