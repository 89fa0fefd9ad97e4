"""The classes of images, as `vk.predict` returns them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from vit_keras.evaluation.metrics import wilson_interval
from vit_keras.evaluation.row_files import JSON_LINES, write_rows


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The most probable classes of one image.

    Args:
        image: Its path, or "image 3" for the fourth of all images.
        classes: Class names, the most probable first; empty where the image could not be read.
        probabilities: One per class name.
        error: Why the image could not be read; None for an image that was classified.
        label: Its class by the folder it is in, or by the list that names it; None where neither names a class of the model.
    """

    image: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    error: str | None = None
    label: str | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.image}\n  not classified: {self.error}"
        rows = (
            f"  {probability:7.2%}  {name}" for name, probability in zip(self.classes, self.probabilities, strict=True)
        )
        return "\n".join([self.image, *rows])

    def to_dict(self) -> dict[str, Any]:
        """Returns what JSON says of the image."""
        pairs = zip(self.classes, self.probabilities, strict=True)
        classes = [{"name": name, "probability": probability} for name, probability in pairs]
        found: dict[str, Any] = {"classes": classes} if self.error is None else {"error": self.error}
        return {"file": self.image, **({} if self.label is None else {"label": self.label}), **found}


@dataclass(frozen=True)
class PredictionColumns:
    """The columns of a table of predictions.

    Args:
        ranks: Number of the most probable classes, each with a column of names and one of probabilities.
        class_names: Instead of ranks: classes that each have a column of probabilities.
        has_labels: Whether there is a column of the labels.
    """

    ranks: int = 1
    class_names: tuple[str, ...] = ()
    has_labels: bool = False

    @property
    def types(self) -> dict[str, str]:
        """The types of the columns by name, as `write_rows` takes them."""
        if self.class_names:
            found = {"class": "string", "probability": "double"}
        else:
            ranks = range(1, self.ranks + 1)
            found = {
                name: kind
                for rank in ranks
                for name, kind in ((f"class_{rank}", "string"), (f"probability_{rank}", "double"))
            }
        spread = {f"probability_{name}": "double" for name in self.class_names}
        return {
            "image": "string",
            **found,
            **({"label": "string"} if self.has_labels else {}),
            "error": "string",
            **spread,
        }

    def row(self, prediction: Prediction) -> dict[str, Any]:
        """Returns the cells of an image; those without a value are left out."""
        cells: dict[str, Any] = {"image": prediction.image, "error": prediction.error}
        if self.has_labels:
            cells["label"] = prediction.label
        pairs = list(zip(prediction.classes, prediction.probabilities, strict=True))
        if self.class_names:
            cells |= {f"probability_{name}": probability for name, probability in pairs}
            cells |= {"class": pairs[0][0], "probability": pairs[0][1]} if pairs else {}
        for rank, (name, probability) in enumerate([] if self.class_names else pairs, start=1):
            cells |= {f"class_{rank}": name, f"probability_{rank}": probability}
        return cells


class Score:
    """Counts correct predictions of images with a label."""

    def __init__(self) -> None:
        self.correct, self.count = 0, 0

    def add(self, row: Prediction) -> None:
        """Counts an image, if it was classified and has a label."""
        if row.label is not None and row.classes:
            self.count += 1
            self.correct += row.classes[0] == row.label

    @property
    def accuracy(self) -> float | None:
        """The fraction of correct predictions; None without images."""
        return self.correct / self.count if self.count else None

    def __str__(self) -> str:
        low, high = wilson_interval(self.correct, self.count)
        return (
            f"accuracy {self.correct / max(self.count, 1):.2%} of {self.count:,} image{'s' * (self.count != 1)} whose folder or list "
            f"names the class (95 % interval {low:.1%} to {high:.1%})"
        )


@dataclass(frozen=True)
class Predictions(Sequence[Prediction]):
    """One `Prediction` per image, in the order of the images; `print` shows them as a list."""

    rows: tuple[Prediction, ...]

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> "Predictions": ...
    def __getitem__(self, index: int | slice) -> "Prediction | Predictions":
        return Predictions(self.rows[index]) if isinstance(index, slice) else self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return "\n".join(map(str, self.rows))

    __repr__ = __str__

    @property
    def errors(self) -> list[Prediction]:
        """The images that could not be read."""
        return [row for row in self.rows if row.error is not None]

    @property
    def accuracy(self) -> float | None:
        """Fraction of the classified images with a label whose most probable class is that label; None without such images."""
        score = Score()
        for row in self.rows:
            score.add(row)
        return score.accuracy

    def save(self, path: str | Path) -> Path:
        """Writes a row per image to a CSV, JSON lines or Parquet file, by its suffix; the file must not exist.

        Args:
            path: A name that ends in .csv, .jsonl or .parquet.

        Raises:
            InvalidArgumentError: The suffix is another.
            StorageError: The file exists, or can't be written.
        """
        return save_predictions(Path(path), self.rows, self._columns)

    @property
    def _columns(self) -> PredictionColumns:
        ranks = max((len(row.classes) for row in self.rows), default=0)
        return PredictionColumns(ranks, has_labels=any(row.label is not None for row in self.rows))

    def to_dataframe(self) -> Any:
        """Returns a pandas DataFrame with a row per image: image, class_1, probability_1, class_2, ..., label, error."""
        try:
            import pandas  # type: ignore[import-untyped]
        except ImportError as error:
            raise ImportError("to_dataframe needs pandas, which is not installed: pip install pandas") from error
        columns = self._columns
        rows = [columns.row(row) for row in self.rows]
        return pandas.DataFrame({name: [row.get(name) for row in rows] for name in columns.types})


def save_predictions(
    path: Path,
    rows: Iterable[Prediction],
    columns: PredictionColumns,
    *,
    on_row: Callable[[Prediction], None] | None = None,
) -> Path:
    """Writes predictions to a file as they come; see `Predictions.save`."""
    as_json = path.suffix.lower() == JSON_LINES
    with write_rows(path, columns.types) as write:
        for row in rows:
            write(row.to_dict() if as_json else columns.row(row))
            if on_row is not None:
                on_row(row)
    return path
