"""A student that learns from the labels and from a teacher, with a distillation token or without one."""

from collections.abc import Mapping
from typing import Any, Literal

import keras
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor, check_choice
from vit_keras.validation import is_number

Kind = Literal["hard", "soft"]
_TOKEN_HEAD = "head_distillation"


@keras.saving.register_keras_serializable(package="vit_keras")
class DistillationLoss(keras.losses.Loss):
    """How far a student's logits are from what its teacher says.

    Paper: Touvron et al. 2021, arXiv 2012.12877, equation 3 ("hard": cross-entropy with the teacher's class), and equation 2 after
    Hinton et al. 2015, arXiv 1503.02531 ("soft": the squared temperature times the divergence of the softened probabilities).

    Args:
        kind: "hard" or "soft".
        temperature: Divides the logits in "soft".

    Shapes:
        y_true: `(batch, classes)`, the teacher's logits.
        y_pred: `(batch, classes)`, the student's.

    Raises:
        InvalidArgumentError: An argument is not legal.

    Example:
        >>> loss = DistillationLoss("soft", temperature=2.0)
        >>> round(float(loss(ops.convert_to_tensor([[2.0, 0.0]]), ops.convert_to_tensor([[2.0, 0.0]]))), 6) + 0.0
        0.0
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
        """Returns one loss an image."""
        if self.kind == "hard":
            return ops.sparse_categorical_crossentropy(ops.argmax(y_true, axis=-1), y_pred, from_logits=True)
        teacher = ops.log_softmax(y_true / self.temperature, axis=-1)
        student = ops.log_softmax(y_pred / self.temperature, axis=-1)
        return self.temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "kind": self.kind, "temperature": self.temperature}


@keras.saving.register_keras_serializable(package="vit_keras")
class Distillation(keras.Model):
    """A student in training: `fit` it as any model, then go on with `student`, the very model that was given.

    The loss is `(1 - alpha) * loss of the labels + alpha * DistillationLoss`, the first being what `compile` is told. With a
    distillation token, the class token's head learns the labels and the other's the teacher (Touvron et al. 2021, arXiv
    2012.12877, section 4); both are averaged for metrics, validation and use. Validation's loss is that of the labels.

    Args:
        student: A model that gives logits; one with a distillation token is as `vit` makes it.
        teacher: Any model from the same pixels to logits of the same classes, which is frozen here; None where each training batch
            brings `{"labels": ..., "teacher": logits}` in place of labels, computed before.
        kind: "hard", the paper's better one, or "soft".
        alpha: The teacher's share of the loss; the paper takes 0.5 for "hard" and 0.1 for "soft".
        temperature: Of the "soft" loss; the paper takes 3.

    Raises:
        InvalidArgumentError: An argument is not legal, or teacher and student do not go together.

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
        layers = {layer.name: layer for layer in student.layers}
        if _TOKEN_HEAD in layers:
            if student.layers[-1].name not in ("average", "probabilities"):
                raise InvalidArgumentError(
                    f"Distillation: behind the two heads of {student.name!r} stands {student.layers[-1].name!r}, and each head is to give "
                    "logits of its own; distill the model in front of it."
                )
            heads = {"labels": layers["head"].output, "teacher": layers[_TOKEN_HEAD].output}
            self._heads = keras.Model(student.input, {**heads, "logits": student.output}, name="heads")
        else:
            self._heads = None
        self.built = True

    def call(self, images: Tensor, training: bool | None = None) -> Tensor | dict[str, Tensor]:
        """Returns the student's logits; in training, those for the labels, those for the teacher, and those in use."""
        if not training:
            return self.student(images, training=False)
        if self._heads is not None:
            return self._heads(images, training=True)
        logits = self.student(images, training=True)
        return {"labels": logits, "teacher": logits, "logits": logits}

    def compute_loss(
        self,
        x: Tensor = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Returns the loss of the labels, in training with the teacher's share."""
        labels = _labels(y)
        if not isinstance(y_pred, Mapping):
            return super().compute_loss(x, labels, y_pred, sample_weight, training)
        of_labels = super().compute_loss(x, labels, y_pred["labels"], sample_weight, training)
        logits = ops.cast(ops.stop_gradient(self._teacher_logits(x, y)), y_pred["teacher"].dtype)
        of_teacher = self.distillation_loss(logits, y_pred["teacher"], sample_weight=sample_weight)
        penalties = sum(self.losses)  # of weights, which are in the first and shall not shrink with it
        return (1 - self.alpha) * (of_labels - penalties) + self.alpha * of_teacher + penalties

    def compute_metrics(self, x: Tensor, y: Any, y_pred: Any, sample_weight: Tensor = None) -> dict[str, Any]:
        """Returns the metrics of the labels and the logits in use."""
        logits = y_pred["logits"] if isinstance(y_pred, Mapping) else y_pred
        return dict(super().compute_metrics(x, _labels(y), logits, sample_weight))

    def _teacher_logits(self, images: Tensor, y: Any) -> Tensor:
        if isinstance(y, Mapping) and "teacher" in y:
            return y["teacher"]
        if self.teacher is None:
            raise InvalidArgumentError(
                "There is no teacher, and no logits of one in the batch: give Distillation a teacher, or each training batch "
                '{"labels": labels, "teacher": logits} in place of labels.'
            )
        return self.teacher(images, training=False)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, both models among them."""
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
        """Returns a distillation of these arguments."""
        models = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in ("student", "teacher")
        }
        return cls(**{**config, **models})


def _labels(y: Any) -> Any:
    return y["labels"] if isinstance(y, Mapping) else y


def _check_pair(student: keras.Model, teacher: keras.Model | None) -> None:
    if teacher is student:
        raise InvalidArgumentError(
            "Teacher and student are one model; the student can be a copy, from keras.models.clone_model."
        )
    if teacher is None:
        return
    for what, mine, theirs in (
        ("takes images of", student.input_shape, teacher.input_shape),
        ("gives logits of", student.output_shape, teacher.output_shape),
    ):
        if mine is not None and theirs is not None and not _fit(mine, theirs):
            raise InvalidArgumentError(
                f"The teacher {teacher.name!r} {what} {theirs}, and the student {student.name!r} {mine}: they need the same pixels and "
                "classes. Build one of them for the other's, or train on logits computed before."
            )
    names = [getattr(model, "class_names", None) for model in (student, teacher)]
    if None not in names and names[0] != names[1]:
        raise InvalidArgumentError(
            f"The teacher {teacher.name!r} tells {names[1]!r:.200} apart in this order, and the student {student.name!r} "
            f"{names[0]!r:.200}: they need the same classes in the same order. Train the teacher on data loaded with class_names="
            "the student's."
        )


def _fit(mine: tuple[int | None, ...], theirs: tuple[int | None, ...]) -> bool:
    return len(mine) == len(theirs) and all(
        None in (one, other) or one == other for one, other in zip(mine, theirs, strict=True)
    )
