"""The parts of a report that are about several classes per image."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from vit_keras.data import EncodedSplit, Split
from vit_keras.evaluation.multi_label import MultiLabelEvaluation
from vit_keras.reporting.pages import folded, section, table, tag, text
from vit_keras.training.runs.charts import draw_precision_recall
from vit_keras.training.runs.error_pictures import MAX_PICTURES, picture_section
from vit_keras.training.runs.facts import describe_evaluation, format_fraction

_MAX_CLASSES = 30  # up to which the table of classes is not folded
_CURVES = 8
_NAMED = 3  # classes in a caption


def multi_label_cards(record: Mapping[str, Any], evaluation: MultiLabelEvaluation) -> list[tuple[str, str, str]]:
    """Returns the figures of the headline."""
    baseline = record.get("results", {}).get("nearest_neighbor_micro_f1")
    items = [
        ("", format_fraction(evaluation.mean_average_precision), "mean average precision"),
        ("", format_fraction(evaluation.macro_f1), f"macro F1 at the threshold {evaluation.threshold:.2f}"),
        ("", format_fraction(evaluation.micro_f1), "micro F1"),
        ("", f"{baseline:.1%}", "micro F1 of the nearest-neighbor baseline") if baseline is not None else None,
        (
            "",
            f"{len(evaluation.labels):,}",
            f"{describe_evaluation(record)[0]} images, {evaluation.probabilities.shape[1]:,} classes",
        ),
        ("", format_fraction(evaluation.exact_match), "of the images with exactly the right classes"),
    ]
    return [item for item in items if item is not None]


def multi_label_sections(evaluation: MultiLabelEvaluation, split: Split | EncodedSplit) -> str:
    """Returns the scores per class, the curves of the classes with the lowest scores, and the worst images."""
    return _classes(evaluation) + _curves(evaluation) + _worst(evaluation, split)


def _classes(evaluation: MultiLabelEvaluation) -> str:
    scores = sorted(
        evaluation.classes, key=lambda score: (math.isnan(score.average_precision), score.average_precision)
    )
    rows = [
        (
            evaluation.name(score.label),
            f"{score.support:,}",
            format_fraction(score.average_precision),
            format_fraction(score.precision),
            format_fraction(score.recall),
            format_fraction(score.f1),
        )
        for score in scores
    ]
    words = (
        "Sorted by average precision, the lowest first. Precision, recall and F1 are at the threshold "
        f"{evaluation.threshold:.2f}, which was chosen on the validation images."
    )
    heads = ("class", "images", "average precision", "precision", "recall", "F1")
    found = tag("p", words, "soft lead") + table(heads, rows, numbers=range(1, 6))
    if len(rows) <= _MAX_CLASSES:
        return section("Classes", tag("div", found, "panel"))
    return section("Classes", folded(f"All {len(rows):,} classes", found))


def _curves(evaluation: MultiLabelEvaluation) -> str:
    known = [score for score in evaluation.classes if score.support]
    chosen = sorted(known, key=lambda score: score.average_precision)[:_CURVES]
    if not chosen:
        return ""
    panels = [
        draw_precision_recall(
            evaluation.labels[:, score.label],
            evaluation.probabilities[:, score.label],
            threshold=evaluation.threshold,
            name=evaluation.name(score.label),
        )
        for score in chosen
    ]
    words = (
        "Of the classes with the lowest average precision: precision by recall, as the threshold falls from 1 to 0. The dot is the chosen "
        "threshold; the dashed line is the precision of predicting the class for every image."
    )
    drawn = "".join(tag("div", panel, "panel") for panel in panels)
    return section("Precision and recall", tag("p", words, "soft lead") + tag("div", drawn, "charts"))


def _worst(evaluation: MultiLabelEvaluation, split: Split | EncodedSplit) -> str:
    """Returns the images with the largest loss."""
    has = evaluation.labels > 0
    wrong = np.flatnonzero((evaluation.predictions != has).any(axis=1))
    if not len(wrong):
        return section("Errors", tag("div", "None.", "panel"))
    confidence = np.where(has, 1 - evaluation.probabilities, evaluation.probabilities)[wrong].max(axis=1)
    order = wrong[np.argsort(-confidence, kind="stable")]
    items = [(int(index), _caption(evaluation, int(index)), f"image {index}") for index in order[:MAX_PICTURES]]
    words = (
        f"{len(wrong):,} of {len(has):,} images have a class too many or too few; the most confident errors come first."
    )
    return picture_section("Most confident errors", words, split, items, hidden=len(wrong) - MAX_PICTURES)


def _caption(evaluation: MultiLabelEvaluation, index: int) -> str:
    has, predicted, probabilities = (
        each[index] for each in (evaluation.labels > 0, evaluation.predictions, evaluation.probabilities)
    )
    missed = np.flatnonzero(has & ~predicted)
    false = np.flatnonzero(predicted & ~has)
    lines = []
    for word, labels in (("not there:", false[np.argsort(-probabilities[false])]), ("missed:", missed)):
        names = [f"{tag('b', text(evaluation.name(label)))} {probabilities[label]:.0%}" for label in labels[:_NAMED]]
        more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
        if names:
            lines.append(f"{word} {', '.join(names)}{more}")
    return "<br>".join(lines)
