"""Knowledge distillation: a student learns from labels and from a teacher."""

from collections.abc import Mapping
from typing import Any, Literal

import keras
from keras import ops

from vit_keras.data.class_names import name_same_classes
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor, check_choice
from vit_keras.models.reliable_loops import ReliableLoops
from vit_keras.validation import is_number

Kind = Literal["hard", "soft"]
_TOKEN_HEAD = "head_distillation"


@keras.saving.register_keras_serializable(package="vit_keras")
class DistillationLoss(keras.losses.Loss):
    """Distance between a student's logits, `y_pred`, and its teacher's, `y_true`, both `(batch, classes)`.

    Paper: Touvron et al. 2021, arXiv 2012.12877, equation 3 ("hard": cross-entropy with the teacher's class) and equation 2, after
    Hinton et al. 2015, arXiv 1503.02531 ("soft": squared temperature times the KL divergence of the softened probabilities).
    """

    def __init__(
        self, kind: Kind = "hard", *, temperature: float = 3.0, name: str = "distillation", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        check_choice("DistillationLoss", choices=("hard", "soft"), kind=kind)
        if not is_number(temperature) or temperature <= 0:
            raise InvalidArgumentError(f"DistillationLoss: temperature={temperature!r} is not a positive number.")
        self.kind = kind
        self.temperature = float(temperature)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Returns one loss per image."""
        if self.kind == "hard":
            return ops.sparse_categorical_crossentropy(ops.argmax(y_true, axis=-1), y_pred, from_logits=True)
        teacher = ops.log_softmax(y_true / self.temperature, axis=-1)
        student = ops.log_softmax(y_pred / self.temperature, axis=-1)
        return self.temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "kind": self.kind, "temperature": self.temperature}


@keras.saving.register_keras_serializable(package="vit_keras")
class Distillation(ReliableLoops, keras.Model):
    """Trains `student` in place with `fit`; afterwards use `student`.

    The loss is `(1 - alpha) * label loss + alpha * distillation loss`, where `compile` sets the label loss, which is also the
    validation loss. With a distillation token, the class token's head learns the labels and the other head the teacher; metrics and
    validation use the average of both. Paper: Touvron et al. 2021, arXiv 2012.12877, section 4.

    Args:
        student: A model that returns logits; with a distillation token, as `vit` builds it.
        teacher: A model with the same pixels and classes, which is frozen; None where training batches contain
            `{"labels": ..., "teacher": logits}` in place of labels.
        kind: "hard", which the paper found better, or "soft".
        alpha: Weight of the distillation loss; the paper uses 0.5 for "hard" and 0.1 for "soft".
        temperature: Of the "soft" loss; the paper uses 3.

    Raises:
        InvalidArgumentError: An argument is not legal, or teacher and student differ in pixels or classes.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> teacher = vit(config, num_classes=10)
        >>> model = Distillation(vit(config.replace(distillation_token=True), num_classes=10), teacher, alpha=0.5)
        >>> model(ops.zeros((2, 32, 32, 3))).shape == (2, 10), teacher.trainable
        (True, False)
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model | None = None,
        *,
        kind: Kind = "hard",
        alpha: float = 0.5,
        temperature: float = 3.0,
        name: str = "distillation",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if not is_number(alpha) or not 0 <= alpha <= 1:
            raise InvalidArgumentError(f"Distillation: alpha={alpha!r} is not a fraction in [0, 1].")
        _check_pair(student, teacher)
        self.student = student
        self.teacher = teacher
        if teacher is not None:
            teacher.trainable = False
        self.alpha = float(alpha)
        self.distillation_loss = DistillationLoss(kind, temperature=temperature)
        self._heads = _split_heads(student)
        self.built = True

    def call(self, images: Tensor, training: bool | None = None) -> Tensor | dict[str, Tensor]:
        """Returns the student's logits; in training, a dict of those compared with labels, with the teacher, and for metrics."""
        if not training:
            return self.student(images, training=False)
        if self._heads is not None:
            return self._heads(images, training=True)
        logits = self.student(images, training=True)
        return {"labels": logits, "teacher": logits, "logits": logits}

    def compute_loss(
        self, x: Tensor = None, y: Any = None, y_pred: Any = None, sample_weight: Tensor = None, training: bool = True
    ) -> Tensor:
        """Returns the label loss, in training combined with the distillation loss."""
        labels = _get_labels(y)
        if not isinstance(y_pred, Mapping):
            return super().compute_loss(x, labels, y_pred, sample_weight, training)
        label_loss = super().compute_loss(x, labels, y_pred["labels"], sample_weight, training)
        logits = ops.cast(ops.stop_gradient(self._teacher_logits(x, y)), y_pred["teacher"].dtype)
        distillation_loss = self.distillation_loss(logits, y_pred["teacher"], sample_weight=sample_weight)
        penalties = sum(self.losses)  # regularization, which is part of the label loss and must not shrink with it
        return (1 - self.alpha) * (label_loss - penalties) + self.alpha * distillation_loss + penalties

    def compute_metrics(self, x: Tensor, y: Any, y_pred: Any, sample_weight: Tensor = None) -> dict[str, Any]:
        """Returns the metrics of the labels and the averaged logits."""
        logits = y_pred["logits"] if isinstance(y_pred, Mapping) else y_pred
        return dict(super().compute_metrics(x, _get_labels(y), logits, sample_weight))

    def _teacher_logits(self, images: Tensor, y: Any) -> Tensor:
        if isinstance(y, Mapping) and "teacher" in y:
            return y["teacher"]
        if self.teacher is None:
            raise InvalidArgumentError(
                "There is no teacher, and the batch has no teacher logits: give Distillation a teacher, or each training batch "
                '{"labels": labels, "teacher": logits} in place of labels.'
            )
        return self.teacher(images, training=False)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, with both models serialized."""
        models = {"student": self.student, "teacher": self.teacher}
        return {
            **super().get_config(),
            **{name: keras.saving.serialize_keras_object(model) for name, model in models.items()},
            "kind": self.distillation_loss.kind,
            "alpha": self.alpha,
            "temperature": self.distillation_loss.temperature,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> "Distillation":
        """Returns the model that `get_config` describes."""
        models = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in ("student", "teacher")
        }
        return cls(**{**config, **models})


def _get_labels(y: Any) -> Any:
    return y["labels"] if isinstance(y, Mapping) else y


def _split_heads(student: keras.Model) -> keras.Model | None:
    """Returns a model with the logits of each head and their average; None without a distillation token."""
    layers = {layer.name: layer for layer in student.layers}
    if _TOKEN_HEAD not in layers:
        return None
    last = student.layers[-1].name
    if last not in ("average", "probabilities"):
        raise InvalidArgumentError(
            f"Distillation needs the logits of both heads, and {student.name!r} ends in the layer {last!r} behind them: distill the "
            "model without that layer."
        )
    outputs = {"labels": layers["head"].output, "teacher": layers[_TOKEN_HEAD].output, "logits": student.output}
    return keras.Model(student.input, outputs, name="heads")


def _check_pair(student: keras.Model, teacher: keras.Model | None) -> None:
    if teacher is student:
        raise InvalidArgumentError(
            "Teacher and student are the same model. Make the student a copy with keras.models.clone_model."
        )
    if teacher is None:
        return
    for what, student_shape, teacher_shape in (
        ("takes images of", student.input_shape, teacher.input_shape),
        ("gives logits of", student.output_shape, teacher.output_shape),
    ):
        if student_shape is not None and teacher_shape is not None and not _match(student_shape, teacher_shape):
            raise InvalidArgumentError(
                f"The teacher {teacher.name!r} {what} {teacher_shape}, and the student {student.name!r} {student_shape}: they need the "
                "same pixels and classes. Build one of them for the other's, or train on precomputed logits."
            )
    student_names, teacher_names = (getattr(model, "class_names", None) for model in (student, teacher))
    if student_names and teacher_names and not name_same_classes(student_names, teacher_names):
        raise InvalidArgumentError(
            f"The teacher {teacher.name!r} has the classes {teacher_names!r:.200}, and the student {student.name!r} "
            f"{student_names!r:.200}: they need the same classes in the same order. Train the teacher on data loaded with the "
            "student's class_names."
        )


def _match(first: tuple[int | None, ...], second: tuple[int | None, ...]) -> bool:
    return len(first) == len(second) and all(
        None in (one, other) or one == other for one, other in zip(first, second, strict=True)
    )
