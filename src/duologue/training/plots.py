"""loss.png and scores.png of a run, drawn from its metrics. matplotlib is imported when needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCORES = {"bleu": "BLEU", "chrf": "chrF", "accuracy": "accuracy (%)", "exact": "exact match (%)"}
MAX_LABELLED = 8  # lines; of more, only means over the sets are labelled
Line = tuple[list[int], list[float]]


def draw_plots(metrics: list[dict[str, Any]], folder: Path) -> None:
    """Write folder/loss.png, and folder/scores.png once a validation has scores.

    metrics  lines of metrics.jsonl
    """
    validations = [line for line in metrics if line["kind"] == "validation"]
    training = [line for line in metrics if line["kind"] == "train" and line["loss"] is not None]
    known = [line for line in validations if line["loss"] is not None]
    totals = {
        "training (with smoothing)": _line([(line["step"], line["loss"]) for line in training]),
        "validation: all sets": _line([(line["step"], line["loss"]) for line in known]),
    }
    sets = {f"validation: {name}": line for name, line in _by_set(validations, "loss").items()}
    _draw(folder / "loss.png", "Loss", "nats per target token (log scale)", totals, sets)

    means: dict[str, Line] = {}
    scores: dict[str, Line] = {}
    for key, label in SCORES.items():
        found = _by_set(validations, key)
        scores |= {f"{name}: {label}": line for name, line in found.items()}
        if found:
            means[f"{label}, mean over {len(found)} sets"] = _mean(list(found.values()))
    if scores:
        is_few = len(scores) <= MAX_LABELLED
        title = "Validation scores, greedy decoding"
        _draw(folder / "scores.png", title, "score, 0 to 100", {} if is_few else means, scores)


def _draw(path: Path, title: str, unit: str, main: dict[str, Line], sets: dict[str, Line]) -> None:
    """One picture: the main lines thick, one thin line for each set."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(title=title, xlabel="updates", ylabel=unit)
    if "log" in unit:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 100)
    for label, line in main.items():
        axes.plot(*line, linewidth=2.5, label=label)
    is_few = len(sets) <= MAX_LABELLED
    for label, line in sets.items():
        style = {"marker": "o", "label": label} if is_few else {"color": "0.6"}
        axes.plot(*line, linewidth=1, **style)  # type: ignore[arg-type]
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _line(points: Sequence[tuple[int, float]]) -> Line:
    return [step for step, _ in points], [value for _, value in points]


def _by_set(validations: list[dict[str, Any]], key: str) -> dict[str, Line]:
    """The course of one score, for every set that has it."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in validations:
        for name, values in line["sets"].items():
            if values.get(key) is not None:
                found.setdefault(name, []).append((line["step"], values[key]))
    return {name: _line(points) for name, points in found.items()}


def _mean(lines: Sequence[Line]) -> Line:
    """The mean of lines over the same steps; a step counts the lines that have it."""
    values: dict[int, list[float]] = {}
    for steps, ys in lines:
        for step, y in zip(steps, ys, strict=True):
            values.setdefault(step, []).append(y)
    return _line([(step, sum(ys) / len(ys)) for step, ys in sorted(values.items())])
