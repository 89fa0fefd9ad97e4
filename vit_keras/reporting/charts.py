"""SVG charts in the text color of the page around them."""

import io

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, ACCENT, SECOND = "#123456", "#4f7cff", "#e0803a"  # INK stands for the page's text color


def new_chart(ylabel: str, xlabel: str) -> tuple[Figure, Axes]:
    """Returns an empty chart with a transparent background."""
    figure = Figure(figsize=(4.2, 2.8), layout="constrained", facecolor="none")
    axes = figure.subplots()
    axes.set_facecolor("none")
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    return figure, axes


def svg(figure: Figure) -> str:
    """Returns a chart as an `<svg>` element; the same chart gives the same text."""
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vit_keras"}):
        FigureCanvasSVG(figure)
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")


def add_legend(axes: Axes) -> None:
    """Adds a legend of the labeled lines above a chart."""
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=3,
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        handlelength=1.4,
    )
