"""Formats the contents of `run.json` for a reader."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vit_keras.validation import list_words

_MAX_DEVICES = 16  # named
_WAITS = {"data": "images", "processes": "other processes"}


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


def describe_devices(record: Mapping[str, Any], speed: float | None) -> dict[str, Any]:
    """Returns the devices of a run, its images per second and device, and the shares of the time that each process waited.

    Example:
        >>> devices = {"count": 2, "processes": 1, "description": "2 x gpu, data parallel", "names": ["gpu:0", "gpu:1"]}
        >>> waited = [{"data": 1.5, "processes": 0.0, "training": 60.0}]
        >>> list(describe_devices({"devices": devices, "waiting": waited}, 640.0).values())
        ['2 x gpu, data parallel', 'gpu:0, gpu:1', 320.0, '2.5% of the training time']
    """
    devices = record.get("devices")
    if devices is None:  # of an earlier version
        return {}
    facts: dict[str, Any] = {"devices of the run": devices["description"]}
    if devices.get("names"):
        facts["names of the devices"] = list_words(devices["names"], limit=_MAX_DEVICES)
    if speed is not None:
        facts["training images per second and device, including validation"] = round(speed / devices["count"], 1)
    waits = record.get("waiting", ())
    for number, seconds in enumerate(waits):
        who = f" (process {number} on {seconds['host']})" if len(waits) > 1 else ""
        for name, words in _WAITS.items():
            if name in seconds and seconds["training"] > 0 and (name == "data" or who):
                share = format_fraction(seconds[name] / seconds["training"])
                facts[f"waited for {words}{who}"] = f"{share} of the training time"
    return facts
