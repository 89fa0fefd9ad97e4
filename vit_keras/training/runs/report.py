"""Writes the report of a run: one self-contained HTML page without scripts, for light, dark and small screens."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.data import EncodedSplit, Split
from vit_keras.evaluation.evaluate import AnyEvaluation
from vit_keras.evaluation.metrics import (
    Evaluation,
    calibration_bins,
    class_scores,
    confident_mistakes,
    confused_pairs,
    confusions,
    expected_calibration_error,
    wilson_interval,
)
from vit_keras.evaluation.multi_label import MultiLabelEvaluation
from vit_keras.evaluation.regression import RegressionEvaluation
from vit_keras.reporting.pages import cards, folded, more, page, section, table, tag, text
from vit_keras.reporting.text import flatten_values
from vit_keras.runtime.files import write_text
from vit_keras.training.memory import model_cost
from vit_keras.training.runs.charts import draw_curve, draw_reliability
from vit_keras.training.runs.error_pictures import MAX_PICTURES, group_similar, picture_section
from vit_keras.training.runs.facts import (
    count_noun,
    describe_devices,
    describe_evaluation,
    describe_spread,
    format_count,
    format_fraction,
    images_per_second,
)
from vit_keras.training.runs.report_multi_label import multi_label_cards, multi_label_sections
from vit_keras.training.runs.report_regression import regression_cards, regression_sections
from vit_keras.version import __version__

_MAX_CLASSES = 30  # up to which the whole confusion matrix is shown
_PAIRS, _CURVES = 25, 8
_COMPARED = 200  # errors among which near-identical images are found
_CORRECT, _WRONG = "79 124 255", "214 69 65"
_ABOUT_WAITS = (
    "Images: the training loop waited for its next batch, while a device may still have computed the step before. Other processes: this one "
    "waited at the ends of epochs, at checkpoints and at the end; within a step they wait for each other in the exchange of gradients, which "
    "is a part of the step."
)


def write_report(
    path: Path,
    *,
    record: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    evaluation: AnyEvaluation,
    split: Split | EncodedSplit,
    class_names: Sequence[str],
) -> None:
    """Writes the page; an existing file is replaced."""
    data, recipe = record["data"], record["recipe"]
    cost = model_cost(ViTConfig.from_dict(record["config"]), num_classes=len(class_names))
    speed = images_per_second(record, history)
    body = (
        _headline(record, evaluation, cost, speed)
        + curves_section(history)
        + _sections(evaluation, split, class_names)
        + run_section(record, cost, speed)
        + tag("footer", tag("p", f"vit_keras {text(__version__)}"), "soft")
        + "\n"
    )
    title = f"{data['name']}: {recipe['name']}"
    below = f"{count_noun(len(history), 'epoch')} of the recipe {recipe['name']}, {record['precision']} on {record['environment']['backend']}"
    write_text(path, page(title, heading=str(data["name"]), below=below, body=body))


def _headline(record: Mapping[str, Any], evaluation: AnyEvaluation, cost: dict[str, int], speed: float | None) -> str:
    if isinstance(evaluation, MultiLabelEvaluation):
        scores = multi_label_cards(record, evaluation)
    elif isinstance(evaluation, RegressionEvaluation):
        scores = regression_cards(record, evaluation)
    else:
        scores = _score_cards(record, evaluation)
    spread = describe_spread(record)
    items = [
        *scores,
        None if spread is None else ("", spread, f"mean and standard deviation over {record['folds']} folds"),
        ("", format_count(cost["parameters"]), "parameters"),
        ("", f"{cost['macs'] / 1e9:.3g}", "GMACs per image"),
        ("", f"{speed:,.0f}", "training images per second") if speed is not None else None,
    ]
    return cards(item for item in items if item is not None)


def _sections(evaluation: AnyEvaluation, split: Split | EncodedSplit, class_names: Sequence[str]) -> str:
    """Returns what the predictions show, by the task of the labels."""
    if isinstance(evaluation, MultiLabelEvaluation):
        return multi_label_sections(evaluation, split)
    if isinstance(evaluation, RegressionEvaluation):
        return regression_sections(evaluation, split)
    return (
        _confusions(evaluation, class_names)
        + _classes(evaluation, class_names)
        + _calibration(evaluation)
        + _mistakes(evaluation, split, class_names)
    )


def _score_cards(record: Mapping[str, Any], evaluation: Evaluation) -> list[tuple[str, str, str]]:
    count, correct = len(evaluation.labels), int((evaluation.predictions == evaluation.labels).sum())
    low, high = wilson_interval(correct, count)
    kind, words = describe_evaluation(record)
    baseline = record.get("results", {}).get("nearest_neighbour_accuracy")
    items = [
        ("", f"{correct / count:.1%}", f"accuracy; 95 % interval {low:.1%} to {high:.1%}"),
        ("", f"{baseline:.1%}", "accuracy of the nearest-neighbor baseline") if baseline is not None else None,
        ("", f"{count:,}", f"{kind} images, {evaluation.probabilities.shape[1]:,} classes; {words}"),
        ("", f"{expected_calibration_error(evaluation):.1%}", "expected calibration error"),
    ]
    return [item for item in items if item is not None]


def curves_section(history: Sequence[Mapping[str, float]]) -> str:
    """Returns a chart per metric by epoch; nothing without epochs."""
    if not history:
        return ""
    names = list(dict.fromkeys(name.removeprefix("val_") for row in history for name in row))
    drawn = [name for name in names if name not in ("epoch", "seconds")][:_CURVES]
    panels = (tag("div", draw_curve(history, name), "panel") for name in drawn)
    return section("Learning curves", tag("div", "".join(panels), "charts"))


def _confusions(evaluation: Evaluation, class_names: Sequence[str]) -> str:
    counts = confusions(evaluation)
    if len(class_names) <= _MAX_CLASSES:
        words = "Rows are true classes, columns predicted classes; a stronger color is a larger fraction of the row."
        lead = tag("p", words, "soft lead") + tag("p", "Scroll sideways for more columns.", "soft lead narrow")
        return section("Confusion matrix", tag("div", lead + _matrix(counts, class_names), "panel"))
    pairs = confused_pairs(counts)
    totals = counts.sum(axis=1)
    rows = [
        (class_names[true], class_names[predicted], f"{count:,}", f"{count / totals[true]:.1%}")
        for true, predicted, count in pairs[:_PAIRS]
    ]
    found = table(("class", "predicted as", "images", "of the class"), rows, numbers=(2, 3)) + more(len(pairs) - _PAIRS)
    return section(
        "Most confused pairs", tag("div", found if pairs else tag("p", "None: all predictions are correct."), "panel")
    )


def _matrix(counts: np.ndarray, class_names: Sequence[str]) -> str:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    heads = "".join(tag("th", tag("span", text(name)), "column") for name in class_names)
    rows = []
    for row, name in enumerate(class_names):
        cells = [
            _cell(int(counts[row, column]), float(shares[row, column]), f"{name} as {predicted}", correct=row == column)
            for column, predicted in enumerate(class_names)
        ]
        rows.append(tag("tr", tag("th", text(name), "row") + "".join(cells)))
    axes = tag("th", "true", "row axis") + tag(f'th colspan="{len(class_names)}"', "predicted", "axis")
    head = tag("thead", tag("tr", axes) + tag("tr", tag("th", "", "row") + heads))
    return tag("div", tag("table", head + tag("tbody", "".join(rows)), "matrix"), "scroll")


def _cell(count: int, share: float, title: str, *, correct: bool) -> str:
    color = f"rgb({_CORRECT if correct else _WRONG} / {share:.2f})"
    kind = "strong" if share > 0.5 else "none" if not count else ""
    return tag(f'td style="background:{color}" title="{text(title)}: {share:.1%}"', str(count), kind)


def _classes(evaluation: Evaluation, class_names: Sequence[str]) -> str:
    scores = sorted(class_scores(evaluation), key=lambda score: (math.isnan(score.recall), score.recall))
    rows = [
        (
            class_names[score.label],
            f"{score.support:,}",
            format_fraction(score.precision),
            format_fraction(score.recall),
            "{:.0f}-{:.0f}%".format(*(100 * bound for bound in score.recall_interval)) if score.support else "-",
            format_fraction(score.f1),
        )
        for score in scores
    ]
    heads = ("class", "images", "precision", "recall", "95 %", "F1")
    words = tag("p", "Sorted by recall, the lowest first.", "soft lead")
    found = words + table(heads, rows, numbers=range(1, 6))
    if len(rows) <= _MAX_CLASSES:
        return section("Classes", tag("div", found, "panel"))
    return section("Classes", folded(f"All {len(rows):,} classes", found))


def _calibration(evaluation: Evaluation) -> str:
    bins = calibration_bins(evaluation)
    confidence = float(evaluation.probabilities.max(axis=1).mean())
    difference = confidence - evaluation.accuracy
    verdict = "well calibrated" if abs(difference) < 0.02 else "overconfident" if difference > 0 else "underconfident"
    words = (
        f"Mean confidence {confidence:.1%}, accuracy {evaluation.accuracy:.1%}: {verdict}. Expected calibration error "
        f"{expected_calibration_error(evaluation):.1%}. Each dot is a group of images with similar confidence, larger for more images; its "
        "line is the 95 % interval. On the diagonal, confidence equals accuracy."
    )
    panels = tag("div", draw_reliability(bins), "panel") + tag("div", tag("p", words), "panel")
    return section("Calibration", tag("div", panels, "charts"))


def _mistakes(evaluation: Evaluation, split: Split | EncodedSplit, class_names: Sequence[str]) -> str:
    wrong = confident_mistakes(evaluation)
    if not len(wrong):
        return section("Errors", tag("div", "None.", "panel"))
    items = []
    groups = group_similar(split, wrong[:_COMPARED].tolist(), evaluation.labels)
    for index, *similar in groups[:MAX_PICTURES]:
        predicted, true = int(evaluation.predictions[index]), int(evaluation.labels[index])
        of_predicted, of_true = evaluation.probabilities[index, [predicted, true]]
        caption = f"{tag('b', text(class_names[predicted]))} {of_predicted:.0%}<br>true: {text(class_names[true])} {of_true:.0%}"
        if similar:
            caption += f"<br>and {count_noun(len(similar), 'near-identical image')}"
        items.append(
            (int(index), caption, f"image {index}: predicted {class_names[predicted]}, true {class_names[true]}")
        )
    words = (
        f"{len(wrong):,} of {len(evaluation.labels):,} predictions are wrong; the most confident come first, near-identical images of a "
        "class once."
    )
    shown = sum(map(len, groups[:MAX_PICTURES]))
    return picture_section("Most confident errors", words, split, items, hidden=len(wrong) - shown)


def run_section(record: Mapping[str, Any], cost: dict[str, int], speed: float | None) -> str:
    """Returns how a model was trained: time, cost, choices and all values of `run.json`."""
    work = {
        **{f"seconds: {name}": round(value, 1) for name, value in record.get("seconds", {}).items()},
        **({"training images per second, including validation": round(speed, 1)} if speed is not None else {}),
        "parameters, including the head": f"{cost['parameters']:,}",
        "GMACs per image, including the head": f"{cost['macs'] / 1e9:.4g}",
    }
    devices = describe_devices(record, speed)
    parts = {
        "Time and cost": work,
        "Devices": devices,
        "Results": record.get("results", {}),
        "Recipe": record["recipe"],
        "Options": record.get("options", {}),
        "Model": record["config"],
        "Data": {name: value for name, value in record["data"].items() if name != "class_names"},
        "Environment": record["environment"],
    }
    folds = [
        folded(
            name,
            (tag("p", _ABOUT_WAITS, "soft lead") if values is devices and record.get("waiting") else "")
            + table(("name", "value"), flatten_values(values)),
            is_open=name in ("Time and cost", "Devices"),
        )
        for name, values in parts.items()
        if values
    ]
    choices = [[str(word) for word in choice] for choice in record.get("choices", ())]
    if choices:
        folds.insert(1, folded("Choices", table(("choice", "value", "reason"), choices), is_open=True))
    return section("Training", "\n".join(folds))
