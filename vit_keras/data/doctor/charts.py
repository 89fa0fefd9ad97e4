"""Charts of the sizes of a data set's images."""

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from vit_keras.reporting.charts import ACCENT, INK, new_chart, svg

_BARS = 24


def chart_shorter_sides(widths: np.ndarray, heights: np.ndarray) -> str:
    """Returns a histogram of the shorter sides of images, given in px."""
    sides = np.minimum(widths, heights)
    edges = np.geomspace(*_range(sides), _BARS + 1)
    figure, axes = new_chart("images", "shorter side, px")
    counts, _ = np.histogram(sides, edges)
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=ACCENT)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set(xscale="log", xlim=(edges[0], edges[-1]))
    _label_powers(axes.xaxis, edges[0], edges[-1])
    return svg(figure)


def chart_sizes(widths: np.ndarray, heights: np.ndarray) -> str:
    """Returns a scatter plot of heights over widths, given in px; the area of a dot shows the number of images."""
    rounded = np.exp2(np.round(8 * np.log2(np.stack([widths, heights], axis=1))) / 8)
    points, counts = np.unique(rounded, axis=0, return_counts=True)
    low, high = _range(np.concatenate([widths, heights]))
    figure, axes = new_chart("height, px", "width, px")
    axes.plot([low, high], [low, high], color=INK, alpha=0.3, linewidth=0.8)
    axes.scatter(points[:, 0], points[:, 1], s=12 + 500 * counts / counts.sum(), color=ACCENT, alpha=0.65, linewidths=0)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    for axis in (axes.xaxis, axes.yaxis):
        _label_powers(axis, low, high)
    return svg(figure)


def chart_numbers(values: np.ndarray, name: str) -> str:
    """Returns a histogram of the numbers of a regression."""
    figure, axes = new_chart("images", name if len(name) <= 40 else f"{name[:37]}...")
    axes.hist(values.astype("float64"), bins=_BARS, color=ACCENT)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    return svg(figure)


def _range(sides: np.ndarray) -> tuple[float, float]:
    return float(sides.min()) / 1.25, float(sides.max()) * 1.25


def _label_powers(axis: Axis, low: float, high: float) -> None:
    powers = 2.0 ** np.arange(np.ceil(np.log2(low)), np.log2(high) + 1e-9)
    ticks = powers[:: 1 + len(powers) // 7] if len(powers) > 1 else [np.sqrt(low * high)]
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
