"""The report of a search: `study.html` and `study.csv`."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data import ImageData
from vit_keras.reporting.pages import cards, folded, page, section, table, tag, text
from vit_keras.runtime.files import write_text
from vit_keras.training.runs.facts import format_count
from vit_keras.tuning.report import charts
from vit_keras.tuning.report.progress import describe_resolution
from vit_keras.tuning.strategy.surrogate import predict_final_scores
from vit_keras.tuning.study.study import FAULTS, Study, Trial
from vit_keras.version import __version__

PAGE, TABLE = "study.html", "study.csv"
_LEADERS = 20
_TRIALS_FOR_IMPORTANCE = 10
_COORDINATES = 60
_MOST_DIMENSIONS = 10


def write_study_report(
    run: Path, study: Study, *, data: ImageData, test_metrics: Mapping[str, float] | None = None
) -> None:
    """Writes `study.html`, a self-contained page, and `study.csv`, of a study with one trial or more."""
    body = _format_headline(study, test_metrics)
    resolution = describe_resolution(study, data)
    if resolution:
        body += tag("p", text(resolution[0].upper() + resolution[1:]) + ".", "soft lead") + "\n"
    ranking = study.ranking
    if ranking:
        body += format_leaderboard(study, ranking) + _format_charts(study, ranking)
    body += _format_stopped(study) + _format_participants(study)
    body += tag("footer", tag("p", f"vit_keras {text(__version__)}"), "soft") + "\n"
    names = ", ".join(each.name for each in study.objectives)
    below = f"objective: {names}; up to {study.epochs} epochs per trial"
    write_text(run / PAGE, page(f"{data.name}: search", heading=data.name, below=below, body=body))
    write_text(run / TABLE, format_study_table(study))


def format_study_table(study: Study) -> str:
    """Returns the trials as CSV, one row per trial in the order of proposal."""
    file = io.StringIO()
    dimensions = sorted({name for trial in study.trials for name in trial.values})
    costs = sorted({name for trial in study.trials for name in trial.costs})
    metrics = sorted({name for trial in study.trials for row in trial.curve for name in row})
    writer = csv.writer(file, lineterminator="\n")
    heads = ["trial", "state", "origin", "epochs", "seconds", *metrics, *costs, *dimensions, "reason", "workers"]
    writer.writerow(heads)
    for trial in study.trials:
        last = trial.curve[-1] if trial.curve else {}
        writer.writerow(
            [trial.number, trial.state, trial.origin, trial.epochs, round(trial.seconds, 2)]
            + [last.get(name, "") for name in metrics]
            + [trial.costs.get(name, "") for name in costs]
            + [trial.values.get(name, "") for name in dimensions]
            + [trial.reason, " ".join(trial.workers)]
        )
    return file.getvalue()


def compute_importance(study: Study) -> dict[str, float]:
    """Returns how much each dimension matters for the final score: fractions with sum 1, the largest first.

    Permutation importance of a random forest (Breiman 2001, doi 10.1023/A:1010933404324); empty with too few trials.
    """
    trials = study.trained
    if len(trials) < _TRIALS_FOR_IMPORTANCE:
        return {}
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    scores, _ = predict_final_scores(trials, study.objective)
    tuned = {name: values for name, values in _list_values(trials).items() if len(values) > 1}
    if not tuned or not np.ptp(scores):
        return {}
    places = np.array([[values.index(trial.values[name]) for name, values in tuned.items()] for trial in trials])
    forest = RandomForestRegressor(100, min_samples_leaf=2, random_state=0).fit(places, scores)
    means = permutation_importance(forest, places, scores, n_repeats=10, random_state=0).importances_mean.clip(0)
    names = list(tuned)
    if not means.sum():
        return {}
    return {names[index]: float(means[index] / means.sum()) for index in np.argsort(-means, kind="stable")}


def _list_values(trials: Sequence[Trial]) -> dict[str, list[Any]]:
    """Returns the values that each dimension took, in order."""
    names = dict.fromkeys(name for trial in trials for name in trial.values)
    taken = {name: {trial.values[name] for trial in trials if name in trial.values} for name in names}
    return {name: sorted(values, key=lambda value: (str(type(value)), value)) for name, values in taken.items()}


def _format_headline(study: Study, test_metrics: Mapping[str, float] | None) -> str:
    best, trials = study.best, study.trials
    counts = {state: sum(trial.state == state for trial in trials) for state in ("COMPLETED", "PRUNED", *FAULTS)}
    num_failed = sum(counts[state] for state in FAULTS)
    items = []
    for name, value in list((test_metrics or {}).items())[:1]:
        figure = f"{value:.3f}" if name == "r2" else f"{value:.1%}"
        items.append(("", figure, f"test {name.replace('_', ' ')}, on images that the search did not use"))
    if best is not None:
        score = f"{best.curve[-1][study.objective.name]:.4g}"
        items.append(("", score, f"best {text(study.objective.name)} (trial {best.number})"))
        if "params" in best.costs:
            items.append(("", format_count(best.costs["params"]), "parameters of the best model"))
    ends = f"{counts['COMPLETED']} completed, {counts['PRUNED']} stopped early"
    items.append(("", str(len(trials)), f"{'trial' if len(trials) == 1 else 'trials'}: {ends}"))
    if num_failed:
        items.append(("warning", str(num_failed), "failed"))
    full = f"{len(trials) * study.epochs:,}"
    items.append(("", f"{study.epochs_trained:,}", f"epochs; {full} without early stopping"))
    items.append(("", f"{study.seconds / 60:.1f} min", "total time"))
    return cards(items)


def format_leaderboard(study: Study, ranking: Sequence[Trial]) -> str:
    """Returns the section with a row per trial, the best first."""
    values = _list_values(ranking)
    dimensions = [name for name, taken in values.items() if len(taken) > 1]
    costs = [name for name in ("params", "macs", "latency") if name in ranking[0].costs]
    front = {trial.number for trial in study.front} if len(study.objectives) > 1 else set()
    rows = [
        [
            str(rank),
            str(trial.number),
            f"{trial.curve[-1][study.objective.name]:.4f}",
            str(trial.epochs),
            *(charts.format_cost(trial.costs[name]) for name in costs),
            *(["yes" if trial.number in front else ""] if front else []),
            *(charts.format_value(trial.values.get(name)) for name in dimensions),
        ]
        for rank, trial in enumerate(ranking[:_LEADERS], start=1)
    ]
    heads = ["rank", "trial", study.objective.name, "epochs", *costs, *(["Pareto front"] if front else []), *dimensions]
    note = "Ordered by epochs first: a trial that was stopped early was worse than others at that epoch."
    content = tag("p", note, "soft lead") + table(heads, rows, numbers=range(4 + len(costs)))
    fixed = [(name, charts.format_value(taken[0])) for name, taken in values.items() if len(taken) == 1]
    if fixed:
        content += folded("The same in every trial", table(("hyperparameter", "value"), fixed))
    return section("Leaderboard", tag("div", content, "panel"))


def _format_charts(study: Study, ranking: Sequence[Trial]) -> str:
    panels = [charts.draw_learning_curves(study)]
    if study.best is not None:
        panels.append(charts.draw_best_by_epochs(study))
        panels += [charts.draw_pareto_front(study, cost) for cost in ("params", "latency") if cost in ranking[0].costs]
    importance = compute_importance(study)
    if importance:
        panels.append(charts.draw_importance(importance))
    content = section("Charts", tag("div", "".join(tag("div", panel, "panel") for panel in panels), "charts"))
    tuned = {name: values for name, values in _list_values(ranking).items() if len(values) > 1}
    if len(ranking) > 1 and tuned:
        names = sorted(tuned, key=lambda name: -importance.get(name, 0.0))[:_MOST_DIMENSIONS]
        note = "One line per trial. The best trial is orange; the better a trial, the stronger its color."
        drawn = charts.draw_parallel_coordinates(ranking[:_COORDINATES], {name: tuned[name] for name in names})
        content += section(
            "Hyperparameters of all trials",
            tag("div", tag("p", note, "soft lead") + tag("div", drawn, "scroll"), "panel"),
        )
    return content


def _format_stopped(study: Study) -> str:
    stopped = [trial for trial in study.trials if trial.reason and trial.state != "QUEUED"]
    rows = [(str(trial.number), trial.state, str(trial.epochs), trial.reason) for trial in stopped]
    if not rows:
        return ""
    title = f"{len(rows)} {'trial' if len(rows) == 1 else 'trials'}"
    return section("Stopped and failed", folded(title, table(("trial", "state", "epochs", "reason"), rows)))


def _format_participants(study: Study) -> str:
    """Returns the section with a row per process that searched, if there was more than one."""
    participants = sorted(study.participants.values(), key=lambda each: each.joined)
    if len(participants) < 2:
        return ""
    rows = [
        [
            each.name,
            each.host,
            str(each.workers),
            ", ".join(map(str, sorted(each.trials))),
            str(each.epochs),
            f"{each.seconds / 60:.1f}",
            f"{each.joined / 60:.1f}",
            "" if each.left is None else f"{each.left / 60:.1f}{' (lost)' if each.lost else ''}",
        ]
        for each in participants
    ]
    heads = ["process", "machine", "workers", "trials", "epochs", "training min", "joined at min", "left at min"]
    note = "Times are of the search. A trial whose process left or was lost was continued by another one from its last checkpoint."
    content = tag("p", note, "soft lead") + table(heads, rows, numbers=(2, 4, 5, 6, 7))
    return section("Who trained what", tag("div", content, "panel"))
