"""Growth curves as docs/images/NAME.svg; needs matplotlib, which training brings along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from report import ROOT

IMAGES = ROOT / "docs" / "images"


def plot(
    name: str,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    labels: tuple[str, str],
    folder: Path | None,
) -> Path | None:
    """Draw each series (label -> x values, y values) on logarithmic axes; returns the file.

    labels  of the x and the y axis, with units
    folder  of the file; None draws nothing
    """
    if folder is None:
        return None
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for label, (xs, ys) in series.items():
        axes.plot(xs, ys, marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({x for xs, _ in series.values() for x in xs})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2)
    path = folder / f"{name}.svg"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)
    return path


def shares(
    name: str,
    xs: Sequence[float],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    labels: tuple[str, str],
    folder: Path | None,
) -> Path | None:
    """Draw panels side by side (title -> label -> y values) on plain axes; returns the file.

    labels  of the x and the y axes
    folder  of the file; None draws nothing
    """
    if folder is None:
        return None
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    size = (3.2 * len(panels) + 0.6, 3.4)
    figure, grid = pyplot.subplots(
        1, len(panels), figsize=size, layout="constrained", sharey=True, squeeze=False
    )
    for axes, (title, series) in zip(grid[0], panels.items(), strict=True):
        for label, ys in series.items():
            axes.plot(xs, ys, marker=".", label=label)
        axes.set(title=title, xlabel=labels[0], ylim=(0, None))
        axes.grid(alpha=0.3)
    grid[0][0].set_ylabel(labels[1])
    handles, names = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    path = folder / f"{name}.svg"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)
    return path
