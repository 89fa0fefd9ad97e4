"""`ExportResult`: where an exported model is, and how it compares with the model."""

from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from vit_keras.reporting.text import escape_unprintable, plural


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The comparison of a file's outputs with those of the model it was made from.

    Args:
        largest_difference: Between two outputs.
        tolerance: The largest difference that is allowed; None where accuracy and agreement decide.
        images: Number of images compared, random ones included.
        real_images: Number of those that are the user's own.
        batch_sizes: That the file was run with.
        agreement: Fraction of the real images, or else of the random ones, with the same top class (of a multi-label model: the same
            classes); None for a regression and for features.
        labeled_images: Number of real images with labels.
        accuracy_before: Of the model on those; None without labels.
        accuracy_after: Of the file on the same.
        score_name: What these two are: "accuracy", "F1 per image" of a multi-label model, or "R2" of a regression.
        note: What else a user should know.
    """

    largest_difference: float
    tolerance: float | None
    images: int
    real_images: int
    batch_sizes: tuple[int, ...]
    agreement: float | None = None
    labeled_images: int = 0
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    score_name: str = "accuracy"
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """An exported model: `print` shows where it is and how it compares with the model.

    Args:
        path: The file or directory.
        format: Such as "onnx".
        precision: Of the weights.
        size: Bytes.
        verification: The comparison with the model.
        latency_ms: Milliseconds per image at batch size 1, on this machine; None where it was not measured.
        latency_before_ms: Of the same format in float32, where the file has another precision.
        kept_float: Of an int8 file: layers that were kept in floating point.
    """

    path: Path
    format: str
    precision: str
    size: int
    verification: Verification
    latency_ms: float | None = None
    latency_before_ms: float | None = None
    kept_float: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as plain data."""
        return {**asdict(self), "path": str(self.path)}

    def _rows(self) -> list[tuple[str, str]]:
        check = self.verification
        rows = [
            ("file", escape_unprintable(str(self.path))),
            ("format", f"{self.format}, {self.precision}"),
            ("size", f"{self.size / 1e6:,.2f} MB"),
        ]
        if self.kept_float:
            rows.append(("kept in float", ", ".join(self.kept_float)))
        images = plural(check.images, "image")
        sizes = ", ".join(map(str, check.batch_sizes))
        allowed = "" if check.tolerance is None else f", allowed {check.tolerance:.2g}"
        rows.append(("checked on", f"{images} ({check.real_images:,} of yours), batches of {sizes}"))
        rows.append(("difference", f"at most {check.largest_difference:.2g}{allowed}"))
        if check.agreement is not None:
            rows.append(("agreement", f"{100 * check.agreement:.2f} % have the same top class"))
        if check.accuracy_before is not None and check.accuracy_after is not None:
            change = f"{100 * check.accuracy_before:.2f} % before, {100 * check.accuracy_after:.2f} % after"
            rows.append((check.score_name, f"{change}, {plural(check.labeled_images, 'labeled image')}"))
        if self.latency_ms is not None:
            before = "" if self.latency_before_ms is None else f" (float32: {self.latency_before_ms:.2f} ms)"
            rows.append(("latency", f"{self.latency_ms:.2f} ms per image here, one at a time{before}"))
        if check.note:
            rows.append(("note", check.note))
        return rows

    def __str__(self) -> str:
        return "\n".join(f"{name:14} {text}" for name, text in self._rows())

    def _repr_html_(self) -> str:
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in self._rows())
        return f"<table>{cells}</table>"
