"""What a run shows on a terminal and elsewhere, and what it records."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from duologue.errors import TrainingError
from duologue.training import progress
from duologue.training.plots import draw_plots
from duologue.training.progress import Reporter, forget_metrics_after, read_metrics
from duologue.training.state import TrainState

EXTRA = {"learning_rate": 1e-3, "gradient_norm": 0.5, "share": 0.25}
SCORES = {"loss": 1.5, "sets": {"toy": {"loss": 1.5, "bleu": 33.25}}}


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], io.StringIO]:
    """screen(is_terminal): makes new reporters write to the text that is returned."""
    monkeypatch.setattr(progress, "draw_plots", lambda metrics, folder: None)

    def make(is_terminal: bool) -> io.StringIO:
        text = io.StringIO()
        console = Console(file=text, force_terminal=is_terminal, width=100)
        monkeypatch.setattr(progress, "Console", lambda: console)
        return text

    return make


def go_through(reporter: Reporter, loss: float = 20.0) -> None:
    """Fifty updates of ten tokens, and a validation."""
    with reporter:
        for step in range(1, 51):
            state = TrainState(step=step, target_tokens=10 * step, elapsed_s=step)
            reporter.updated(state, loss, 10, EXTRA)
        reporter.validated(state, SCORES, is_best=True)


def test_plain_lines_come_at_each_report(
    tmp_path: Path, screen: Callable[[bool], io.StringIO]
) -> None:
    text = screen(False)
    go_through(Reporter(tmp_path, is_main=True, tensorboard=False))
    first, second, third = text.getvalue().splitlines()
    assert first.startswith("update 50  loss 2.000  ")
    assert first.endswith("learning rate 1.00e-03  0:02:30 left")
    assert second == "validation at 50: loss 1.500 (best)"
    assert third == "    toy  loss 1.50  bleu 33.25"


def test_a_terminal_shows_a_table_that_stays_in_place(
    tmp_path: Path, screen: Callable[[bool], io.StringIO]
) -> None:
    text = screen(True)
    go_through(Reporter(tmp_path, is_main=True, tensorboard=False))
    for part in ("time left", "0:02:30", "tokens per s", "validation loss", "bleu 33.25", "\x1b["):
        assert part in text.getvalue()


def test_other_processes_are_silent_and_record_nothing(
    tmp_path: Path, screen: Callable[[bool], io.StringIO]
) -> None:
    text = screen(False)
    reporter = Reporter(tmp_path, is_main=False, tensorboard=False)
    go_through(reporter)
    reporter.say("hello")
    assert text.getvalue() == ""
    assert read_metrics(tmp_path) == []


def test_metrics_are_recorded_and_forgotten_after_a_step(
    tmp_path: Path, screen: Callable[[bool], io.StringIO]
) -> None:
    screen(False)
    reporter = Reporter(tmp_path, is_main=True, tensorboard=False)
    go_through(reporter)
    reporter.updated(TrainState(step=51), 30.0, 10, EXTRA)
    reporter.report(TrainState(step=51))
    reporter.report(TrainState(step=51))  # nothing came since: no line
    lines = read_metrics(tmp_path)
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("train", 50),
        ("validation", 50),
        ("train", 51),
    ]
    assert (lines[0]["loss"], lines[2]["loss"]) == (2.0, 3.0)
    forget_metrics_after(tmp_path, 50)
    assert read_metrics(tmp_path) == lines[:2]


def test_numbers_that_json_does_not_know_are_recorded_as_null(
    tmp_path: Path, screen: Callable[[bool], io.StringIO]
) -> None:
    screen(False)
    go_through(Reporter(tmp_path, is_main=True, tensorboard=False), loss=math.nan)
    assert read_metrics(tmp_path)[0]["loss"] is None
    assert "NaN" not in (tmp_path / progress.METRICS).read_text(encoding="utf-8")
    draw_plots(read_metrics(tmp_path), tmp_path)
    assert (tmp_path / "loss.png").exists()


def test_scores_are_drawn_only_if_there_are_any(tmp_path: Path) -> None:
    draw_plots([{"kind": "train", "step": 50, "loss": 2.0}], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["loss.png"]
    draw_plots([{"kind": "validation", "step": 50, **SCORES}], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loss.png", "scores.png"]


def test_tensorboard_that_is_not_installed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match="pip install tensorboard"):
        Reporter(tmp_path, is_main=True, tensorboard=True)
