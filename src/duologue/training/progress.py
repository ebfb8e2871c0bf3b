"""What a run shows and records while it goes on: terminal, metrics.jsonl, plots, TensorBoard.

Reporter   fed by the training loop with every update and every validation
Meter      averages of the updates since the last report

On a terminal the numbers stand still and change; elsewhere a plain line comes at each report.
metrics.jsonl gets one line per report ("kind": "train") and validation ("kind": "validation").
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from duologue.errors import TrainingError
from duologue.training.plots import draw_plots
from duologue.training.state import TrainState

METRICS = "metrics.jsonl"
REPORT_EVERY = 50  # updates


@dataclass
class Meter:
    """Sums over the updates since the last report.

    loss, target_tokens  of the updates that were not skipped
    seconds              without validations
    """

    updates: int = 0
    loss: float = 0.0
    target_tokens: float = 0.0
    seconds: float = 0.0

    def rates(self) -> dict[str, float]:
        """Mean loss in nats per target token, and target tokens per second."""
        return {
            "loss": self.loss / self.target_tokens if self.target_tokens else math.nan,
            "tokens_per_s": self.target_tokens / max(1e-9, self.seconds),
        }


class Reporter:
    """Shows and records a run. A context manager; rank 0 has the only one that is not silent.

    folder    where metrics.jsonl and the plots go
    is_main   False: every call does nothing
    """

    def __init__(self, folder: Path, is_main: bool, tensorboard: bool) -> None:
        self._folder = folder
        self._is_main = is_main
        self._console = Console()
        self._meter = Meter()
        self._mark = time.monotonic()
        self._last: dict[str, Any] = {}
        self._scores: dict[str, Any] = {}
        self._share = 0.0
        self._left = ""
        self._extra: dict[str, float] = {}
        self._writer = _tensorboard_writer(folder) if tensorboard and is_main else None
        is_live = is_main and self._console.is_terminal
        self._live = Live(console=self._console, refresh_per_second=2) if is_live else None

    def __enter__(self) -> Reporter:
        if self._live is not None:
            self._live.start()
        self._mark = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if self._writer is not None:
            self._writer.close()

    def say(self, text: str) -> None:
        """One line for the person who started the run."""
        if self._is_main:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def updated(
        self, state: TrainState, loss: float, num_tokens: float, extra: dict[str, float]
    ) -> None:
        """After an update: its summed loss and target tokens, and what else is known of it.

        extra  learning_rate, gradient_norm, share (of the run that is done, 0 to 1)
        """
        if not self._is_main:
            return
        now = time.monotonic()
        self._meter.seconds += now - self._mark
        self._mark = now
        self._meter.updates += 1
        if math.isfinite(loss):
            self._meter.loss += loss
            self._meter.target_tokens += num_tokens
        self._share = extra["share"]
        self._extra = extra
        if state.step % REPORT_EVERY == 0:
            self.report(state)

    def report(self, state: TrainState) -> None:
        """Show and record the updates since the last report, if there are any."""
        if self._meter.updates == 0:
            return
        extra = self._extra
        self._last = {
            "kind": "train",
            "step": state.step,
            **self._meter.rates(),
            "learning_rate": extra["learning_rate"],
            "gradient_norm": extra["gradient_norm"],
            "target_tokens": state.target_tokens,
            "elapsed_s": round(state.elapsed_s, 3),
            "skipped": state.skipped,
        }
        self._meter = Meter()
        self._record(self._last)
        self._left = _clock(state.elapsed_s * (1 - self._share) / max(self._share, 1e-9))
        self._show(
            f"update {state.step}  loss {self._last['loss']:.3f}  "
            f"{self._last['tokens_per_s']:.0f} tokens/s  "
            f"learning rate {extra['learning_rate']:.2e}  {self._left} left"
            + (f"  skipped {state.skipped}" if state.skipped else "")
        )

    def validated(self, state: TrainState, scores: dict[str, Any], is_best: bool) -> None:
        """After a validation: `scores` as made by validation.Scores.to_dict()."""
        if not self._is_main:
            return
        self._scores = scores
        self._record({"kind": "validation", "step": state.step, **scores, "is_best": is_best})
        draw_plots(read_metrics(self._folder), self._folder)
        lines = [f"validation at {state.step}: loss {scores['loss']:.3f}" + " (best)" * is_best]
        width = max(map(len, scores["sets"]))
        lines += [f"    {name:<{width}}  {_listed(vs)}" for name, vs in scores["sets"].items()]
        self._show("\n".join(lines))
        self._mark = time.monotonic()

    def _record(self, values: dict[str, Any]) -> None:
        with (self._folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(values)) + "\n")
        if self._writer is not None:
            for key, value in _flat(values, values["kind"]):
                self._writer.add_scalar(key, value, values["step"])

    def _show(self, text: str) -> None:
        if self._live is None:
            self.say(text)
        else:
            self._live.update(self._table())

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row("progress", ProgressBar(total=1.0, completed=self._share, width=40))
        table.add_row("time left", self._left)
        for key in ("step", "loss", "tokens_per_s", "learning_rate", "skipped"):
            if key in self._last:
                table.add_row(key.replace("_", " "), f"{self._last[key]:.6g}")
        if self._scores:
            table.add_row("validation loss", f"{self._scores['loss']:.3f}")
            for name, values in self._scores["sets"].items():
                table.add_row(f"  {name}", _listed(values))
        return table


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; none when there is no such file."""
    path = folder / METRICS
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def forget_metrics_after(folder: Path, step: int) -> None:
    """Drop what was recorded after `step`: a resumed run records those updates again."""
    kept = [json.dumps(line) for line in read_metrics(folder) if line["step"] <= step]
    (folder / METRICS).write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _finite(value: Any) -> Any:
    """The value with None for every number that JSON cannot write."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _listed(values: dict[str, float]) -> str:
    return "  ".join(f"{key.replace('_', ' ')} {value:.2f}" for key, value in values.items())


def _flat(values: dict[str, Any], prefix: str) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}/{key}")
        elif isinstance(value, int | float) and key != "step":
            found.append((f"{prefix}/{key}", float(value)))
    return found


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"


def _tensorboard_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise TrainingError(
            "training.tensorboard is on, but TensorBoard is not installed: "
            "pip install tensorboard, or turn it off"
        ) from None
    return SummaryWriter(folder / "tensorboard")
