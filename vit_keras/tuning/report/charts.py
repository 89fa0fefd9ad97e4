"""Charts of a search, for its report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from vit_keras.reporting.charts import ACCENT, INK, SECOND, new_chart, svg
from vit_keras.training.runs.facts import format_count
from vit_keras.tuning.study.study import Study, Trial

_HIGHLIGHTED = 3


def learning_curves(study: Study) -> str:
    """Returns a chart of every trial's curve, the best in colour.

    Args:
        study: With an epoch or more.
    """
    name = study.objective.name
    figure, axes = new_chart(name.replace("_", " "), "epoch")
    best = study.ranked()[:_HIGHLIGHTED]
    for trial in sorted(study.trials, key=lambda trial: trial in best):
        values = [row[name] for row in trial.curve]
        first = bool(best) and trial is best[0]
        colour = SECOND if first else ACCENT if trial in best else INK
        axes.plot(
            range(1, len(values) + 1),
            values,
            color=colour,
            alpha=1.0 if trial in best else 0.25,
            marker="." if len(values) == 1 else "",
            linewidth=1.6 if first else 0.9,
        )
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    return svg(figure)


def best_by_cost(study: Study) -> str:
    """Returns a chart of the best completed trial's score by the epochs trained so far, trial after trial.

    Args:
        study: With a completed trial or more.
    """
    name = study.objective.name
    figure, axes = new_chart(f"best {name.replace('_', ' ')}", "epochs of all trials")
    epochs, found, best = 0, [], None
    for trial in study.trials:
        epochs += trial.epochs
        if trial.state == "COMPLETED" and (best is None or study.objective.value(trial) > study.objective.value(best)):
            best = trial
        if best is not None:
            found.append((epochs, best.curve[-1][name]))
    axes.plot(*zip(*found, strict=True), color=ACCENT, drawstyle="steps-post")
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    return svg(figure)


def pareto_front(study: Study, cost: str) -> str:
    """Returns a chart of score over a cost, what no other trial beats in both joined by a line.

    Args:
        study: With an epoch or more.
        cost: "params", "macs" or "latency".
    """
    trials = [trial for trial in study.ranked() if trial.epochs == study.epochs]
    name = study.objective.name
    figure, axes = new_chart(name.replace("_", " "), cost)
    places = [(trial.costs[cost], trial.curve[-1][name]) for trial in trials]
    axes.scatter(
        [place[0] for place in places], [place[1] for place in places], s=14, color=INK, alpha=0.4, linewidths=0
    )
    sign = 1.0 if study.objective.direction == "max" else -1.0
    front, best = [], -np.inf
    for place in sorted(places, key=lambda place: (place[0], -sign * place[1])):
        if sign * place[1] > best:
            best = sign * place[1]
            front.append(place)
    axes.plot(*zip(*front, strict=True), color=SECOND, marker="o", markersize=4)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter(lambda value, _: format_count(value) if value >= 1 else f"{value:.3g}")
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    return svg(figure)


def importances(shares: Mapping[str, float]) -> str:
    """Returns a chart of how much each dimension matters.

    Args:
        shares: Fractions by name, the greatest first.
    """
    figure, axes = new_chart("", "share of what differs")
    names = list(shares)[::-1]
    axes.barh(names, [shares[name] for name in names], color=ACCENT)
    return svg(figure)


def parallel_coordinates(study: Study, trials: Sequence[Trial], encode: Mapping[str, Sequence[Any]]) -> str:
    """Returns a chart with a vertical line a dimension and a line across a trial; the better, the stronger its colour.

    Args:
        study: What they are of.
        trials: The best first.
        encode: The values each dimension took, in order, by its name.
    """
    figure, axes = new_chart("", "")
    figure.set_size_inches(9, 3.2)
    names = list(encode)
    for rank, trial in reversed(list(enumerate(trials))):
        heights = [_height(trial.values[name], encode[name]) for name in names]
        share = 1.0 - rank / max(len(trials) - 1, 1)
        axes.plot(
            range(len(names)),
            heights,
            color=SECOND if rank == 0 else ACCENT,
            alpha=0.1 + 0.9 * share**3,
            linewidth=2.0 if rank == 0 else 0.9,
        )
    for place, name in enumerate(names):
        axes.axvline(place, color=INK, alpha=0.25, linewidth=0.8)
        for end, height, side in ((encode[name][0], 0.0, "top"), (encode[name][-1], 1.0, "bottom")):
            axes.annotate(
                _short(end),
                (place, height),
                (0, -4 if side == "top" else 4),
                textcoords="offset points",
                ha="center",
                va=side,
                fontsize=7,
                color=INK,
            )
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names], fontsize=8)
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_ylim(-0.12, 1.12)
    return svg(figure)


def _height(value: Any, values: Sequence[Any]) -> float:
    """Returns where a value stands among those tried, from 0 to 1."""
    return values.index(value) / (len(values) - 1) if len(values) > 1 else 0.5


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
