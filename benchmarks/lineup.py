"""Who runs on which shape: ours, CTranslate2 on the same weights, and one engine of PyTorch."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import harness
import peers
import same
from harness import Report
from ours import Ours
from shapes import QUICK_SHAPES, SHAPES, random_weights

from duologue.checkpoint.weights import Weights
from duologue.config import ModelConfig


@dataclass(frozen=True)
class Lineup:
    """The contenders on one shape.

    folder     CTranslate2's copy of the weights; None without it
    torch      "transformers" (its T5), "PyTorch" (our twin), or None without either
    is_goal    whether this shape decides the goals
    """

    name: str
    config: ModelConfig
    weights: Weights
    folder: Path | None
    torch: str | None
    is_goal: bool

    def ours(self, precision: str, threads: int) -> Ours:
        """Our engine."""
        return Ours(self.config, self.weights, precision, threads)

    def torch_engine(self, threads: int) -> Any:
        """The engine that `torch` names."""
        if self.torch == "transformers":
            return peers.T5(self.config, threads)
        return peers.Twin(self.config, self.weights, threads)

    def engines(self, ways: list[tuple[str, int]], torch_threads: list[int]) -> dict[str, Any]:
        """Name -> what has .greedy, such as "ours int8, 2 thr".

        ways           precision and threads, of ours and CTranslate2
        torch_threads  threads of the PyTorch contender
        """
        made: dict[str, Any] = {}
        for precision, count in ways:
            label = f"{precision}, {count} thr"
            made[f"ours {label}"] = self.ours(precision, count)
            if self.folder is not None:
                made[f"CTranslate2 {label}"] = peers.CTranslate2(self.folder, precision, count)
        if self.torch is not None:
            for count in torch_threads:
                made[f"{self.torch} f32, {count} thr"] = self.torch_engine(count)
        return made

    @property
    def rival(self) -> str:
        """What the names of those begin with that ours are compared to; ours alone: ours."""
        return "ours int8" if self.folder is None else "CTranslate2 int8"


def begin(name: str, arguments: argparse.Namespace, settings: dict[str, Any]) -> Report:
    """A report with the common settings; checks first that CTranslate2 has the same model."""
    shapes = QUICK_SHAPES if arguments.quick else SHAPES
    common: dict[str, Any] = {"rounds": arguments.rounds, "threads": arguments.threads}
    common["quick"] = arguments.quick
    common["shapes"] = {label: asdict(config) for label, config in shapes.items()}
    report = Report(name, harness.output_folder(arguments), common | settings)
    peers.announce_missing()
    if peers.has("ctranslate2"):
        report.extra["checks"] = same.checks(list(shapes.values()))
    return report


def lineups(arguments: argparse.Namespace) -> Iterator[Lineup]:
    """The contenders on each shape, one after the other, to loop over: each goes with its turn."""
    shapes = QUICK_SHAPES if arguments.quick else SHAPES
    for index, (name, config) in enumerate(shapes.items()):
        with lineup(name, config, index == 0) as contenders:
            yield contenders


@contextmanager
def lineup(name: str, config: ModelConfig, is_goal: bool) -> Iterator[Lineup]:
    """The contenders on one shape: transformers where goals are decided, else our twin."""
    weights = random_weights(config)
    torch = "transformers" if is_goal else "PyTorch"
    needs = "transformers" if is_goal else "torch"
    found = torch if peers.has(needs) and peers.has("torch") else None
    if not peers.has("ctranslate2"):
        yield Lineup(name, config, weights, None, found, is_goal)
        return
    with peers.converted(config, weights) as folder:
        yield Lineup(name, config, weights, folder, found, is_goal)
