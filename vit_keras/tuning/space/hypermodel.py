"""`ViTHyperModel`: the search space of Vision Transformers trained from random weights."""

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
from vit_keras.runtime.devices import has_accelerator
from vit_keras.training.recipes import RECIPES, Recipe
from vit_keras.tuning.space.dimensions import Choice, FloatRange, IntRange, list_values
from vit_keras.tuning.space.limits import Limits, default_limits
from vit_keras.tuning.space.search_space import SearchSpace, Values
from vit_keras.tuning.space.searchable import Searchable

_FEWEST_PATCHES, _MOST_PATCHES = 16, 196  # per image
_CACHED_CONFIGS = 4096
_RECIPE = "small_images"
_DERIVED = ("head_dim", "mlp_ratio")  # dimensions from which hidden_dim and mlp_dim follow
_CONFIG_FIELDS = {item.name for item in fields(ViTConfig)} - {"image_size", "channels", "hidden_dim", "mlp_dim"}
_FIXED_FIELDS = {"epochs", "steps_per_epoch", "name", "source", "expected", "seed", "choices", "data", "clock"}
_RECIPE_FIELDS = {item.name for item in fields(Recipe)} - _FIXED_FIELDS


class ViTHyperModel(Searchable):
    """Tunes depth, heads, width, patch size and the training of Vision Transformers; every proposal can be built.

    The number of heads and the width per head are sampled, so that heads always divide the model's width; patch sizes divide the
    image. Values over a limit get fewer heads, then fewer blocks, before anything is built. `ViTTuner` samples values within the limits;
    a tuner of keras-tuner may ask for others, and `built_values` returns what was built instead.

    Args:
        image_size: Height and width, px.
        num_classes: Number of classes of the head.
        channels: Number of channels of an image.
        space: A `SearchSpace`, a TOML or JSON file, or a mapping, whose dimensions replace or extend those of `default_space`.
        max_params: Maximum number of parameters with the head.
        max_macs: Maximum number of MACs of the forward pass of one image.
        max_memory: Maximum memory of a training step, bytes.
        max_latency: Maximum time to predict one image on this machine, seconds; measured once per architecture.

    Raises:
        InvalidArgumentError: The space is not valid, or nothing in it is within the limits; the message has the smallest model's size.

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
        merged = default_space(self.image_size).merge(space)
        super().__init__(merged, num_classes=num_classes, limits=limits)
        known = {*_DERIVED, "batch_size", *_CONFIG_FIELDS, *_RECIPE_FIELDS}
        unknown = [name for name in self.space.dimensions if name not in known]
        if unknown:
            raise InvalidArgumentError(
                f"The search space has {', '.join(unknown)}, which is not a field of ViTConfig or Recipe that can be tuned; tune hidden_dim "
                "by head_dim and num_heads, and mlp_dim by mlp_ratio."
            )
        self._check_smallest()

    @classmethod
    def for_data(cls, data: ImageData, **options: Any) -> "ViTHyperModel":
        """Returns the search space for the images and classes of data.

        Without a limit in the options, models are limited to what the data can train.

        Args:
            data: What is trained on.
            **options: Arguments of the class other than sizes: `space` and limits.
        """
        *size, channels = data.image_shape
        hypermodel = cls((size[0], size[1]), len(data.class_names), channels=channels, **options)
        if not any(value is not None for value in hypermodel.limits.to_dict().values()):
            limits = default_limits(data.sizes["train"], has_accelerator=has_accelerator())
            smallest = {name: dimension.from_unit(0.0) for name, dimension in hypermodel.space.dimensions.items()}
            config = hypermodel.model_config(hypermodel.make_legal(smallest))
            if not list(limits.find_problems(config, num_classes=hypermodel.num_classes, batch_size=data.batch_size)):
                hypermodel.default_limits = limits
        return hypermodel

    def model_config(self, values: Mapping[str, Any]) -> ViTConfig:
        """Returns the architecture of values; nothing is built."""
        width = values["head_dim"] * values["num_heads"]
        named = {name: value for name, value in values.items() if name in _CONFIG_FIELDS}
        if values.get("pooling") in ("mean", "map"):
            named.setdefault("class_token", False)
        named |= {"hidden_dim": width, "mlp_dim": round(values["mlp_ratio"] * width)}
        return _make_config(image_size=self.image_size, channels=self.channels, **named)

    def make_recipe(self, values: Mapping[str, Any], *, epochs: int, steps_per_epoch: int) -> Recipe:
        """Returns the training recipe of values."""
        named = {name: value for name, value in values.items() if name in _RECIPE_FIELDS}
        named.pop("stochastic_depth_rate", None)  # the config has it
        return RECIPES[_RECIPE].unsized(epochs=epochs, steps_per_epoch=steps_per_epoch, **named)

    def make_model(
        self, values: Mapping[str, Any], *, data: ImageData | None = None, recipe: Recipe | None = None
    ) -> keras.Model:
        """Returns a new model with random weights, not compiled."""
        return vit(self.model_config(values), num_classes=self.num_classes)

    def default_values(self) -> Values:
        """Returns values near those that were measured best for the demo, as far as the space has them."""
        wanted = {
            "num_layers": 6, "num_heads": 3, "head_dim": 32, "mlp_ratio": 2, "learning_rate": 4e-3, "weight_decay": 0.05,
            "stochastic_depth_rate": 0.0, "augmentation": "light", "batch_size": 64, "pooling": "mean", "stem": "conv",
            "num_registers": 0, "patch_size": _default_patch_size(self.image_size),
        }  # fmt: skip
        return self.make_legal(self.space.choose(wanted))

    def make_legal(self, values: Mapping[str, Any]) -> Values:
        """Returns values that can be built and are within the limits of size, if there are any.

        A convolutional stem needs a patch size that is a power of two; without one the plain stem is used. A model that is too large gets
        the largest number of heads within the limits, then of blocks, then narrower heads and MLPs.
        """
        values = dict(values)
        if values.get("stem") == "conv":
            patch = values["patch_size"]
            is_power_of_two = patch >= 2 and not patch & (patch - 1)
            can_halve = is_power_of_two and not values["head_dim"] * values["num_heads"] % (patch // 2)
            if not can_halve and self.space.dimensions["stem"].has("patch"):
                values["stem"] = "patch"
        for name in ("num_heads", "num_layers", "head_dim", "mlp_ratio"):
            if not self.find_size_problems(values):
                break
            values[name] = self._find_largest(values, name)
        return values

    def _find_largest(self, values: Values, name: str) -> int:
        """Returns the largest value of a dimension, up to the present one, that is within the limits; else the smallest."""
        smaller = [value for value in list_values(self.space.dimensions[name]) if value <= values[name]]
        low, high = 0, len(smaller) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if not self.find_size_problems({**values, name: smaller[middle]}):
                low = middle
            else:
                high = middle - 1
        return int(smaller[low])

    def _check_smallest(self) -> None:
        """Refuses limits under which nothing of the space can be built."""
        smallest = {name: dimension.from_unit(0.0) for name, dimension in self.space.dimensions.items()}
        patch_sizes = list_values(self.space.dimensions["patch_size"])
        shapes = [self.make_legal({**smallest, "patch_size": size}) for size in patch_sizes]
        if not all(self.find_size_problems(values) for values in shapes):
            return
        costs = [(self.compute_costs(values), values) for values in shapes]
        cost, values = min(costs, key=lambda pair: (pair[0]["params"], pair[0]["macs"]))
        given = {name: value for name, value in self.limits.to_dict().items() if value is not None}
        limits = ", ".join(f"max_{name}={value:,}" for name, value in given.items())
        raise InvalidArgumentError(
            f"Nothing in the search space is within {limits}: the smallest model, with num_layers={values['num_layers']}, "
            f"num_heads={values['num_heads']} and head_dim={values['head_dim']}, has {cost['params']:,.0f} parameters and "
            f"{cost['macs']:,.0f} MACs. Raise the limits, or extend the space."
        )

    def fingerprint(self) -> dict[str, Any]:
        """Returns the settings that a search must have in common with one that it resumes, as JSON can hold them."""
        return {**super().fingerprint(), "image_size": list(self.image_size), "channels": self.channels}

    def load_data(self, train: Any, validation: Any = None) -> ImageData:
        """Returns images of the size that is searched for."""
        return self._load_images(train, validation, image_size=self.image_size, channels=self.channels)


@functools.lru_cache(_CACHED_CONFIGS)
def _make_config(**values: Any) -> ViTConfig:
    """Returns a config; cached, because each proposal checks hundreds, most of them several times."""
    return ViTConfig(**values)


def default_space(image_size: tuple[int, int]) -> SearchSpace:
    """Returns the default space, for models from a few thousand to some tens of millions of parameters.

    Its models are deeper and narrower than the paper's, because models of less than 100 M parameters are better so (training on
    ImageNet alone: timm's results tables, mediumd compared with base); heads of 32 and 64 are those of nearly all published sizes.
    """
    patch_sizes = _list_patch_sizes(image_size)
    if not patch_sizes:
        raise InvalidArgumentError(
            f"No patch size divides images of {image_size} px into {_FEWEST_PATCHES} to {_MOST_PATCHES} patches: give a space with "
            "patch_size, or another image size."
        )
    return SearchSpace(
        {
            "num_layers": IntRange(2, 12),
            "num_heads": IntRange(1, 12),
            "head_dim": Choice((16, 32, 64)),
            "mlp_ratio": Choice((2, 3, 4)),
            "patch_size": Choice(tuple(patch_sizes)),
            "stem": Choice(("patch", "conv")),
            "pooling": Choice(("token", "mean")),
            "num_registers": Choice((0, 4)),
            "stochastic_depth_rate": Choice((0.0, 0.1, 0.2)),
            "learning_rate": FloatRange(4e-4, 4e-2, log=True),  # for Muon, the recipe's optimizer
            "weight_decay": FloatRange(1e-3, 0.3, log=True),
            "augmentation": Choice(("none", "light", "medium")),
            "batch_size": Choice((32, 64, 128)),
        }
    )


def _list_patch_sizes(image_size: tuple[int, int]) -> list[int]:
    height, width = image_size
    divisors = [size for size in range(1, min(image_size) + 1) if height % size == 0 and width % size == 0]
    return [size for size in divisors if _FEWEST_PATCHES <= height * width // size**2 <= _MOST_PATCHES]


def _default_patch_size(image_size: tuple[int, int]) -> int | None:
    """Returns the largest patch size up to the paper's 16 px, preferring powers of two, which a convolutional stem needs."""
    sizes = [size for size in _list_patch_sizes(image_size) if size <= 16]
    return max([size for size in sizes if size & (size - 1) == 0] or sizes, default=None)
