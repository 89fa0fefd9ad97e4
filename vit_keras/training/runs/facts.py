"""Formats the contents of `run.json` for a reader."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def format_count(count: float) -> str:
    """Returns a large number in a short form.

    Example:
        >>> format_count(812), format_count(21_665_664), format_count(2e9)
        ('812', '21.7 M', '2 G')
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"


def format_fraction(value: float) -> str:
    """Returns a fraction in percent; "-" for NaN."""
    return "-" if math.isnan(value) else f"{value:.1%}"


def count_noun(count: int, noun: str) -> str:
    """Returns a count with its noun, in the plural unless the count is 1.

    Example:
        >>> count_noun(1, "epoch"), count_noun(1200, "step")
        ('1 epoch', '1,200 steps')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def describe_evaluation(record: Mapping[str, Any]) -> tuple[str, str]:
    """Returns which images a result is on, "test" or "validation", and what these were used for."""
    if record.get("evaluated_on", "test") == "validation":
        return "validation", "which also chose the best epoch, so that new images are likely a little harder"
    if record.get("folds"):
        return "test", f"each of them by one of {record['folds']} models, trained without it (cross-validation)"
    return "test", "which were not used for training"


def describe_spread(record: Mapping[str, Any]) -> str | None:
    """Returns the first metric's mean and standard deviation over the folds of a cross-validation; None for another run.

    Example:
        >>> describe_spread({"results": {"fold_accuracy_mean": 0.75, "fold_accuracy_std": 0.021}})
        '75.0% ± 2.1% accuracy'
    """
    results = record.get("results", {})
    metric = next((name[5:-5] for name in results if name.startswith("fold_") and name.endswith("_mean")), None)
    if metric is None:
        return None
    mean, spread = (results[f"fold_{metric}_{name}"] for name in ("mean", "std"))
    form = ".3f" if metric == "r2" else ".1%"
    return f"{mean:{form}} ± {spread:{form}} {metric.replace('_', ' ')}"


def images_per_second(record: Mapping[str, Any], history: Sequence[Mapping[str, float]]) -> float | None:
    """Returns the training images per second, including the time of validation; None where it is unknown."""
    seconds = sum(row.get("seconds", 0.0) for row in history)
    images = record["data"].get("images", {}).get("train")
    return len(history) * images / seconds if seconds > 0 and images else None
