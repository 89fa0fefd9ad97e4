"""Says what a recipe does to a model's head, and warns of random weights."""

from collections.abc import Sequence

import keras

from vit_keras.data.class_names import are_numbers, rename_classes
from vit_keras.models.own_head import ends_in_probabilities, find_classifier
from vit_keras.models.wiring import ModelParts, read_model
from vit_keras.training.recipes.recipe import Choice


def list_model_choices(
    model: keras.Model, class_names: Sequence[str], *, task: str = "single_label", expects_pretrained: bool = True
) -> list[Choice]:
    """Returns what happens to a model's own layers, output and head, each with the reason."""
    parts = read_model(model)
    choices = [
        _keep_own_head(parts, len(class_names)),
        _end_in_logits(parts),
        _match_task(parts, getattr(model, "task", None) or "single_label", task)
        or _match_classes(parts, getattr(model, "class_names", None), tuple(class_names)),
    ]
    if expects_pretrained and is_untrained(model):
        reason = (
            "this model has random weights, and fine-tuning needs pretrained ones: load weights, or start with "
            "`vit-keras train`, whose recipes are for random weights"
        )
        choices.append(Choice("weights", "random", reason))
    return [choice for choice in choices if choice is not None]


def _keep_own_head(parts: ModelParts, num_classes: int) -> Choice | None:
    if not parts.own_head:
        return None
    names, classifier = ", ".join(layer.name for layer in parts.own_head), find_classifier(parts.own_head)
    if parts.num_classes == num_classes:
        return Choice("own head", "kept", f"{names}, with weights, since the model already has {num_classes} classes")
    if classifier is not None:
        return Choice("own head", "kept", f"{names}, but {classifier.name} is new, for {num_classes} classes")
    return Choice("own head", "kept", f"{names}, with a new dense layer for {num_classes} classes")


def _end_in_logits(parts: ModelParts) -> Choice | None:
    if parts.classifier_activation is None and not any(map(ends_in_probabilities, parts.own_head[-1:])):
        return None
    reason = (
        "recipes train on logits, so the softmax at the end is left out; "
        'rebuild(..., classifier_activation="softmax") puts it back'
    )
    return Choice("output", "logits", reason)


def _match_task(parts: ModelParts, known: str, task: str) -> Choice | None:
    if known == task or not _has_trained_head(parts):
        return None
    return Choice("head", "new", f"it was trained for the task {known}, and these data are {task}")


def _match_classes(parts: ModelParts, known: tuple[str, ...] | None, names: tuple[str, ...]) -> Choice | None:
    """Returns what happens to a trained head with as many outputs as there are classes: see `match_head`."""
    names = rename_classes(names, known)
    if parts.num_classes != len(names) or known == names or not _has_trained_head(parts):
        return None
    if known is None:
        if are_numbers(names):
            return None
        reason = f"it has {len(names)} outputs without class names: the first is taken for {names[0]!r}, and so on"
        return Choice("head", "by number", reason)
    if are_numbers(names):
        reason = f"the data name their classes by numbers only: 0 is taken for {known[0]!r}, and so on"
        return Choice("head", "by number", reason)
    if set(known) == set(names):
        return Choice("head", "permuted", "the data have the classes of the model in another order")
    other = next(name for name in known if name not in names)
    return Choice("head", "new", f"it was trained for other classes, such as {other!r}")


def _has_trained_head(parts: ModelParts) -> bool:
    return any(keras.ops.convert_to_numpy(weight).any() for layer in parts.classifiers for weight in layer.weights)


def is_untrained(model: keras.Model) -> bool:
    """Returns whether a model still has its initial weights: every norm of its blocks is the identity."""
    norms = [
        keras.ops.convert_to_numpy(weight)
        for block in read_model(model).blocks
        for weight in block.weights
        if weight.name in ("gamma", "beta") and "norm" in weight.path
    ]
    return all((norm == norm.flat[0]).all() and norm.flat[0] in (0, 1) for norm in norms)
