"""A head that was trained for classes by name, brought to the order that a data set has them in."""

from collections.abc import Sequence

import keras
import numpy as np

from vit_keras.data.class_names import are_numbers
from vit_keras.models.vit import model_num_classes
from vit_keras.models.wiring import read_model
from vit_keras.training.recipes.recipe import Choice


def head_choices(model: keras.Model, class_names: Sequence[str]) -> tuple[Choice, ...]:
    """Returns what becomes of a head with as many outputs as there are classes, with the reason; nothing where there is no question.

    Args:
        model: What is fine-tuned.
        class_names: The classes of the data, in the order of the labels.
    """
    names, known = tuple(class_names), getattr(model, "class_names", None)
    if model_num_classes(model) != len(names) or known == names or not _is_trained(model):
        return ()
    if are_numbers(names):
        if known is None:
            return ()
        reason = f"the data name their classes by numbers alone: 0 is taken for {known[0]!r}, and so on"
        return (Choice("head", "by number", reason),)
    if known is None:
        reason = (
            f"it has {len(names)} outputs, and its names are not known: the first is taken for {names[0]!r}, and so on"
        )
        return (Choice("head", "by number", reason),)
    if set(known) == set(names):
        return (Choice("head", "permuted", "the classes of the data have another order than those of the model"),)
    others = [name for name in known if name not in names]
    reason = f"it was trained for other classes, such as {others[0]!r}"
    return (Choice("head", "new", reason),)


def match_head(student: keras.Model, class_names: Sequence[str]) -> None:
    """Brings a head to the order of the classes by name, or back to zero where it is of other classes, in place.

    Args:
        student: A copy of what is fine-tuned, with as many outputs as there are classes.
        class_names: The classes of the data, in the order of the labels.
    """
    names, known = tuple(class_names), getattr(student, "class_names", None)
    if are_numbers(names) and known is not None:
        return
    if known is not None and known != names:
        for layer in _heads(student):
            for weight in layer.weights:
                value = keras.ops.convert_to_numpy(weight)
                if set(known) == set(names):
                    weight.assign(value[..., [known.index(name) for name in names]])
                else:
                    weight.assign(np.zeros_like(value))
    student.class_names = names


def _heads(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers that make the logits."""
    return list(read_model(model).classifiers)


def _is_trained(model: keras.Model) -> bool:
    return any(keras.ops.convert_to_numpy(weight).any() for layer in _heads(model) for weight in layer.weights)
