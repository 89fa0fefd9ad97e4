"""The space of Vision Transformers trained from random weights, for our search and for every tuner of keras-tuner."""

import functools
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import keras

from vit_keras.config import ViTConfig
from vit_keras.data import ImageData
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import vit
from vit_keras.training.recipes import RECIPES, Recipe
from vit_keras.tuning.space.limits import Limits
from vit_keras.tuning.space.search_space import Choice, FloatRange, IntRange, SearchSpace, Values, values_of
from vit_keras.tuning.space.searchable import Searchable, load

_FEWEST, _MOST = 16, 196  # patches an image
_REMEMBERED = 4096  # shapes
_SHAPE = ("head_dim", "mlp_ratio")  # what becomes other fields of a config
_FROM_SCRATCH = "small_images"
_PATIENT = {
    "epochs",
    "steps_per_epoch",
    "name",
    "source",
    "expected",
    "seed",
    "choices",
    "data",
    "clock",
}  # of a recipe, decided elsewhere
_CONFIG_FIELDS = {item.name for item in fields(ViTConfig)} - {"image_size", "channels", "hidden_dim", "mlp_dim"}
_RECIPE_FIELDS = {item.name for item in fields(Recipe)} - _PATIENT


class ViTHyperModel(Searchable):
    """Depth, heads, width, patches and the way to train of Vision Transformers, legal by construction.

    What is sampled is heads and the width of each, so that heads always divide the width; patches divide the image. What is over a
    limit is made to fit by fewer heads, then fewer blocks, before anything is built. Our own search asks for what fits from the start; what
    a tuner of keras-tuner asks for stays as asked, and `built_values` says what was built of it.

    Args:
        image_size: Height and width, px.
        num_classes: Classes of the head.
        channels: Channels of an image.
        space: What is tuned: a `SearchSpace`, a TOML or JSON file, or a mapping, laid over `default_space`; None for that.
        max_params: Most parameters, the head among them.
        max_macs: Most MACs of an image's forward pass.
        max_memory: Most bytes of a training step.
        max_latency: Most seconds to predict one image on this machine; measured once a shape.

    Raises:
        InvalidArgumentError: The space is none, or nothing in it is within the limits; the message says what the smallest needs.

    Example:
        >>> hypermodel = ViTHyperModel(28, 10, channels=1, max_params=300_000)
        >>> pairs = hypermodel.sample(3, seed=0)
        >>> all(config.hidden_dim % config.num_heads == 0 for values, config in pairs)
        True
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        num_classes: int,
        *,
        channels: int = 3,
        space: SearchSpace | Mapping[str, Any] | str | Path | None = None,
        max_params: int | None = None,
        max_macs: int | None = None,
        max_memory: int | None = None,
        max_latency: float | None = None,
    ) -> None:
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.image_size = (height, width)
        self.channels = channels
        limits = Limits(params=max_params, macs=max_macs, memory=max_memory, latency=max_latency)
        super().__init__(_laid_over(default_space(self.image_size), space), num_classes=num_classes, limits=limits)
        unknown = [
            name
            for name in self.space.dimensions
            if name not in {*_SHAPE, "batch_size", *_CONFIG_FIELDS, *_RECIPE_FIELDS}
        ]
        if unknown:
            raise InvalidArgumentError(
                f"The search space has {', '.join(unknown)}, which is no field of ViTConfig or Recipe; width is head_dim times num_heads, "
                "mlp_dim is mlp_ratio times that."
            )
        self._check_smallest()

    def model_config(self, values: Mapping[str, Any]) -> ViTConfig:
        """Returns the shape that values stand for; nothing is built.

        Args:
            values: Of the space.

        Raises:
            InvalidArgumentError: They stand for none.
        """
        width = values["head_dim"] * values["num_heads"]
        named = {name: value for name, value in values.items() if name in _CONFIG_FIELDS}
        if values.get("pooling") in ("mean", "map"):
            named.setdefault("class_token", False)
        named |= {"hidden_dim": width, "mlp_dim": round(values["mlp_ratio"] * width)}
        return _config(image_size=self.image_size, channels=self.channels, **named)

    def recipe_of(self, values: Mapping[str, Any], *, epochs: int, steps_per_epoch: int) -> Recipe:
        """Returns the way to train that values stand for.

        Args:
            values: Of the space.
            epochs: Passes over the training images.
            steps_per_epoch: Training batches an epoch.
        """
        named = {name: value for name, value in values.items() if name in _RECIPE_FIELDS}
        named.pop("stochastic_depth_rate", None)  # the config has it
        return RECIPES[_FROM_SCRATCH].unsized(epochs=epochs, steps_per_epoch=steps_per_epoch, **named)

    def model_of(
        self, values: Mapping[str, Any], *, data: ImageData | None = None, recipe: Recipe | None = None
    ) -> keras.Model:
        """Returns a new model, random weights, not compiled.

        Args:
            values: Of the space.
            data: Not looked at.
            recipe: Not looked at.
        """
        return vit(self.model_config(values), num_classes=self.num_classes)

    def default_values(self) -> Values:
        """Returns what is tried first: near what was measured best for the demo, as far as the space has it."""
        wanted = {
            "num_layers": 6, "num_heads": 3, "head_dim": 32, "mlp_ratio": 2, "learning_rate": 4e-3, "weight_decay": 0.05,
            "stochastic_depth_rate": 0.0, "augmentation": "light", "batch_size": 64, "pooling": "mean", "stem": "conv",
            "num_registers": 0, "patch_size": _usual_patch(self.image_size),
        }  # fmt: skip
        values = {
            name: wanted[name] if name in wanted and dimension.has(wanted[name]) else dimension.from_unit(0.5)
            for name, dimension in self.space.dimensions.items()
        }
        return self.fitted(values)

    def fitted(self, values: Mapping[str, Any]) -> Values:
        """Returns values that can be built and are within the limits of size, where there are any.

        A stem of convolutions needs patches that are powers of two; else it is the plain one. What is too large gets the most heads
        that are within the limits, then the most blocks, and where that is not enough narrower heads and MLPs.

        Args:
            values: Of the space.
        """
        values = dict(values)
        if values.get("stem") == "conv":
            patch = values["patch_size"]
            halves = (
                patch >= 2 and not patch & (patch - 1) and not values["head_dim"] * values["num_heads"] % (patch // 2)
            )
            if not halves and self.space.dimensions["stem"].has("patch"):
                values["stem"] = "patch"
        for name in ("num_heads", "num_layers", "head_dim", "mlp_ratio"):
            if self._is_within(values):
                break
            values[name] = self._most(values, name)
        return values

    def _most(self, values: Values, name: str) -> int:
        """Returns the greatest value of a dimension, no more than it is, that is within the limits; the least where none is."""
        smaller = [value for value in values_of(self.space.dimensions[name]) if value <= values[name]]
        low, high = 0, len(smaller) - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._is_within({**values, name: smaller[middle]}) else (low, middle - 1)
        return int(smaller[low])

    def _is_within(self, values: Values) -> bool:
        batch_size = int(values.get("batch_size", 1))
        found = self.limits.problems(self.model_config(values), num_classes=self.num_classes, batch_size=batch_size)
        return next(found, None) is None

    def _check_smallest(self) -> None:
        """Refuses limits under which nothing of the space can be built."""
        smallest = {name: dimension.from_unit(0.0) for name, dimension in self.space.dimensions.items()}
        patches = values_of(self.space.dimensions["patch_size"])
        shapes = [self.fitted({**smallest, "patch_size": patch}) for patch in patches]
        if any(self._is_within(values) for values in shapes):
            return
        needs = [(self.costs(values), values) for values in shapes]
        cost, values = min(needs, key=lambda each: (each[0]["params"], each[0]["macs"]))
        raise InvalidArgumentError(
            f"Nothing in the search space is within the limits {self.limits}: the smallest model, {values['num_layers']} blocks of "
            f"{values['num_heads']} heads of {values['head_dim']}, has {cost['params']:,.0f} parameters and {cost['macs']:,.0f} MACs. "
            "Raise the limits, or widen the space."
        )

    def fingerprint(self) -> dict[str, Any]:
        """Returns what makes this another search than others, as JSON holds it."""
        return {**super().fingerprint(), "image_size": list(self.image_size), "channels": self.channels}

    def data_of(self, train: Any, validation: Any = None) -> ImageData:
        """Returns images at the size that is searched for.

        Args:
            train: `ImageData`, or what `vk.data.load` takes.
            validation: Likewise; None where `train` has all splits, else a part is held out.

        Raises:
            DataError: They are of another size, or number of classes.
        """
        data = load(train, validation, image_size=self.image_size, channels=self.channels)
        if data.image_shape != (*self.image_size, self.channels) or len(data.class_names) != self.num_classes:
            raise InvalidArgumentError(
                f"{data.name} has images of {data.image_shape} and {len(data.class_names)} classes; the hypermodel is for "
                f"{(*self.image_size, self.channels)} and {self.num_classes}."
            )
        return data


@functools.lru_cache(_REMEMBERED)
def _config(**values: Any) -> ViTConfig:
    """Returns a shape, checked once: a proposal looks at hundreds, and at most of them several times."""
    return ViTConfig(**values)


def default_space(image_size: tuple[int, int]) -> SearchSpace:
    """Returns what is tuned where nothing is said: from a few thousand parameters to some tens of millions.

    Deeper and narrower than the paper's sizes, for models of less than 100 M parameters do better so (training on ImageNet alone:
    timm's results tables, mediumd beside base); heads of 32 and 64 in the main, as nearly all published sizes have.

    Args:
        image_size: Height and width, px.

    Raises:
        InvalidArgumentError: No size of patches divides the image into 16 to 196.
    """
    patches = _patches(image_size)
    if not patches:
        raise InvalidArgumentError(
            f"No patch size divides images of {image_size} px into {_FEWEST} to {_MOST} patches: give a space with patch_size, or "
            "other images."
        )
    return SearchSpace(
        {
            "num_layers": IntRange(2, 12),
            "num_heads": IntRange(1, 12),
            "head_dim": Choice((16, 32, 64)),
            "mlp_ratio": Choice((2, 3, 4)),
            "patch_size": Choice(tuple(patches)),
            "stem": Choice(("patch", "conv")),
            "pooling": Choice(("token", "mean")),
            "num_registers": Choice((0, 4)),
            "stochastic_depth_rate": Choice((0.0, 0.1, 0.2)),
            "learning_rate": FloatRange(4e-4, 4e-2, log=True),  # Muon's, the recipe's optimizer
            "weight_decay": FloatRange(1e-3, 0.3, log=True),
            "augmentation": Choice(("none", "light", "medium")),
            "batch_size": Choice((32, 64, 128)),
        }
    )


def _patches(image_size: tuple[int, int]) -> list[int]:
    height, width = image_size
    return [
        size
        for size in range(1, min(image_size) + 1)
        if height % size == 0 and width % size == 0 and _FEWEST <= height * width // size**2 <= _MOST
    ]


def _usual_patch(image_size: tuple[int, int]) -> int | None:
    """Returns the largest patch size that a stem of convolutions can have, else that of the paper, or the largest below."""
    patches = _patches(image_size)
    halving = [size for size in patches if size & (size - 1) == 0]
    return max([size for size in halving if size <= 16] or [size for size in patches if size <= 16], default=None)


def _laid_over(default: SearchSpace, space: SearchSpace | Mapping[str, Any] | str | Path | None) -> SearchSpace:
    """Returns the default space with the dimensions that are given in place of its own, and beside them."""
    if space is None:
        return default
    if isinstance(space, str | Path):
        space = SearchSpace.from_file(space)
    given = space if isinstance(space, SearchSpace) else SearchSpace.from_dict(space)
    return default.added(**given.dimensions)
