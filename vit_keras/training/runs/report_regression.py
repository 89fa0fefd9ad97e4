"""The parts of a report that are about numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vit_keras.data import EncodedSplit, Split
from vit_keras.evaluation.regression import RegressionEvaluation, TargetScore, largest_errors
from vit_keras.reporting.pages import section, table, tag, text
from vit_keras.training.runs.charts import draw_errors, draw_scatter
from vit_keras.training.runs.error_pictures import MAX_PICTURES, picture_section
from vit_keras.training.runs.facts import describe_evaluation

_CHARTS = 6  # targets with charts
_NAMED = 3  # targets in a caption


def regression_cards(record: Mapping[str, Any], evaluation: RegressionEvaluation) -> list[tuple[str, str, str]]:
    """Returns the figures of the headline."""
    baseline = record.get("results", {}).get("nearest_neighbor_r2")
    several = len(evaluation.targets) > 1
    items = [("", f"{evaluation.r2:.3f}", "R2, mean of the targets" if several else "R2; 1 is perfect, 0 the mean")]
    if not several:
        (target,) = evaluation.targets
        low, high = target.mean_absolute_error_interval
        items += [
            ("", f"{target.mean_absolute_error:.4g}", f"mean absolute error; 95 % interval {low:.3g} to {high:.3g}"),
            ("", f"{target.root_mean_squared_error:.4g}", "root mean squared error"),
            ("", f"{target.mean_baseline:.4g}", "mean absolute error of always predicting the mean"),
        ]
    if baseline is not None:
        items.append(("", f"{baseline:.3f}", "R2 of the nearest-neighbor baseline"))
    return [*items, ("", f"{len(evaluation.labels):,}", f"{describe_evaluation(record)[0]} images")]


def regression_sections(evaluation: RegressionEvaluation, split: Split | EncodedSplit) -> str:
    """Returns the scores and charts of each target, and the images with the largest errors."""
    return _targets(evaluation.targets) + _charts(evaluation) + _worst(evaluation, split)


def target_rows(targets: list[TargetScore]) -> list[tuple[str, ...]]:
    """Returns the scores of each target as text: name, errors, interval, R2, bias, error of the mean."""
    return [
        (
            target.name,
            f"{target.mean_absolute_error:.4g}",
            "{:.3g} to {:.3g}".format(*target.mean_absolute_error_interval),
            f"{target.root_mean_squared_error:.4g}",
            f"{target.r2:.3f}",
            f"{target.bias:.3g}",
            f"{target.mean_baseline:.4g}",
        )
        for target in targets
    ]


TARGET_HEADS = ("target", "mean absolute error", "95 %", "RMSE", "R2", "bias", "error of the mean")
"""The heads of `target_rows`."""


def _targets(targets: list[TargetScore]) -> str:
    words = (
        "In the units of the labels. The bias is the mean of prediction minus label; the error of the mean is the mean absolute error of "
        "always predicting the mean of these labels."
    )
    found = tag("p", words, "soft lead") + table(TARGET_HEADS, target_rows(targets), numbers=range(1, 7))
    return section("Targets" if len(targets) > 1 else "Target", tag("div", found, "panel"))


def _charts(evaluation: RegressionEvaluation) -> str:
    panels = []
    for column, name in enumerate(evaluation.class_names[:_CHARTS]):
        labels, predictions = evaluation.labels[:, column], evaluation.predictions[:, column]
        panels += [draw_scatter(labels, predictions, name), draw_errors(predictions - labels, name)]
    words = "Each dot is a test image; on the line, the prediction is the label. Beside it, how many images have which error."
    drawn = "".join(tag("div", panel, "panel") for panel in panels)
    return section("Predictions", tag("p", words, "soft lead") + tag("div", drawn, "charts"))


def _worst(evaluation: RegressionEvaluation, split: Split | EncodedSplit) -> str:
    order = largest_errors(evaluation)
    items = [(int(index), _caption(evaluation, int(index)), f"image {index}") for index in order[:MAX_PICTURES]]
    words = "The images with the largest errors; of several targets, errors are compared by the spread of the labels."
    return picture_section("Largest errors", words, split, items, hidden=len(order) - MAX_PICTURES)


def _caption(evaluation: RegressionEvaluation, index: int) -> str:
    predictions, labels = evaluation.predictions[index], evaluation.labels[index]
    scale = np.maximum(evaluation.labels.std(axis=0), np.finfo("float32").tiny)
    worst = np.argsort(-np.abs(predictions - labels) / scale, kind="stable")[:_NAMED]
    several = len(labels) > 1
    return "<br>".join(
        f"{text(evaluation.class_names[column]) + ': ' if several else ''}{tag('b', f'{predictions[column]:.4g}')}, "
        f"true: {labels[column]:.4g}"
        for column in worst
    )
