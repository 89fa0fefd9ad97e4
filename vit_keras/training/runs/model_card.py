"""The part of a model card that describes the training run."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from vit_keras.data.tasks import describe_count
from vit_keras.evaluation.evaluate import AnyEvaluation
from vit_keras.evaluation.metrics import (
    ClassScore,
    Evaluation,
    class_scores,
    expected_calibration_error,
    wilson_interval,
)
from vit_keras.evaluation.multi_label import MultiLabelEvaluation
from vit_keras.evaluation.regression import RegressionEvaluation
from vit_keras.reporting.text import escape_markdown
from vit_keras.training.runs.facts import describe_evaluation, format_fraction
from vit_keras.training.runs.report_regression import TARGET_HEADS, target_rows

_MAX_CLASSES = 30  # of more, only the worst are listed
_WORST = 10


def model_card_notes(record: Mapping[str, Any], evaluation: AnyEvaluation, class_names: Sequence[str]) -> str:
    """Returns results, training, data, license (to be filled in) and limits of a trained model, as Markdown for `write_card`."""
    if isinstance(evaluation, MultiLabelEvaluation):
        results, limits = [_multi_label_results(record, evaluation)], _multi_label_limits(evaluation)
    elif isinstance(evaluation, RegressionEvaluation):
        results, limits = [_regression_results(record, evaluation)], _regression_limits(evaluation)
    else:
        scores = sorted(class_scores(evaluation), key=lambda score: (math.isnan(score.recall), score.recall))
        results = [_results(record, evaluation), _classes(scores, class_names)]
        limits = _limits(scores, evaluation, class_names)
    names = describe_count(evaluation.task, len(class_names))
    return "\n" + "\n".join(
        [*results, training_section(record), data_section(record, names), license_section(record), limits]
    )


def _evaluated_on(record: Mapping[str, Any], count: int) -> str:
    kind, words = describe_evaluation(record)
    return f"## Results\n\nEvaluated on {count:,} {kind} images, {words}.\n\n"


def _multi_label_results(record: Mapping[str, Any], evaluation: MultiLabelEvaluation) -> str:
    rows = [
        ["mean average precision", format_fraction(evaluation.mean_average_precision)],
        ["macro F1", format_fraction(evaluation.macro_f1)],
        ["micro F1", format_fraction(evaluation.micro_f1)],
        ["threshold, chosen on validation images", f"{evaluation.threshold:.2f}"],
    ]
    baseline = record.get("results", {}).get("nearest_neighbor_micro_f1")
    if baseline is not None:
        rows.append(["micro F1 of the nearest-neighbor baseline", f"{baseline:.1%}"])
    scores = sorted(
        evaluation.classes, key=lambda score: (math.isnan(score.average_precision), score.average_precision)
    )
    chosen = scores if len(scores) <= _MAX_CLASSES else scores[:_WORST]
    title = (
        "Per class"
        if chosen is scores
        else f"The {_WORST} classes of {len(scores):,} with the lowest average precision"
    )
    table = [
        [
            escape_markdown(evaluation.name(score.label)),
            f"{score.support:,}",
            *map(format_fraction, (score.average_precision, score.precision, score.recall, score.f1)),
        ]
        for score in chosen
    ]
    heads = ("class", "images", "average precision", "precision", "recall", "F1")
    return (
        _evaluated_on(record, len(evaluation.labels))
        + _table(("metric", "value"), rows)
        + f"\n{title}:\n\n"
        + _table(heads, table)
    )


def _multi_label_limits(evaluation: MultiLabelEvaluation) -> str:
    unseen = sum(not score.support for score in evaluation.classes)
    lines = [
        "- The results hold for images like the evaluated images, with classes as frequent as there.",
        f"- An image has each class with a probability of {evaluation.threshold:.2f} or more; more precision needs a higher threshold, more "
        "recall a lower one.",
        *([f"- Classes without evaluated images: {unseen:,}."] if unseen else []),
    ]
    return _format_limits(lines)


def _regression_results(record: Mapping[str, Any], evaluation: RegressionEvaluation) -> str:
    rows = [[escape_markdown(row[0]), *row[1:]] for row in target_rows(evaluation.targets)]
    baseline = record.get("results", {}).get("nearest_neighbor_r2")
    below = "" if baseline is None else f"\nR2 of the nearest-neighbor baseline: {baseline:.3f}.\n"
    words = "In the units of the labels.\n\n"
    return _evaluated_on(record, len(evaluation.labels)) + words + _table(TARGET_HEADS, rows) + below


def _regression_limits(evaluation: RegressionEvaluation) -> str:
    ranges = [
        f"- {escape_markdown(name)}: the labels of the evaluated images are {labels.min():.4g} to {labels.max():.4g}; predictions outside are "
        "extrapolated."
        for name, labels in zip(evaluation.class_names, evaluation.labels.T, strict=True)
    ]
    return _format_limits(["- The results hold for images like the evaluated images.", *ranges])


def _format_limits(lines: list[str]) -> str:
    lines = [*lines, "- Robustness to corrupted or adversarial images, and fairness, were not measured."]
    return "## Limits\n\n" + "\n".join(lines) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _results(record: Mapping[str, Any], evaluation: Evaluation) -> str:
    count, correct = len(evaluation.labels), int((evaluation.predictions == evaluation.labels).sum())
    rows = [
        ["accuracy", f"{correct / count:.1%}", "{:.1%} to {:.1%}".format(*wilson_interval(correct, count))],
        ["expected calibration error", f"{expected_calibration_error(evaluation):.1%}", ""],
    ]
    baseline = record.get("results", {}).get("nearest_neighbour_accuracy")
    if baseline is not None:
        rows.append(["accuracy of the nearest-neighbor baseline", f"{baseline:.1%}", ""])
    return _evaluated_on(record, count) + _table(("metric", "value", "95 % interval"), rows)


def _classes(scores: Sequence[ClassScore], class_names: Sequence[str]) -> str:
    chosen = scores if len(scores) <= _MAX_CLASSES else scores[:_WORST]
    rows = [
        [
            escape_markdown(class_names[score.label]),
            f"{score.support:,}",
            format_fraction(score.precision),
            format_fraction(score.recall),
            "{:.1%} to {:.1%}".format(*score.recall_interval) if score.support else "-",
        ]
        for score in chosen
    ]
    title = "Per class" if chosen is scores else f"The {_WORST} classes of {len(scores):,} with the lowest recall"
    return f"{title}:\n\n" + _table(("class", "images", "precision", "recall", "95 % interval of recall"), rows)


def training_section(record: Mapping[str, Any]) -> str:
    """Returns how the model of a run was trained."""
    recipe, environment = record["recipe"], record["environment"]
    versions = ", ".join(f"{name} {number}" for name, number in environment.get("versions", {}).items())
    lines = [
        f"- Recipe: `{recipe['name']}`, from {escape_markdown(str(recipe.get('source') or 'no named source'))}",
        f"- {recipe['epochs']} epochs of {recipe['steps_per_epoch']} steps, {record['precision']}, {environment['backend']} backend",
        f"- On {escape_markdown(str(environment.get('processor') or 'an unnamed processor'))}"
        f" with the devices {escape_markdown(', '.join(map(str, environment.get('devices', []))) or 'unknown')}",
        f"- Versions: {versions}",
    ]
    fit = record.get("seconds", {}).get("fit")
    if fit is not None:
        lines.append(f"- {fit:,.0f} seconds of training")
    if record.get("base"):
        lines.append(f"- Started from weights with the SHA-256 `{record['base']}`")
    for what, value, reason in record.get("choices", ()):
        lines.append(f"- Choice: {escape_markdown(f'{what} {value}')}: {escape_markdown(str(reason))}")
    numbers = json.dumps(dict(recipe), indent=2)
    return "## Training\n\n" + "\n".join(lines) + f"\n\n```json\n{numbers}\n```\n"


def data_section(record: Mapping[str, Any], labels: str) -> str:
    """Returns what a run was trained on; `labels` says what the images are of."""
    data = record["data"]
    counts = ", ".join(f"{count:,} {name}" for name, count in data["images"].items())
    lines = [
        f"- {escape_markdown(str(data['name']))}: {counts} images of {labels}",
        f"- Fingerprint: `{data['fingerprint']}`",
    ]
    lines += [f"- {escape_markdown(decision)}" for decision in data.get("decisions", ())]
    if data.get("notes"):
        lines.append(
            f"- Notes on files, such as files that were skipped: {len(data['notes']):,}, in the run's `run.json`"
        )
    return "## Data\n\n" + "\n".join(lines) + "\n"


def license_section(record: Mapping[str, Any]) -> str:
    """Returns what the author has to fill in."""
    asked = ["these weights (and `license` at the top of this file)", "the images it was trained on"]
    if record.get("base"):
        asked.append("the pretrained weights it started from, which may restrict the use of these")
    lines = "\n".join(f"- **To be filled in:** the license of {what}" for what in asked)
    return f"## License\n\nNo rights are granted until this is filled in.\n\n{lines}\n"


def _limits(scores: Sequence[ClassScore], evaluation: Evaluation, class_names: Sequence[str]) -> str:
    confidence = float(evaluation.probabilities.max(axis=1).mean())
    lines = [
        "- The results hold for images like the evaluated images. The intervals cover sampling noise only, not other cameras, places or "
        "times.",
        f"- It predicts one of its {len(class_names):,} classes for any image, even if the image shows none of them.",
        f"- Mean confidence {confidence:.1%}, accuracy {evaluation.accuracy:.1%}.",
    ]
    if scores[0].support and scores[0].recall < 1:
        worst = scores[0]
        lines.append(
            f"- Lowest recall of all classes: {escape_markdown(class_names[worst.label])}, {worst.recall:.1%}."
        )
    unseen = sum(not score.support for score in scores)
    if unseen:
        lines.append(f"- Classes without evaluated images: {unseen:,}.")
    return _format_limits(lines)
