"""loss.png and scores.png of a run, drawn from its metrics. matplotlib is imported when needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SCORES = {"bleu": "BLEU", "chrf": "chrF", "accuracy": "accuracy (%)", "exact": "exact match (%)"}


def draw_plots(metrics: list[dict[str, Any]], folder: Path) -> None:
    """Write folder/loss.png, and folder/scores.png once a validation has scores.

    metrics  lines of metrics.jsonl
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    validations = [line for line in metrics if line["kind"] == "validation"]
    training = [line for line in metrics if line["kind"] == "train" and line["loss"] is not None]
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(
        title="Loss", xlabel="updates", ylabel="nats per target token (log scale)", yscale="log"
    )
    if training:
        steps = [line["step"] for line in training]
        axes.plot(steps, [line["loss"] for line in training], label="training (with smoothing)")
    for name, key in _lines(validations, ("loss",)):
        axes.plot(*_points(validations, name, key), marker="o", label=f"validation: {name}")
    if training or validations:
        axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(folder / "loss.png", dpi=120)

    lines = _lines(validations, tuple(SCORES))
    if not lines:
        return
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(
        title="Validation scores, greedy decoding", xlabel="updates", ylabel="score, 0 to 100"
    )
    axes.set_ylim(0, 100)
    for name, key in lines:
        label = f"{name}: {SCORES[key]}"
        axes.plot(*_points(validations, name, key), marker="o", label=label)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(folder / "scores.png", dpi=120)


def _lines(validations: list[dict[str, Any]], keys: tuple[str, ...]) -> list[tuple[str, str]]:
    """(set, score) pairs that occur in any validation, in order of appearance."""
    found = {
        (name, key): None
        for line in validations
        for name, values in line["sets"].items()
        for key in values
        if key in keys
    }
    return list(found)


def _points(
    validations: list[dict[str, Any]], name: str, key: str
) -> tuple[list[int], list[float]]:
    known = [line for line in validations if line["sets"].get(name, {}).get(key) is not None]
    return [line["step"] for line in known], [line["sets"][name][key] for line in known]
