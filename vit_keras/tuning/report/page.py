"""The page and the table of a search: what was tried, what came of it, and why the rest was refused."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data import ImageData
from vit_keras.reporting.pages import cards, folded, page, section, table, tag, text
from vit_keras.runtime.files import write_text
from vit_keras.training.runs.facts import format_count
from vit_keras.tuning.report import charts as study_charts
from vit_keras.tuning.report.progress import resolution_of
from vit_keras.tuning.strategy.surrogate import scores_at_the_horizon, trained
from vit_keras.tuning.study.study import FAULTS, Study, Trial
from vit_keras.version import __version__

PAGE, TABLE = "study.html", "study.csv"
_LEADERS = 20
_ENOUGH = 10  # trials, for what matters to be told
_COORDINATES = 60
_MOST_DIMENSIONS = 10


def write_study_report(run: Path, study: Study, *, data: ImageData, test_accuracy: float | None = None) -> None:
    """Writes `study.html`, one file that needs no network, and `study.csv`.

    Args:
        run: The search's directory.
        study: With one trial or more.
        data: What was trained on.
        test_accuracy: Of the best trial's model; None while there is none.

    Raises:
        StorageError: A file can't be written.
    """
    ranked = study.ranked()
    body = _headline(study, test_accuracy)
    resolution = resolution_of(study, data)
    if resolution:
        body += tag("p", text(resolution[0].upper() + resolution[1:]) + ".", "soft lead") + "\n"
    if ranked:
        body += _leaders(study, ranked) + _charts(study, ranked)
    body += _refused(study)
    body += tag("footer", tag("p", f"vit_keras {text(__version__)}"), "soft") + "\n"
    names = ", ".join(each.name for each in study.objectives)
    below = f"by {names}; at most {study.epochs} epochs a trial"
    write_text(run / PAGE, page(f"{data.name}: search", heading=data.name, below=below, body=body))
    write_text(run / TABLE, study_table(study))


def study_table(study: Study) -> str:
    """Returns a row a trial, comma-separated, in the order of their numbers.

    Args:
        study: What is listed.
    """
    file = io.StringIO()
    dimensions = sorted({name for trial in study.trials for name in trial.values})
    costs = sorted({name for trial in study.trials for name in trial.costs})
    metrics = sorted({name for trial in study.trials for row in trial.curve for name in row})
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["trial", "state", "origin", "epochs", "seconds", *metrics, *costs, *dimensions, "reason"])
    for trial in study.trials:
        last = trial.curve[-1] if trial.curve else {}
        writer.writerow(
            [trial.number, trial.state, trial.origin, trial.epochs, round(trial.seconds, 2)]
            + [last.get(name, "") for name in metrics]
            + [trial.costs.get(name, "") for name in costs]
            + [trial.values.get(name, "") for name in dimensions]
            + [trial.reason]
        )
    return file.getvalue()


def importance(study: Study) -> dict[str, float]:
    """Returns how much each dimension matters to the score at the horizon: fractions that add up to one, the greatest first.

    By how much worse a random forest of the trials gets when a dimension's values are exchanged among them (Breiman 2001, doi
    10.1023/A:1010933404324). Nothing where there are too few trials to tell.

    Args:
        study: What is known.
    """
    known = trained(study)
    if len(known) < _ENOUGH:
        return {}
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    curves = [[study.objective.value(trial, epoch + 1) for epoch in range(trial.epochs)] for trial in known]
    scores, _ = scores_at_the_horizon(study, known, curves)
    names = [name for name, values in _values_of(known).items() if len(values) > 1]
    if not names or not np.ptp(scores):
        return {}
    orders = _values_of(known)
    places = np.array([[orders[name].index(trial.values[name]) for name in names] for trial in known])
    forest = RandomForestRegressor(100, min_samples_leaf=2, random_state=0).fit(places, scores)
    found = permutation_importance(forest, places, scores, n_repeats=10, random_state=0).importances_mean.clip(0)
    total = found.sum()
    if not total:
        return {}
    return {names[index]: float(found[index] / total) for index in np.argsort(-found, kind="stable")}


def _values_of(trials: Sequence[Trial]) -> dict[str, list[Any]]:
    """Returns the values that each dimension took, in order."""
    names = dict.fromkeys(name for trial in trials for name in trial.values)
    taken = {name: {trial.values[name] for trial in trials if name in trial.values} for name in names}
    return {name: sorted(values, key=lambda value: (str(type(value)), value)) for name, values in taken.items()}


def _headline(study: Study, test_accuracy: float | None) -> str:
    best = study.best
    counts = {state: sum(trial.state == state for trial in study.trials) for state in ("COMPLETED", "PRUNED", *FAULTS)}
    faults = sum(counts[state] for state in FAULTS)
    items = [
        ("", f"{test_accuracy:.1%}", "of the test images right, which the search never saw")
        if test_accuracy is not None
        else None,
        (
            "",
            f"{best.curve[-1][study.objective.name]:.4g}",
            f"{text(study.objective.name)}, the best: trial {best.number}",
        )
        if best
        else None,
        ("", format_count(best.costs["params"]), "parameters of the best") if best and "params" in best.costs else None,
        ("", str(len(study.trials)), f"trials: {counts['COMPLETED']} completed, {counts['PRUNED']} stopped early"),
        ("warning", str(faults), "failed") if faults else None,
        (
            "",
            f"{study.epochs_trained:,}",
            f"epochs, where all trials to the end would be {len(study.trials) * study.epochs:,}",
        ),
        ("", f"{study.seconds / 60:.1f} min", "in all"),
    ]
    return cards(item for item in items if item is not None)


def _leaders(study: Study, ranked: Sequence[Trial]) -> str:
    dimensions = [name for name, values in _values_of(ranked).items() if len(values) > 1]
    costs = [name for name in ("params", "macs", "latency") if name in ranked[0].costs]
    heads = ["", "trial", study.objective.name, "epochs", *costs, *dimensions]
    front = {trial.number for trial in study.front()} if len(study.objectives) > 1 else set()
    rows = [
        [
            f"{place}{' on the front' if trial.number in front else ''}",
            str(trial.number),
            f"{trial.curve[-1][study.objective.name]:.4f}",
            str(trial.epochs),
            *(
                format_count(trial.costs[name]) if trial.costs[name] >= 1 else f"{trial.costs[name]:.3g}"
                for name in costs
            ),
            *(_word(trial.values.get(name)) for name in dimensions),
        ]
        for place, trial in enumerate(ranked[:_LEADERS], start=1)
    ]
    words = "Those trained further come first: what was stopped early was worse than others then."
    found = tag("p", words, "soft lead") + table(heads, rows, numbers=range(1, 4 + len(costs)))
    fixed = {name: values[0] for name, values in _values_of(ranked).items() if len(values) == 1}
    if fixed:
        found += folded(
            "The same in all", table(("what", "value"), [(name, _word(value)) for name, value in fixed.items()])
        )
    return section("Leaderboard", tag("div", found, "panel"))


def _charts(study: Study, ranked: Sequence[Trial]) -> str:
    panels = [study_charts.learning_curves(study)]
    if study.best is not None:
        panels.append(study_charts.best_by_cost(study))
        panels += [study_charts.pareto_front(study, cost) for cost in ("params", "latency") if cost in ranked[0].costs]
    shares = importance(study)
    if shares:
        panels.append(study_charts.importances(shares))
    charts = section("What was found", tag("div", "".join(tag("div", panel, "panel") for panel in panels), "charts"))
    taken = {name: values for name, values in _values_of(ranked).items() if len(values) > 1}
    if len(ranked) > 1 and taken:
        chosen = sorted(taken, key=lambda name: -shares.get(name, 0.0))[:_MOST_DIMENSIONS]
        words = "A line is a trial, the best in orange; the stronger its colour, the better."
        drawn = study_charts.parallel_coordinates(study, ranked[:_COORDINATES], {name: taken[name] for name in chosen})
        charts += section("Together", tag("div", tag("p", words, "soft lead") + drawn, "panel"))
    return charts


def _refused(study: Study) -> str:
    """Returns what did not get to its end, and why."""
    rows = [
        (str(trial.number), trial.state, str(trial.epochs), trial.reason)
        for trial in study.trials
        if trial.reason and trial.state != "QUEUED"
    ]
    if not rows:
        return ""
    return section(
        "Stopped and failed", folded(f"{len(rows)} trials", table(("trial", "state", "epochs", "why"), rows))
    )


def _word(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
