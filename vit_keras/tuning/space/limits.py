"""Maximum costs of a model, checked before it is built."""

from collections.abc import Iterator
from dataclasses import dataclass

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.memory import model_cost, training_bytes
from vit_keras.training.runs.facts import format_count
from vit_keras.validation import FrozenConfig, is_number

_PARAMS_PER_IMAGE, _FEWEST_PARAMS = 10_000, 1_000_000
_SECONDS_PER_EPOCH, _CPU_MACS_PER_SECOND = 60, 20e9  # of a small model on two cores


@dataclass(frozen=True, kw_only=True)
class Limits(FrozenConfig):
    """Maximum costs of a model with its head; None for no limit.

    >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=192, num_layers=9, num_heads=3, mlp_dim=384)
    >>> list(Limits(params=1_000_000).find_problems(config, num_classes=10, batch_size=64))
    ['2.7 M parameters are over the limit of 1 M']
    """

    params: int | None = None
    macs: int | None = None  # multiply-accumulate operations of the forward pass of one image
    memory: int | None = None  # bytes of a training step in float32: weights, gradients, optimizer, activations
    latency: float | None = None  # seconds to predict one image on this machine

    def __str__(self) -> str:
        named = {"parameters": self.params, "MACs": self.macs}
        return ", ".join(f"{format_count(value)} {name}" for name, value in named.items() if value is not None)

    def __post_init__(self) -> None:
        for name in ("params", "macs", "memory", "latency"):
            value = getattr(self, name)
            if value is not None and (not is_number(value) or value <= 0):
                raise InvalidArgumentError(f"max_{name} must be a positive number, got {value!r}.")

    def find_problems(self, config: ViTConfig, *, num_classes: int, batch_size: int) -> Iterator[str]:
        """Yields each limit that is exceeded, but for latency, which has to be measured."""
        cost = model_cost(config, num_classes=num_classes)
        if self.params is not None and cost["parameters"] > self.params:
            yield f"{format_count(cost['parameters'])} parameters are over the limit of {format_count(self.params)}"
        if self.macs is not None and cost["macs"] > self.macs:
            yield f"{format_count(cost['macs'])} MACs are over the limit of {format_count(self.macs)}"
        if self.memory is not None:
            needed = training_bytes(config, num_classes=num_classes, batch_size=batch_size)
            if needed > self.memory:
                yield f"{needed / 2**20:,.0f} MiB per training step are over the limit of {self.memory / 2**20:,.0f} MiB"


def default_limits(num_images: int, *, has_accelerator: bool) -> Limits:
    """Returns limits for a search without any: models that so many training images can train, on a CPU in a reasonable time.

    No more than 10,000 parameters per image, or 1 M; on a CPU, no epoch of more than about a minute.

    >>> str(default_limits(160, has_accelerator=False)), str(default_limits(50_000, has_accelerator=False))
    ('1.6 M parameters, 2.5 G MACs', '500 M parameters, 8 M MACs')
    """
    params = max(_FEWEST_PARAMS, _PARAMS_PER_IMAGE * num_images)
    macs = round(_SECONDS_PER_EPOCH * _CPU_MACS_PER_SECOND / (3 * num_images))  # a step takes three forward passes
    return Limits(params=params, macs=None if has_accelerator else macs)
