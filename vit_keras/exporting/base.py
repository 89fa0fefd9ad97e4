"""The interface of an export format: it writes a file, and opens it with the file's own runtime."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np

from vit_keras.exporting.check_images import CheckImages
from vit_keras.exporting.options import ExportOptions, Precision
from vit_keras.exporting.record import ExportRecord
from vit_keras.zoo.load_model import OpenModel

Runtime = Callable[[np.ndarray], np.ndarray]
"""Images `(batch, height, width, channels)`, uint8, to the model's output `(batch, outputs)`, float32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportJob:
    """One model to write.

    Args:
        opened: The model in float32, without LoRA matrices, ending as the user asked; with its preprocessing and class names.
        record: What travels with it.
        options: What the user asked for.
        images: To calibrate and to check on.
        card: The model card, Markdown.
    """

    opened: OpenModel
    record: ExportRecord
    options: ExportOptions
    images: CheckImages
    card: str = ""

    @property
    def model(self) -> keras.Model:
        """The model in float32."""
        return self.opened.model


class Format(ABC):
    """A format of exported models; `vit_keras.exporting.formats` lists them."""

    name: ClassVar[str]
    precisions: ClassVar[tuple[Precision, ...]] = ("float32",)
    options: ClassVar[tuple[str, ...]] = ("softmax",)  # fields of `ExportOptions` that it takes, besides the precision

    @abstractmethod
    def write(self, job: ExportJob, path: Path) -> None:
        """Writes a file or directory that does not exist yet."""

    @abstractmethod
    def open(self, path: Path, job: ExportJob) -> Runtime:
        """Returns a function that runs the file in its own runtime; it takes every batch size."""

    def write_record(self, record: ExportRecord, path: Path) -> None:
        """Puts the record, now with the result of the comparison, into a file that was written."""
        return

    def read_blocks(self, job: ExportJob, path: Path, images: np.ndarray) -> Mapping[str, np.ndarray] | None:
        """Returns the output of each block by the block's name, to find the first that differs; None where the file can't tell."""
        return None

    def kept_float(self, path: Path) -> tuple[str, ...]:
        """Returns the layers of an int8 file that were kept in floating point."""
        return ()


def float32_beside(path: Path) -> Path:
    """Returns where a format that rounds weights leaves the same file in float32, to compare the speed of both; `vk.export` removes it."""
    return path.with_name(f"{path.stem}-float32{path.suffix}")
