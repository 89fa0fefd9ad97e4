"""`ExportOptions`: what a user asks of an export, checked."""

from dataclasses import dataclass
from typing import Literal, get_args

from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import is_number

Precision = Literal["float32", "float16", "int8"]
Quantization = Literal["dynamic", "static"]
Output = Literal["features", "tokens", "attention"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
QUANTIZATIONS: tuple[Quantization, ...] = get_args(Quantization)
OUTPUTS: tuple[Output, ...] = get_args(Output)
OPSETS = (17, 20)
"""Versions of ONNX's operators that can be written: 20 has GELU, 17 is for runtimes from before 2024."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What a user asks of an export; `vk.export` documents each.

    Raises:
        InvalidArgumentError: One of them is not legal; one message lists all problems.
    """

    precision: Precision = "float32"
    quantization: Quantization = "dynamic"
    softmax: bool = False
    dynamic_image_size: bool = False
    outputs: tuple[Output, ...] = ()
    opset: int = 20
    max_accuracy_loss: float | None = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", tuple(self.outputs))  # as dataclasses do in frozen classes
        wrong = [
            f"{name}={value!r} is none of {', '.join(map(str, choices))}"
            for name, value, choices in (
                ("precision", self.precision, PRECISIONS),
                ("quantization", self.quantization, QUANTIZATIONS),
                ("opset", self.opset, OPSETS),
            )
            if value not in choices
        ]
        if (
            isinstance(self.outputs, str)
            or not set(self.outputs) <= set(OUTPUTS)
            or len(set(self.outputs)) < len(self.outputs)
        ):
            wrong.append(f"outputs={self.outputs!r} is not a list of {', '.join(OUTPUTS)}, each at most once")
        loss = self.max_accuracy_loss
        if loss is not None and not (is_number(loss) and 0 <= loss <= 1):
            wrong.append(f"max_accuracy_loss={loss!r} is neither None nor a fraction from 0 to 1")
        if self.quantization != "dynamic" and self.precision != "int8":
            wrong.append(f'quantization="{self.quantization}" needs precision="int8"')
        if wrong:
            raise InvalidArgumentError(f"vk.export: {'; '.join(wrong)}.")
