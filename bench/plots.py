"""Draws what the benches have found, as SVG files for docs/BENCHMARKS.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

# The same values give the same file
mpl.rcParams["svg.hashsalt"] = "bench"

_SIZE = (7.0, 4.0)  # inches


def curves(
    path: Path,
    title: str,
    axes: tuple[str, str],
    lines: Mapping[str, Sequence[tuple[float, float]]],
) -> None:
    """Draws a line for each contestant; both axes are logarithmic."""
    figure = Figure(figsize=_SIZE, layout="tight")
    plot = figure.subplots()
    for name, points in lines.items():
        across = [point[0] for point in points]
        upward = [point[1] for point in points]
        plot.plot(across, upward, marker="o", label=name)
    plot.set_xscale("log")
    plot.set_yscale("log")
    plot.set_xlabel(axes[0])
    plot.set_ylabel(axes[1])
    plot.set_title(title)
    plot.grid(visible=True, which="both", alpha=0.3)
    plot.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})


def bars(path: Path, title: str, unit: str, values: Mapping[str, float]) -> None:
    """Draws a bar for each contestant."""
    figure = Figure(figsize=_SIZE, layout="tight")
    plot = figure.subplots()
    drawn = plot.barh(list(values), list(values.values()))
    plot.bar_label(drawn, fmt="{:,.0f}", padding=3)
    plot.invert_yaxis()
    plot.margins(x=0.15)
    plot.set_xlabel(unit)
    plot.set_title(title)
    figure.savefig(path, metadata={"Date": None})
