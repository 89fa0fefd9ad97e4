"""The options that define a search, as the journal keeps them: what `search` shares with the command line."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vit_keras.training.runs.resuming import find_load_keywords

_DEFAULTS = {"budget": "30min", "objective": "auto", "task": "auto", "label_separator": "|"}  # are not recorded


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """The options that define a search; None is chosen by the search.

    Args:
        data: The word that names the data; None for data of a Python program.
        budget: A time, a number of trials or a number of epochs; None for a `Budget`.
        objective: One metric, or several for a Pareto front.
        epochs: Training epochs of the best trials.
        max_params: Maximum number of parameters of a model with its head.
        max_macs: Maximum number of MACs per image.
        space: File of the search space; None also for a space of a Python program.
        image_size: Height and width, px.
        limit: Maximum number of images per split.
        seed: Random seed of proposals, weights and splits.
        task: As for `vk.data.load`, as the next five are.
        image_dir: Of a table: the folder that relative paths start from.
        image_column: Of a table: the column of image files.
        label_column: Of a table: the column of labels, or several.
        label_separator: Of a table: what separates several labels in a cell.
        contained: Of a table: whether files outside its folder are refused.
    """

    data: str | None = None
    budget: str | None = None
    objective: str | Sequence[str] | None = None
    epochs: int | None = None
    max_params: int | None = None
    max_macs: int | None = None
    space: str | Path | None = None
    image_size: int | None = None
    limit: int | None = None
    seed: int | None = None
    task: str | None = None
    image_dir: str | Path | None = None
    image_column: str | None = None
    label_column: str | Sequence[str] | None = None
    label_separator: str | None = None
    contained: bool | None = None

    @property
    def limits(self) -> dict[str, int]:
        """The limits of a model that were given."""
        return {name: value for name in ("max_params", "max_macs") if (value := getattr(self, name)) is not None}

    @property
    def load_keywords(self) -> dict[str, Any]:
        """The keywords of `vk.data.load` for labels and tables."""
        return find_load_keywords(vars(self))

    def to_dict(self) -> dict[str, Any]:
        """Returns the options that were given, as JSON has them.

        >>> SearchOptions(data="emoji", budget="30min", objective=("val_loss", "params"), seed=0).to_dict()
        {'data': 'emoji', 'objective': ['val_loss', 'params'], 'seed': 0}
        """
        values = {name: _to_json(value) for name, value in asdict(self).items() if value is not None}
        return {name: value for name, value in values.items() if value is not False and value != _DEFAULTS.get(name)}


def _to_json(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
