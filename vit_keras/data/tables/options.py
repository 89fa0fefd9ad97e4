"""`TableOptions`: which columns of a table are read, and how."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vit_keras.data.tasks import check_task
from vit_keras.errors import InvalidArgumentError


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """How a table of image files and labels is read.

    Args:
        image_dir: Folder that relative paths start from; by default the table's own folder.
        image_column: Name of the column of image files; by default found by its name, else by its content.
        label_column: Name of the column of labels, or the names of several: targets of a regression, or classes as 0 and 1.
        label_separator: What separates several labels in a cell.
        contained: Whether files outside `image_dir` or the table's folder are refused.
        task: "single_label", "multi_label" or "regression"; "auto" decides by the labels.

    Raises:
        InvalidArgumentError: One of them is not legal.
    """

    image_dir: str | Path | None = None
    image_column: str | None = None
    label_column: str | Sequence[str] | None = None
    label_separator: str = "|"
    contained: bool = False
    task: str = "auto"

    def __post_init__(self) -> None:
        for name in ("image_column", "label_column"):
            value = getattr(self, name)
            if isinstance(value, int) and not isinstance(
                value, bool
            ):  # the columns of a table without a header are numbers
                object.__setattr__(self, name, str(value))
        if isinstance(self.label_column, Sequence) and not isinstance(self.label_column, str):
            object.__setattr__(self, "label_column", tuple(map(str, self.label_column)))
        wrong = []
        if self.image_dir is not None and not isinstance(self.image_dir, str | os.PathLike):
            wrong.append(f"image_dir={self.image_dir!r} is not a path")
        if not isinstance(self.image_column, str | None) or self.image_column == "":
            wrong.append(f"image_column={self.image_column!r} is not the name of a column")
        if (
            not isinstance(self.label_column, str | tuple | None)
            or self.label_column == ()
            or not all(self.label_columns)
        ):
            wrong.append(f"label_column={self.label_column!r} is neither the name of a column nor a list of names")
        elif len(set(self.label_columns)) < len(self.label_columns):
            wrong.append(f"label_column={list(self.label_columns)} names a column more than once")
        if not isinstance(self.label_separator, str) or not self.label_separator:
            wrong.append(f"label_separator={self.label_separator!r} is not a text, such as '|'")
        if type(self.contained) is not bool:
            wrong.append(f"contained={self.contained!r} is neither True nor False")
        check_task(self.task)
        if wrong:
            raise InvalidArgumentError(f"{'; '.join(wrong)}.")

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Names of the columns of labels; none if they are to be found."""
        if self.label_column is None:
            return ()
        return (self.label_column,) if isinstance(self.label_column, str) else tuple(self.label_column)

    @property
    def stated(self) -> tuple[str, ...]:
        """Names of the options that only tables have and that are not at their defaults."""
        names = ("image_dir", "image_column", "label_column", "contained")
        return tuple(name for name in names if getattr(self, name) not in (None, False))
