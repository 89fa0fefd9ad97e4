"""Writes what came of a run as one page: no network, no scripts, light and dark, on a desk and on a telephone."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.data import EncodedSplit, Split
from vit_keras.data.images.preprocess import to_image
from vit_keras.data.images.thumbnails import to_data_url
from vit_keras.errors import VitKerasError
from vit_keras.evaluation.evaluate import Evaluation
from vit_keras.evaluation.scores import (
    calibration_bins,
    class_scores,
    confident_mistakes,
    confused_pairs,
    confusions,
    expected_calibration_error,
    wilson_interval,
)
from vit_keras.reporting.pages import cards, folded, more, page, picture, section, table, tag, text
from vit_keras.runtime.files import write_text
from vit_keras.training.runs.charts import curve, reliability_diagram
from vit_keras.training.runs.facts import cost_of, facts_of, images_a_second, spoken
from vit_keras.version import __version__

_MOST_CELLS = 30  # classes up to which a confusion matrix is written out
_PAIRS, _MISTAKES, _CURVES = 25, 48, 8
_ROOM = 1_900_000  # bytes of pictures
_TINY = 64  # px up to which pixels are shown as squares
_RIGHT, _WRONG = "79 124 255", "214 69 65"


def write_report(
    path: Path,
    *,
    record: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    evaluation: Evaluation,
    split: Split | EncodedSplit,
    class_names: Sequence[str],
) -> None:
    """Writes the page; one that is there already is replaced.

    Args:
        path: Where to, HTML.
        record: What `run.json` holds.
        history: One row of metrics an epoch; none where nothing was trained by gradients.
        evaluation: What the model says of the split.
        split: The images it was judged by.
        class_names: What the labels mean.

    Raises:
        StorageError: It can't be written.
    """
    data, recipe = record["data"], record["recipe"]
    body = (
        _headline(record, history, evaluation)
        + _curves(history)
        + _confusions(evaluation, class_names)
        + _classes(evaluation, class_names)
        + _calibration(evaluation)
        + _mistakes(evaluation, split, class_names)
        + _run(record, history, evaluation)
        + tag("footer", tag("p", f"vit_keras {text(__version__)}"), "soft")
        + "\n"
    )
    title = f"{data['name']}: {recipe['name']}"
    below = f"{len(history)} epochs by the recipe {recipe['name']}, {record['precision']} on {record['environment']['backend']}"
    write_text(path, page(title, heading=str(data["name"]), below=below, body=body))


def _headline(record: Mapping[str, Any], history: Sequence[Mapping[str, float]], evaluation: Evaluation) -> str:
    count, right = len(evaluation.labels), int((evaluation.predictions == evaluation.labels).sum())
    low, high = wilson_interval(right, count)
    baseline = record.get("results", {}).get("nearest_neighbour_accuracy")
    cost = cost_of(ViTConfig.from_dict(record["config"]), num_classes=evaluation.probabilities.shape[1])
    speed = images_a_second(record, history)
    items = [
        ("", f"{right / count:.1%}", f"right; 95 % interval {low:.1%} to {high:.1%}"),
        ("", f"{baseline:.1%}", "the baseline: nearest neighbour") if baseline is not None else None,
        ("", f"{count:,}", f"images it was judged by, {evaluation.probabilities.shape[1]:,} classes"),
        ("", f"{expected_calibration_error(evaluation):.1%}", "expected calibration error"),
        ("", spoken(cost["parameters"]), "parameters"),
        ("", f"{cost['macs'] / 1e9:.3g}", "GMACs an image"),
        ("", f"{speed:,.0f}", "training images a second") if speed is not None else None,
    ]
    return cards(item for item in items if item is not None)


def _curves(history: Sequence[Mapping[str, float]]) -> str:
    if not history:
        return ""
    names = list(dict.fromkeys(name.removeprefix("val_") for row in history for name in row))
    drawn = [name for name in names if name not in ("epoch", "seconds")][:_CURVES]
    panels = (tag("div", curve(history, name), "panel") for name in drawn)
    return section("Learning", tag("div", "".join(panels), "charts"))


def _confusions(evaluation: Evaluation, class_names: Sequence[str]) -> str:
    counts = confusions(evaluation)
    if len(class_names) <= _MOST_CELLS:
        words = "Rows are what an image is, columns what it is said to be; the deeper the colour, the larger the part of the row."
        return section("Confusions", tag("div", tag("p", words, "soft lead") + _matrix(counts, class_names), "panel"))
    pairs = confused_pairs(counts)
    totals = counts.sum(axis=1)
    rows = [
        (class_names[true], class_names[said], f"{count:,}", f"{count / totals[true]:.1%}")
        for true, said, count in pairs[:_PAIRS]
    ]
    found = table(("is", "said to be", "images", "of the class"), rows, numbers=(2, 3)) + more(len(pairs) - _PAIRS)
    return section("Most confused pairs", tag("div", found if pairs else tag("p", "None: all are right."), "panel"))


def _matrix(counts: np.ndarray, class_names: Sequence[str]) -> str:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    heads = "".join(tag("th", tag("span", text(name)), "column") for name in class_names)
    rows = []
    for row, name in enumerate(class_names):
        cells = [
            _cell(int(counts[row, column]), float(shares[row, column]), f"{name} as {said}", right=row == column)
            for column, said in enumerate(class_names)
        ]
        rows.append(tag("tr", tag("th", text(name), "row") + "".join(cells)))
    head = tag("thead", tag("tr", "<th></th>" + heads))
    return tag("table", head + tag("tbody", "".join(rows)), "matrix")


def _cell(count: int, share: float, title: str, *, right: bool) -> str:
    colour = f"rgb({_RIGHT if right else _WRONG} / {share:.2f})"
    kind = "strong" if share > 0.5 else "none" if not count else ""
    return tag(f'td style="background:{colour}" title="{text(title)}: {share:.1%}"', str(count), kind)


def _classes(evaluation: Evaluation, class_names: Sequence[str]) -> str:
    scores = sorted(class_scores(evaluation), key=lambda score: (math.isnan(score.recall), score.recall))
    rows = [
        (
            class_names[score.label],
            f"{score.support:,}",
            _share(score.precision),
            _share(score.recall),
            "{:.0f}-{:.0f}%".format(*(100 * bound for bound in score.recall_interval)) if score.support else "-",
            _share(score.f1),
        )
        for score in scores
    ]
    heads = ("class", "images", "precision", "recall", "95 %", "F1")
    words = tag("p", "The class of which most is missed comes first.", "soft lead")
    found = words + table(heads, rows, numbers=range(1, 6))
    if len(rows) <= _MOST_CELLS:
        return section("Classes", tag("div", found, "panel"))
    return section("Classes", folded(f"All {len(rows):,}, the worst first", found))


def _share(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.1%}"


def _calibration(evaluation: Evaluation) -> str:
    bins = calibration_bins(evaluation)
    sure = float(evaluation.probabilities.max(axis=1).mean())
    difference = sure - evaluation.accuracy
    verdict = (
        "about as sure as it is right" if abs(difference) < 0.02 else "too sure" if difference > 0 else "too unsure"
    )
    words = (
        f"On average it is {sure:.1%} sure and {evaluation.accuracy:.1%} right: {verdict}. Expected calibration error "
        f"{expected_calibration_error(evaluation):.1%}. A dot is the images of which it is about equally sure, the larger the more; "
        "its line is the 95 % interval; on the diagonal a probability means what it says."
    )
    panels = tag("div", reliability_diagram(bins), "panel") + tag("div", tag("p", words), "panel")
    return section("Reliability", tag("div", panels, "charts"))


def _mistakes(evaluation: Evaluation, split: Split | EncodedSplit, class_names: Sequence[str]) -> str:
    wrong = confident_mistakes(evaluation)
    if not len(wrong):
        return section("Mistakes", tag("div", "None.", "panel"))
    room, figures = _ROOM, []
    for index in wrong[:_MISTAKES]:
        said, true = int(evaluation.predictions[index]), int(evaluation.labels[index])
        sure, little = evaluation.probabilities[index, said], evaluation.probabilities[index, true]
        address = _address(split, int(index)) if room > 0 else None
        room -= len(address or "")
        caption = f"{tag('b', text(class_names[said]))} {sure:.0%}<br>is {text(class_names[true])} {little:.0%}"
        title = f"image {index}: {class_names[said]}, is {class_names[true]}"
        figures.append(tag("figure", picture(address, title) + tag("figcaption", caption)))
    kind = "mistakes tiny" if max(split.image_shape[:2]) <= _TINY else "mistakes"
    words = f"{len(wrong):,} of {len(evaluation.labels):,} are wrong; these are the ones it was surest of."
    content = tag("p", words, "soft lead") + tag("div", "".join(figures), kind)
    return section("The surest mistakes", tag("div", content, "panel") + more(len(wrong) - _MISTAKES))


def _address(split: Split | EncodedSplit, index: int) -> str | None:
    try:
        pixels = split.image(index)
    except VitKerasError:  # gone since it was judged
        return None
    return to_data_url(to_image(pixels), form="png" if max(pixels.shape[:2]) <= _TINY else "jpeg")


def _run(record: Mapping[str, Any], history: Sequence[Mapping[str, float]], evaluation: Evaluation) -> str:
    cost = cost_of(ViTConfig.from_dict(record["config"]), num_classes=evaluation.probabilities.shape[1])
    speed = images_a_second(record, history)
    work = {
        **{f"seconds: {name}": round(value, 1) for name, value in record.get("seconds", {}).items()},
        **({"training images a second, validation included": round(speed, 1)} if speed is not None else {}),
        "parameters, head included": f"{cost['parameters']:,}",
        "GMACs an image, head included": f"{cost['macs'] / 1e9:.4g}",
    }
    parts = {
        "Time and cost": work,
        "Results": record.get("results", {}),
        "Recipe": record["recipe"],
        "Options": record.get("options", {}),
        "Model": record["config"],
        "Data": {name: value for name, value in record["data"].items() if name != "class_names"},
        "Environment": record["environment"],
    }
    folds = [
        folded(name, table(("what", "value"), facts_of(values)), is_open=values is work)
        for name, values in parts.items()
        if values
    ]
    choices = [[str(word) for word in choice] for choice in record.get("choices", ())]
    if choices:
        folds.insert(1, folded("Choices", table(("what", "value", "why"), choices), is_open=True))
    return section("How it was made", "\n".join(folds))
