"""What a saved model ends in: the head that `vit` makes, and the user's own layers behind it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.own_head import build, check_activation, describe, find_classifier
from vit_keras.models.vit import append_layers, model_num_classes, vit
from vit_keras.models.wiring import ModelParts
from vit_keras.zoo.rebuild import rebuild

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelEnd:
    """What follows a model's features, as config.json describes it."""

    classifier_activation: str | None = None  # activation of the head that `vit` makes; None for logits
    own_head: list[dict[str, Any]] = field(default_factory=list)  # the user's own layers, as `describe` describes them
    head_classes: int | None = None  # of the head that `vit` makes before own layers

    @classmethod
    def from_parts(cls, parts: ModelParts) -> "ModelEnd":
        """Returns the end of a model."""
        own_head = describe(parts.own_head)
        return cls(parts.classifier_activation, own_head, parts.head_classes if own_head else None)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any], num_classes: int | None) -> "ModelEnd":
        """Returns the end that `to_dict` wrote, after checking it against the number of classes."""
        activation, own_head = saved.get("classifier_activation"), saved.get("own_head", [])
        head_classes = saved.get("head_classes")
        if activation is not None:
            check_activation(activation, what="classifier_activation")
        if head_classes is not None and (type(head_classes) is not int or head_classes < 1):
            raise InvalidArgumentError(f"head_classes is {head_classes!r}; expected a positive integer or null.")
        classifier = find_classifier(build(own_head))
        own_classes = classifier.units if classifier is not None else head_classes if own_head else num_classes
        if own_classes != num_classes:
            raise InvalidArgumentError(f"num_classes is {num_classes!r}, and own_head gives {own_classes!r}.")
        if activation is not None and (head_classes if own_head else num_classes) is None:
            raise InvalidArgumentError(f"classifier_activation is {activation!r}, and there is no head.")
        return cls(activation, own_head, head_classes)

    def to_dict(self) -> dict[str, Any]:
        """Returns the keys of config.json; none for a model that ends in logits or features."""
        own = {"own_head": self.own_head, "head_classes": self.head_classes} if self.own_head else {}
        activation = self.classifier_activation
        return {**({} if activation is None else {"classifier_activation": activation}), **own}

    def build_model(
        self, config: ViTConfig, *, num_classes: int | None, classifier_activation: str | None, name: str
    ) -> keras.Model:
        """Returns a new model with this end; own layers are built as saved, whatever else is asked for."""
        if self.own_head:
            body = vit(
                config, num_classes=self.head_classes, classifier_activation=self.classifier_activation, name=name
            )
            return append_layers(body, build(self.own_head))
        activation = classifier_activation or (self.classifier_activation if num_classes else None)
        return vit(config, num_classes=num_classes, classifier_activation=activation, name=name)

    def adapt(self, model: keras.Model, *, num_classes: int | None, classifier_activation: str | None) -> keras.Model:
        """Returns a loaded model with the number of classes and the activation that the caller asked for."""
        before = model_num_classes(model)
        if num_classes in (None, before) and classifier_activation is None:
            return model
        if num_classes not in (None, before):
            _log.warning("the own head's last dense layer is new, for %s classes in place of %s", num_classes, before)
        return rebuild(model, num_classes=num_classes, classifier_activation=classifier_activation)
