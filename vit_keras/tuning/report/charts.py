"""Charts of a search, as SVG."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vit_keras.reporting.charts import ACCENT, INK, SECOND, add_legend, new_chart, svg
from vit_keras.training.runs.facts import format_count
from vit_keras.tuning.study.study import Study, Trial

_HIGHLIGHTED = 3  # trials
_LABEL: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 7, "color": INK}


def draw_learning_curves(study: Study) -> str:
    """Draws the learning curve of every trial, with the best ones in color."""
    name = study.objective.name
    figure, axes = _new_grid(name, "epoch")
    best = study.ranking[:_HIGHLIGHTED]
    labeled = set[str]()
    for trial in sorted(study.trials, key=lambda trial: trial in best):
        values = [row[name] for row in trial.curve]
        if best and trial is best[0]:
            label, color, alpha, width = "best trial", SECOND, 1.0, 1.6
        elif trial in best:
            label, color, alpha, width = f"best {_HIGHLIGHTED}", ACCENT, 1.0, 0.9
        else:
            label, color, alpha, width = "other trials", INK, 0.35, 0.9
        axes.plot(
            range(1, len(values) + 1), values, color=color, alpha=alpha, linewidth=width,
            marker="." if len(values) == 1 else "", label="_" if label in labeled else label,
        )  # fmt: skip
        labeled.add(label)
    add_legend(axes)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
    return svg(figure)


def draw_best_by_epochs(study: Study) -> str:
    """Draws the best completed trial's score over the epochs trained so far, trial after trial."""
    name = study.objective.name
    figure, axes = _new_grid(f"best {name}", "epochs of all trials")
    epochs, points, best = 0, [], None
    for trial in study.trials:
        epochs += trial.epochs
        if trial.state == "COMPLETED" and (best is None or trial.value(study.objective) > best.value(study.objective)):
            best = trial
        if best is not None:
            points.append((epochs, best.curve[-1][name]))
    axes.plot(*zip(*points, strict=True), color=ACCENT, drawstyle="steps-post", label="best completed trial so far")
    add_legend(axes)
    return svg(figure)


def draw_pareto_front(study: Study, cost: str) -> str:
    """Draws score over "params", "macs" or "latency" for the trials at the full horizon, with their Pareto front."""
    name = study.objective.name
    figure, axes = _new_grid(name, cost)
    points = [(trial.costs[cost], trial.curve[-1][name]) for trial in study.ranking if trial.epochs == study.epochs]
    costs, scores = zip(*points, strict=True)
    axes.scatter(costs, scores, s=14, color=INK, alpha=0.5, linewidths=0, label="trial")
    sign = 1.0 if study.objective.direction == "max" else -1.0
    front, best = [], -np.inf
    for point in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if sign * point[1] > best:
            best = sign * point[1]
            front.append(point)
    axes.plot(
        *zip(*front, strict=True),
        color=SECOND,
        marker="o",
        markersize=4,
        label="Pareto front: none is better and smaller",
    )
    add_legend(axes)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter(lambda value, _: format_cost(value))
    return svg(figure)


def draw_importance(importance: Mapping[str, float]) -> str:
    """Draws the importance of each dimension, the largest first."""
    figure, axes = new_chart("", "importance (fraction)")
    names = list(importance)[::-1]
    axes.barh(names, [importance[name] for name in names], color=ACCENT)
    return svg(figure)


def draw_parallel_coordinates(trials: Sequence[Trial], dimensions: Mapping[str, Sequence[Any]]) -> str:
    """Draws one vertical axis per dimension and one line per trial, the best first; the better a trial, the stronger its color."""
    figure, axes = new_chart("", "")
    figure.set_size_inches(9, 3.2)
    names = list(dimensions)
    for rank, trial in reversed(list(enumerate(trials))):
        heights = [dimensions[name].index(trial.values[name]) / (len(dimensions[name]) - 1) for name in names]
        fraction = 1.0 - rank / max(len(trials) - 1, 1)
        color, width = (SECOND, 2.2) if rank == 0 else (ACCENT, 1.1)
        label = {0: "best trial", 1: "other trials, stronger where better"}.get(rank, "_")
        axes.plot(range(len(names)), heights, color=color, alpha=0.3 + 0.7 * fraction**2, linewidth=width, label=label)
    for place, name in enumerate(names):
        axes.axvline(place, color=INK, alpha=0.25, linewidth=0.8)
        for end, height, offset, side in ((0, 0.0, -4, "top"), (-1, 1.0, 4, "bottom")):
            label = format_value(dimensions[name][end])
            axes.annotate(label, (place, height), (0, offset), va=side, **_LABEL)
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names], fontsize=8)
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_ylim(-0.12, 1.12)
    add_legend(axes)
    return svg(figure)


def format_cost(cost: float) -> str:
    """Returns a number of parameters or MACs, or a latency in seconds, as text."""
    return format_count(cost) if cost >= 1 else f"{cost:.3g}"


def format_value(value: Any) -> str:
    """Returns a value of a dimension as text."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _new_grid(ylabel: str, xlabel: str) -> tuple[Figure, Axes]:
    figure, axes = new_chart(ylabel.replace("_", " "), xlabel)
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    return figure, axes
