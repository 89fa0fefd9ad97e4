"""The classes of images, as `vk.predict` returns them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from vit_keras.data.images.thumbnails import Thumbnails
from vit_keras.evaluation.metrics import wilson_interval
from vit_keras.evaluation.row_files import JSON_LINES, write_rows
from vit_keras.reporting.pages import MAX_ROWS, more, picture, tag, text

_THUMBNAIL_BYTES = 1_000_000  # of the pictures that a notebook shows
_LEFT = "text-align:left"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The most probable classes of one image, or the numbers that a regression predicts for it.

    Args:
        image: Its path, or "image 3" for the fourth of all images.
        classes: Class names, the most probable first; empty where the image could not be read.
        probabilities: One per class name.
        labels: Of a multi-label model: the names of all classes that are at least as probable as `threshold`, the most probable first.
        threshold: Of a multi-label model, chosen on validation images when it was trained, or 0.5; else None.
        targets: Of a regression: the names of the numbers.
        values: Of a regression: the numbers, in the units of the training labels.
        error: Why the image could not be read; None for an image that was classified.
        truth: The class that the image's folder or list names, for a model of one class per image; None where it names none.
    """

    image: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    threshold: float | None = None
    targets: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    error: str | None = None
    truth: str | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.image}\n  not classified: {self.error}"
        rows = [
            f"  {probability:7.2%}  {name}" for name, probability in zip(self.classes, self.probabilities, strict=True)
        ]
        if self.threshold is not None:
            rows.insert(0, f"  {', '.join(self.labels) or 'no class'} (threshold {self.threshold:.2f})")
        rows += [f"  {value:10.6g}  {name}" for name, value in zip(self.targets, self.values, strict=True)]
        return "\n".join([self.image, *rows])

    def to_dict(self) -> dict[str, Any]:
        """Returns the prediction as plain data: the classes, with the labels of a multi-label model, or the values, or the error."""
        named = {"file": self.image, **({} if self.truth is None else {"truth": self.truth})}
        if self.error is not None:
            return {**named, "error": self.error}
        if self.targets:
            return {**named, "values": dict(zip(self.targets, self.values, strict=True))}
        pairs = zip(self.classes, self.probabilities, strict=True)
        labels = {} if self.threshold is None else {"labels": list(self.labels), "threshold": self.threshold}
        classes = [{"name": name, "probability": probability} for name, probability in pairs]
        return {**named, **labels, "classes": classes}


@dataclass(frozen=True, kw_only=True)
class PredictionColumns:
    """The columns of a table of predictions.

    Args:
        ranks: Number of the most probable classes, each with a column of names and one of probabilities.
        class_names: Instead of ranks: classes that each have a column of probabilities, behind the most probable class.
        targets: Of a regression, instead: a column of numbers each.
        has_labels: Whether there is a column of the labels of a multi-label model, joined by "|".
        has_truth: Whether there is a column of the true classes.
    """

    ranks: int = 0
    class_names: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    has_labels: bool = False
    has_truth: bool = False

    @property
    def types(self) -> dict[str, str]:
        """The types of the columns by name, as `write_rows` takes them."""
        types = {"image": "string"}
        types |= {"labels": "string"} if self.has_labels else {}
        types |= dict.fromkeys(self.targets, "double")
        types |= {"class": "string", "probability": "double"} if self.class_names else {}
        for rank in range(1, self.ranks + 1):
            types |= {f"class_{rank}": "string", f"probability_{rank}": "double"}
        types |= {"truth": "string"} if self.has_truth else {}
        return {**types, "error": "string", **{f"probability_{name}": "double" for name in self.class_names}}

    def row(self, prediction: Prediction) -> dict[str, Any]:
        """Returns the cells of an image; those without a value are left out, or None."""
        cells: dict[str, Any] = {"image": prediction.image, "error": prediction.error}
        if self.has_labels and prediction.error is None:
            cells["labels"] = "|".join(prediction.labels)
        if self.has_truth:
            cells["truth"] = prediction.truth
        cells |= zip(prediction.targets, prediction.values, strict=True)
        pairs = list(zip(prediction.classes, prediction.probabilities, strict=True))
        if self.class_names and pairs:
            cells |= {"class": pairs[0][0], "probability": pairs[0][1]}
            return cells | {f"probability_{name}": probability for name, probability in pairs}
        for rank, (name, probability) in enumerate(pairs, start=1):
            cells |= {f"class_{rank}": name, f"probability_{rank}": probability}
        return cells


def _lines(row: Prediction) -> str:
    name, *rest = str(row).split("\n")
    return tag("b", text(name)) + "".join("<br>" + text(line.strip()) for line in rest)


def _picture(thumbnails: Thumbnails, name: str) -> str:
    """Returns an image's thumbnail as HTML; nothing for an image that is not a file."""
    url = thumbnails.make(name) if Path(name).is_file() else None
    return picture(url, name) if url else ""


class Score:
    """Counts correct predictions of images whose class is known."""

    def __init__(self) -> None:
        self.correct, self.count = 0, 0

    def add(self, row: Prediction) -> None:
        """Counts an image, if it was classified and its class is known."""
        if row.truth is not None and row.classes:
            self.count += 1
            self.correct += row.classes[0] == row.truth

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

    def _repr_html_(self) -> str:
        thumbnails = Thumbnails(Path(), budget=_THUMBNAIL_BYTES)
        rows = [
            tag("tr", tag("td", _picture(thumbnails, row.image)) + tag(f'td style="{_LEFT}"', _lines(row)))
            for row in self.rows[:MAX_ROWS]
        ]
        return tag("table", "".join(rows)) + more(len(self.rows) - MAX_ROWS)

    @property
    def errors(self) -> list[Prediction]:
        """The images that could not be read."""
        return [row for row in self.rows if row.error is not None]

    @property
    def accuracy(self) -> float | None:
        """Fraction of the classified images with a true class whose most probable class it is; None without such images."""
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
        return PredictionColumns(
            ranks=max((len(row.classes) for row in self.rows), default=0),
            targets=next((row.targets for row in self.rows if row.targets), ()),
            has_labels=any(row.threshold is not None for row in self.rows),
            has_truth=any(row.truth is not None for row in self.rows),
        )

    def to_dataframe(self) -> Any:
        """Returns a pandas DataFrame with a row per image: image, class_1, probability_1, class_2, ..., truth, error.

        A multi-label model adds the column labels, the names joined by "|"; a regression has a column per target in place of classes.
        """
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
