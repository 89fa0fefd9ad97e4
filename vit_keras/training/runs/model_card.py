"""What a model card says of the run a model came from."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from vit_keras.evaluation.evaluate import Evaluation
from vit_keras.evaluation.scores import ClassScore, class_scores, expected_calibration_error, wilson_interval
from vit_keras.reporting.text import escape_markdown

_MOST_CLASSES = 30  # of more, the worst are listed
_WORST = 10


def model_card_notes(record: Mapping[str, Any], evaluation: Evaluation, class_names: Sequence[str]) -> str:
    """Returns what is known of a trained model, Markdown for `save_preset(notes=...)` or `write_card`.

    What only its maker knows, the licenses, is left to be filled in, and says so.

    Args:
        record: What `run.json` holds.
        evaluation: What the model says of the images it was judged by.
        class_names: What the labels mean.
    """
    scores = sorted(class_scores(evaluation), key=lambda score: (math.isnan(score.recall), score.recall))
    parts = [
        _results(record, evaluation),
        _classes(scores, class_names),
        _training(record),
        _data(record, class_names),
        _license(record),
        _limits(scores, evaluation, class_names),
    ]
    return "\n" + "\n".join(parts)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _results(record: Mapping[str, Any], evaluation: Evaluation) -> str:
    count, right = len(evaluation.labels), int((evaluation.predictions == evaluation.labels).sum())
    rows = [
        ["accuracy", f"{right / count:.1%}", "{:.1%} to {:.1%}".format(*wilson_interval(right, count))],
        ["expected calibration error", f"{expected_calibration_error(evaluation):.1%}", ""],
    ]
    baseline = record.get("results", {}).get("nearest_neighbour_accuracy")
    if baseline is not None:
        rows.append(["accuracy of the nearest neighbour, the baseline", f"{baseline:.1%}", ""])
    return f"## Results\n\nJudged by {count:,} images that it was not trained on.\n\n" + _table(
        ("what", "value", "95 % interval"), rows
    )


def _classes(scores: Sequence[ClassScore], class_names: Sequence[str]) -> str:
    chosen = scores if len(scores) <= _MOST_CLASSES else scores[:_WORST]
    rows = [
        [
            escape_markdown(class_names[score.label]),
            f"{score.support:,}",
            _share(score.precision),
            _share(score.recall),
            "{:.1%} to {:.1%}".format(*score.recall_interval) if score.support else "-",
        ]
        for score in chosen
    ]
    title = "Each class" if chosen is scores else f"The {_WORST} classes of {len(scores):,} of which most is missed"
    return f"{title}:\n\n" + _table(("class", "images", "precision", "recall", "95 % interval of the recall"), rows)


def _share(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.1%}"


def _training(record: Mapping[str, Any]) -> str:
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
        lines.append(f"- Begun from weights with the SHA-256 `{record['base']}`")
    for what, value, reason in record.get("choices", ()):
        lines.append(f"- Chosen {escape_markdown(f'{what} {value}')}: {escape_markdown(str(reason))}")
    numbers = json.dumps(dict(recipe), indent=2)
    return "## Training\n\n" + "\n".join(lines) + f"\n\n```json\n{numbers}\n```\n"


def _data(record: Mapping[str, Any], class_names: Sequence[str]) -> str:
    data = record["data"]
    counts = ", ".join(f"{count:,} {name}" for name, count in data["images"].items())
    lines = [
        f"- {escape_markdown(str(data['name']))}: {counts} images of {len(class_names):,} classes",
        f"- Fingerprint: `{data['fingerprint']}`",
    ]
    lines += [f"- {escape_markdown(decision)}" for decision in data.get("decisions", ())]
    if data.get("notes"):
        lines.append(
            f"- {len(data['notes']):,} remarks on files, such as some that were left out, are in the run's `run.json`"
        )
    return "## Data\n\n" + "\n".join(lines) + "\n"


def _license(record: Mapping[str, Any]) -> str:
    asked = ["these weights (and `license` at the top of this file)", "the images it was trained on"]
    if record.get("base"):
        asked.append("the weights it was begun from, which may restrict what these may be used for")
    lines = "\n".join(f"- **To be filled in:** the license of {what}" for what in asked)
    return f"## License\n\nNothing here grants any rights until it is filled in.\n\n{lines}\n"


def _limits(scores: Sequence[ClassScore], evaluation: Evaluation, class_names: Sequence[str]) -> str:
    sure = float(evaluation.probabilities.max(axis=1).mean())
    lines = [
        "- The figures hold for images like those it was judged by. The intervals say what chance does among such images, and "
        "nothing of other cameras, places or times.",
        f"- It names one of its {len(class_names):,} classes for any image, also for one that shows none of them.",
        f"- Its probabilities are {sure:.1%} on average where {evaluation.accuracy:.1%} is right.",
    ]
    if scores[0].support and scores[0].recall < 1:
        worst = scores[0]
        lines.append(
            f"- Of {escape_markdown(class_names[worst.label])} it finds {worst.recall:.1%}, the least of all classes."
        )
    unseen = sum(not score.support for score in scores)
    if unseen:
        lines.append(f"- Of {unseen:,} classes there was no image to judge it by.")
    lines.append("- Neither robustness to changed or hostile images nor fairness towards people was measured.")
    return "## Limits\n\n" + "\n".join(lines) + "\n"
