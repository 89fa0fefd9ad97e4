"""The pre-training methods by name, and the model that each of them trains."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import closest

if TYPE_CHECKING:
    import keras

    from vit_keras.pretraining.base.objective import PretrainingModel

_GIVEN = {"self", "encoder", "teacher", "seed", "name", "kwargs"}  # arguments that are no options of a method


@dataclass(frozen=True)
class Method:
    """A pre-training method.

    Args:
        name: Its name, and that of its recipe.
        module: The module of its class, below `vit_keras.pretraining`.
        kind: Name of the class, a `PretrainingModel`.
        needs_teacher: Whether the class takes a `teacher`.
        compares_images: Whether its loss compares the images of a batch with each other.
    """

    name: str
    module: str
    kind: str
    needs_teacher: bool = False
    compares_images: bool = False

    def load(self) -> "type[PretrainingModel]":
        """Returns the class; imports Keras."""
        found: type[PretrainingModel] = getattr(import_module(f"vit_keras.pretraining.{self.module}"), self.kind)
        return found

    def list_options(self) -> list[str]:
        """Returns the names of the method's own options, such as `mask_ratio`."""
        return [name for name in inspect.signature(self.load()).parameters if name not in _GIVEN]

    def make(
        self,
        encoder: "keras.Model",
        *,
        options: Mapping[str, Any],
        seed: int,
        teacher: "keras.Model | None" = None,
    ) -> "PretrainingModel":
        """Returns the model to train, not compiled."""
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in options.items()
        }
        if self.needs_teacher:
            given["teacher"] = teacher
        return self.load()(encoder, seed=seed, **given)


METHODS = {
    each.name: each
    for each in (
        Method("mae", "mae.model", "MaskedAutoencoder"),
        Method("lejepa", "lejepa", "LeJEPA", compares_images=True),
        Method("distill", "distillation", "FeatureDistillation", needs_teacher=True),
    )
}
"""The methods by name; each has a recipe of the same name in `recipes.toml`."""


def find_method(name: object) -> Method:
    """Returns the method of a name; raises `InvalidArgumentError` with the closest names for another."""
    if isinstance(name, str) and name in METHODS:
        return METHODS[name]
    near = closest(name, METHODS, count=1) if isinstance(name, str) else []
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InvalidArgumentError(
        f"method={name!r}: there is no such pre-training method.{hint} The methods are {', '.join(METHODS)}."
    )
