"""`ExportRecord`: all that travels with an exported model, the same in every format."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vit_keras.errors import CorruptFileError, InvalidArgumentError
from vit_keras.exporting.result import Verification
from vit_keras.reporting.text import escape_unprintable

RECORD, LABELS = "export.json", "labels.txt"
"""Names of the files that hold the record and the class names, in formats that take files along."""

INSTALL = "pip install 'vit-keras-zoo[export]'"
"""Installs what writes and reads the formats."""

KEY = "vit_keras"
"""Name of the entry of a file's metadata that holds the whole record as JSON."""


@dataclass(frozen=True, kw_only=True)
class ExportRecord:
    """What is known of an exported model, to use it without vit_keras: its input, its outputs, and where it comes from.

    Args:
        format: Of the file, such as "onnx".
        precision: Of its weights: "float32", "float16" or "int8".
        preprocessing: `Preprocessing.to_dict()`: how images are resized and cropped to the model's size.
        config: `ViTConfig.to_dict()`.
        output: "logits", "probabilities", "numbers" of a regression, or "features" of a model without a head.
        class_names: In the order of the outputs; empty without a head.
        task: "single_label", "multi_label" or "regression".
        threshold: Of a multi-label model: the probability from which on an image has a class.
        preset: The preset that the weights come from, if it is known.
        license: Of those weights, if it is known.
        data: Name and fingerprint of the training data, if they are known.
        versions: Of vit_keras and the packages that wrote the file.
        color_order: Of an image's channels: "RGB" or "gray".
        pixel_range: Black and white; pixels are normalized inside the model.
        layout: Of a batch of images: batch, height, width, channels.
        verification: What the comparison with the model found.

    Example:
        >>> record = ExportRecord(format="onnx", preprocessing={}, config={}, output="logits", class_names=("cat", "dog"))
        >>> ExportRecord.from_json(record.to_json()) == record
        True
    """

    format: str
    preprocessing: Mapping[str, Any]
    config: Mapping[str, Any]
    output: str
    class_names: tuple[str, ...] = ()
    precision: str = "float32"
    task: str = "single_label"
    threshold: float | None = None
    preset: str | None = None
    license: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    color_order: str = "RGB"
    pixel_range: tuple[int, int] = (0, 255)
    layout: str = "NHWC"
    verification: Mapping[str, Any] = field(default_factory=dict)

    def with_verification(self, verification: Verification) -> "ExportRecord":
        """Returns a copy with the result of the comparison."""
        return replace(self, verification=asdict(verification))

    def to_json(self, *, indent: int | None = None) -> str:
        """Returns all fields as JSON in ASCII: control characters and broken Unicode of class names become escapes."""
        return json.dumps(asdict(self), indent=indent, ensure_ascii=True)

    def to_labels(self) -> str:
        """Returns the class names, one a line, in the order of the outputs; control characters become escapes."""
        return "".join(f"{escape_unprintable(name)}\n" for name in self.class_names)

    @classmethod
    def from_json(cls, text: str) -> "ExportRecord":
        """Returns the record that `to_json` wrote; fields of later versions are left out.

        Raises:
            CorruptFileError: The text is not of such a record.
        """
        try:
            values = json.loads(text)
            known: dict[str, Any] = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
            known = {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}
            return cls(**known)
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptFileError(f"This is not the record of an exported model: {error}.") from error

    def to_metadata(self) -> dict[str, str]:
        """Returns entries for a file's metadata: each field by itself, for other programs, and the whole record under `KEY`."""
        values = {name: value for name, value in asdict(self).items() if value not in (None, (), {})}
        texts = {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=True)
            for name, value in values.items()
        }
        return {**texts, KEY: self.to_json()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "ExportRecord | None":
        """Returns the record in a file's metadata; None for a file that `vk.export` did not write."""
        return cls.from_json(metadata[KEY]) if KEY in metadata else None


def read_record(path: str | Path) -> ExportRecord | None:
    """Returns what travels with an ONNX file: preprocessing, class names, license, comparison; None for one that `vk.export` did not write.

    Args:
        path: The file; a file of weights beside it is not needed.

    Raises:
        InvalidArgumentError: The package onnx is not installed.
        CorruptFileError: The record is damaged.

    Example:
        >>> import tempfile
        >>> import vit_keras as vk
        >>> model = vk.from_preset("test_vit", num_classes=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = read_record(vk.export(model, folder + "/model.onnx").path)
        >>> record.format, record.output, record.preprocessing["image_size"]
        ('onnx', 'logits', [160, 160])
    """
    try:
        import onnx
    except ImportError as error:
        raise InvalidArgumentError(f"{path}: reading an ONNX file needs the package onnx: run {INSTALL}") from error
    metadata = onnx.load(path, load_external_data=False).metadata_props
    return ExportRecord.from_metadata({entry.key: entry.value for entry in metadata})
