"""A linear classifier on the features of a model that stays as it is: fitted to its optimum, the penalty chosen by itself."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from vit_keras.errors import ClassLayoutError, InvalidArgumentError, WeightMismatchError
from vit_keras.models.wiring import read_model
from vit_keras.training.transfer.feature_checks import checked_features, checked_labels
from vit_keras.training.transfer.penalty_search import PENALTIES, HeldOut, choose, held_out
from vit_keras.training.transfer.softmax_regression import SoftmaxRegression, axes_of
from vit_keras.validation import is_number

_SHOWN = 10  # classes in a warning


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A linear classifier of features.

    Args:
        kernel: `(dim, num_classes)`, float32, for features as the model makes them.
        bias: `(num_classes,)`, float32.
        penalty: The strength it was fitted with.
        validation_accuracies: Fraction right of the images held out, by each penalty tried; empty where none could be held out.
    """

    kernel: np.ndarray
    bias: np.ndarray
    penalty: float
    validation_accuracies: Mapping[float, float]

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Returns what the classifier says of features, `(count, num_classes)`.

        Args:
            features: `(count, dim)`.

        Raises:
            DataError: They are empty, not finite, or of another width.
        """
        checked = checked_features(features, "features", dim=len(self.kernel))
        logits: np.ndarray = checked.astype("float32") @ self.kernel + self.bias
        return logits

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Returns the likeliest class of each image, `(count,)`."""
        predictions: np.ndarray = self.logits(features).argmax(axis=1)
        return predictions

    def accuracy(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Returns the fraction of the images that are right.

        Args:
            features: `(count, dim)`.
            labels: `(count,)`.

        Raises:
            DataError: They can't be used.
        """
        predictions = self.predict(features)
        labels = checked_labels(labels, "labels", count=len(predictions), num_classes=len(self.bias))
        return float((predictions == labels).mean())

    def apply_to(self, model: keras.Model) -> None:
        """Writes the classifier into a model's head, so that the model's logits are this classifier's.

        In a head of your own that is the last dense layer. A model with a second head, which averages the two, gets twice the classifier in the first and zeros in the second.

        Args:
            model: A model of as many classes that `vit` or `from_preset` made.

        Raises:
            WeightMismatchError: Its head is of another shape, or it has none; nothing is changed.
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
    """Returns the linear classifier with the least cross-entropy under an L2 penalty, which is chosen on images held out.

    Held out are the validation images, which are never trained on; without them, each fifth of the training images in turn, or one
    fifth of 5,000 or more. The classifier is fitted to all training images. A class that has none is never predicted, and a
    warning names it. Where no class has two images, none can be held out, and the penalty is the one nearest to 1.

    Args:
        features: `(count, dim)`, of the training images.
        labels: `(count,)`, of the training images.
        validation_features: `(count, dim)`, to choose the penalty by.
        validation_labels: `(count,)`, to choose the penalty by.
        num_classes: Classes.
        penalties: Strengths to choose from, of `mean loss + penalty / 2 * sum of kernel squares` on standardised features.
        class_weights: How much an image of each class counts, in the loss and in the choice; by default all the same.

    Raises:
        DataError: Features or labels are empty, not finite, out of range, of one class only, or don't fit each other.
        InvalidArgumentError: Penalties or class weights are not positive numbers, or as many as needed.

    Example:
        >>> features = np.array([[0.0], [1.0], [4.0], [5.0]])
        >>> probe = linear_probe(features, np.array([0, 0, 1, 1]), num_classes=2)
        >>> probe.predict(np.array([[0.5], [4.5]]))
        array([0, 1])
    """
    features = checked_features(features, "training features")
    labels = checked_labels(labels, "training labels", count=len(features), num_classes=num_classes)
    weights = _checked_class_weights(class_weights, num_classes)
    strengths = _checked_penalties(penalties)
    if (validation_features is None) != (validation_labels is None):
        raise InvalidArgumentError("Validation features and validation labels come together, or neither does.")
    present = _present_classes(labels, num_classes)
    axes = axes_of(features)
    turned, places = axes.of(features), np.searchsorted(present, labels)

    def problem(chosen: np.ndarray) -> SoftmaxRegression:
        importance = weights[labels[chosen]]
        return SoftmaxRegression(
            turned[chosen], places[chosen], importance / importance.sum(), axes.spread, len(present)
        )

    everything = np.arange(len(labels))
    whole = problem(everything)
    if validation_features is not None:
        seen = checked_features(validation_features, "validation features", dim=features.shape[1])
        right = checked_labels(validation_labels, "validation labels", count=len(seen), num_classes=num_classes)
        known = np.where(np.isin(right, present), np.searchsorted(present, right), -1)
        folds = [HeldOut(whole, axes.of(seen), known, weights[right])]
    else:
        folds = [
            HeldOut(problem(np.setdiff1d(everything, out)), turned[out], places[out], weights[labels[out]])
            for out in held_out(labels)
        ]
    choice = choose(folds, strengths)
    start = whole.start() if choice.coefficients is None else choice.coefficients
    coefficients = whole.fit_closely(choice.penalty, start)
    coefficients -= coefficients.mean(axis=1, keepdims=True)  # the same probabilities, and logits around zero
    kernel = np.zeros((features.shape[1], num_classes), "float32")
    # An image's largest logit is above zero, so this one never wins: one over the images at most is its probability.
    bias = np.full(num_classes, -np.log(len(labels)), "float32")
    kernel[:, present], bias[present] = axes.undo(coefficients[:-1], coefficients[-1])
    return LinearProbe(kernel, bias, choice.penalty, choice.accuracies)


def _present_classes(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the classes that have images, and warns of the others."""
    present = np.unique(labels)
    if len(present) < 2:
        raise ClassLayoutError(
            f"All {len(labels)} training images are of class {present[0]}; a classifier needs images of two classes or more."
        )
    absent = np.setdiff1d(np.arange(num_classes), present)
    if absent.size:
        warnings.warn(
            f"{absent.size} of {num_classes} classes have no training image and will never be predicted: "
            f"{', '.join(map(str, absent[:_SHOWN]))}{', ...' if absent.size > _SHOWN else ''}.",
            stacklevel=3,
        )
    return present


def _checked_penalties(penalties: Sequence[float]) -> list[float]:
    """Returns strengths from strong to weak."""
    if not len(penalties) or not all(is_number(penalty) and 0 < penalty < np.inf for penalty in penalties):
        raise InvalidArgumentError(f"penalties={penalties!r} must be one positive number or more, such as (0.1, 0.01).")
    return sorted({float(penalty) for penalty in penalties}, reverse=True)


def _checked_class_weights(class_weights: Sequence[float] | None, num_classes: int) -> np.ndarray:
    if class_weights is None:
        return np.ones(num_classes)
    if len(class_weights) != num_classes or not all(is_number(item) and 0 < item < np.inf for item in class_weights):
        raise InvalidArgumentError(
            f"class_weights={class_weights!r} must be {num_classes} positive numbers, one a class."
        )
    return np.asarray(class_weights, "float64")
