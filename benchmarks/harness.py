"""What the speed benchmarks share: taking turns, ratios, goals, tables, options.

in_turn    run contenders A B A B ... and return their times
ratio      median over the rounds of one contender's time over another's
GOALS      what is to be reached; judge() says what was
Report     collects figures, prints the table and writes the JSON file

A time is milliseconds a unit, whatever the unit of a task is (a token, an encoding, a turn).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from report import RESULTS, surroundings, write

from duologue.engine.cores import default_threads

# OpenMP threads of the last contender spin for some milliseconds before they sleep.
PAUSE_S = 0.05
MIN_SAMPLE_S, MAX_REPEATS = 0.05, 200

Times = dict[str, list[float]]


# --- timing ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contender:
    """Something to time.

    run    does the task once
    units  how many units (tokens, turns) that is
    """

    name: str
    run: Callable[[], object]
    units: float = 1


def in_turn(contenders: Sequence[Contender], rounds: int, pause_s: float = PAUSE_S) -> Times:
    """Times of each contender, one a round, in ms a unit; all run in each round, in turn.

    A round before the first is not counted. What it shows to be short is run several times a
    round, and once untimed before, so that no sample is a cold one.
    """
    repeats = {}
    for contender in contenders:
        elapsed = _seconds(contender.run, 1)
        if elapsed < MIN_SAMPLE_S:  # the first run of all may be slower than the others
            elapsed = _seconds(contender.run, 1)
        repeats[contender.name] = min(MAX_REPEATS, max(1, round(MIN_SAMPLE_S / elapsed)))
    times: Times = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            count = repeats[contender.name]
            time.sleep(pause_s)
            if count > 1:
                contender.run()
            seconds = _seconds(contender.run, count)
            times[contender.name].append(1e3 * seconds / count / contender.units)
    return times


def _seconds(run: Callable[[], object], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        run()
    return time.perf_counter() - begin


# --- statistics --------------------------------------------------------------------------------


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over the rounds of ours / theirs; both from the same call of in_turn."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def fastest(times: Mapping[str, Sequence[float]], start: str = "") -> str:
    """The name with the smallest median among those that begin with `start`.

    Raises ValueError if there is none.
    """
    names = [name for name in times if name.startswith(start)]
    return min(names, key=lambda name: statistics.median(times[name]))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0..1) of the values do not exceed."""
    ordered = sorted(values)
    place = max(0, -int(-share * len(ordered) // 1) - 1)
    return ordered[place]


# --- goals -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """What is to be reached: a value of at most `limit`, or at least. No value is below 0.

    what    the value is
    script  measures it: benchmarks/SCRIPT.py writes it to results/SCRIPT.json
    unit    of the value, such as " MB"; "x" is a ratio
    is_difference  0 is a value like any other, and no sign that nothing was measured
    """

    what: str
    limit: float
    script: str
    unit: str = "x"
    at_least: bool = False
    is_difference: bool = False

    def met(self, value: float) -> bool:
        """Whether a value reaches the goal; one that only noise can explain does not."""
        if self.at_least:
            return value >= self.limit
        return value <= self.limit and (value > 0 or (self.is_difference and value == 0))


GOALS = {
    "P1": Goal("ms a token, one user, int8, over CTranslate2's best", 0.28, "decode"),
    "P2": Goal("share of the memory ceiling that P1 reaches", 0.70, "decode", "", at_least=True),
    "P3": Goal(
        "tokens/s, 32 users, over CTranslate2's best static batch", 2.2, "decode", at_least=True
    ),
    "P4": Goal("time to encode 512 tokens, int8, over CTranslate2's best", 0.33, "encode"),
    "P5": Goal("p95 time to first token, 16 users, over CTranslate2's best", 0.1, "serve"),
    "P6": Goal("encoding time of turn 20 over turn 2", 1.3, "dialogue"),
    "P7": Goal("seconds to translate one sentence, whole process", 0.5, "footprint", " s"),
    "P8": Goal("installed megabytes", 180, "footprint", " MB"),
    "P9": Goal("peak megabytes, 30 M parameters, 16 users of 256 tokens", 180, "footprint", " MB"),
    "P11": Goal(
        "BLEU between int8 and float32, 1,000 sentences", 0.2, "quality", "", is_difference=True
    ),
    "F1": Goal("OPUS-MT: ms a token, one user, int8, over CTranslate2's best", 0.28, "families"),
    "F2": Goal("FLAN-T5-base: the same", 0.28, "families"),
    "F3": Goal("OPUS-MT: first token after 512, int8, over CTranslate2's best", 0.33, "families"),
    "F4": Goal("FLAN-T5-base: the same", 0.33, "families"),
    "F5": Goal(
        "peak memory of loading NLLB-200-600M as int8, over 1.2 × its size + 300 MB", 1, "families"
    ),
    "S1": Goal(
        "16 chat streams over HTTP: tokens/s over the engine's", 0.9, "serve_http", at_least=True
    ),
    "S2": Goal(
        "the same: added to p95 of the first token", 3, "serve_http", " ms", is_difference=True
    ),
    "S1s": Goal(
        "16 stored conversations: tokens/s over the engine's, which stores nothing",
        0.9,
        "serve_http",
        at_least=True,
    ),
    "S2s": Goal(
        "the same: added to p95 of the first token", 3, "serve_http", " ms", is_difference=True
    ),
    "S3": Goal("live draft: p95 from a pause to the whole translation", 150, "serve_live", " ms"),
    "S4": Goal(
        "first token without a live draft, over that with one", 2, "serve_live", at_least=True
    ),
    "S5": Goal("memory of 500 idle connections", 30, "serve_http", " MB", is_difference=True),
    "S5c": Goal(
        "processor time of 500 idle connections in 20 s, beside none",
        0.05,
        "serve_http",
        " s",
        is_difference=True,
    ),
    "S6": Goal(
        "growth of memory in a soak of 10 minutes", 1, "serve_soak", " MB/min", is_difference=True
    ),
    "S6l": Goal(
        "the same: failed requests, and what is left of all others",
        0,
        "serve_soak",
        "",
        is_difference=True,
    ),
}


def judge(values: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """The "goals" of a result file: name -> value, goal, met."""
    return {
        name: {"value": value, "goal": GOALS[name].limit, "met": GOALS[name].met(value)}
        for name, value in sorted(values.items(), key=lambda item: list(GOALS).index(item[0]))
    }


# --- results -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One contender at one task: median, least and largest value over the rounds.

    unit   of the values, such as "ms/token"
    ratio  of this contender's value to that of `over`, median over the rounds; None without one
    """

    task: str
    contender: str
    unit: str
    median: float
    min: float
    max: float
    ratio: float | None = None
    over: str | None = None


def figures(task: str, unit: str, times: Times, over: str | None = None) -> list[Figure]:
    """A figure for each contender, with its ratio to the contender `over`."""
    return [
        Figure(
            task,
            name,
            unit,
            statistics.median(values),
            min(values),
            max(values),
            None if over is None else ratio(values, times[over]),
            over,
        )
        for name, values in times.items()
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side; the first row is the head. Numbers stand to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if _is_number(cell) or is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, _right(rows), strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _right(rows: Sequence[Sequence[str]]) -> list[bool]:
    body = rows[1:]
    return [all(_is_number(row[column]) for row in body) for column in range(len(rows[0]))]


def _is_number(cell: str) -> bool:
    return not cell or cell.replace(",", "").replace(".", "").removesuffix("x").isdigit()


@dataclass
class Report:
    """Everything that one benchmark found.

    name      of the result file
    folder    where it is written; None writes nothing
    settings  what the figures depend on, JSON-ready
    goals     name of GOALS -> value
    extra     further figures of other kinds
    """

    name: str
    folder: Path | None
    settings: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)
    goals: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def add(self, task: str, unit: str, times: Times, over: str | None = None) -> None:
        """Keep the figures of a task and print them."""
        new = figures(task, unit, times, over)
        self.figures += new
        rows = [[f"{task}, {unit}", "median", "min", "max", "" if over is None else f"x {over}"]]
        for figure in new:
            values = [f"{value:.3f}" for value in (figure.median, figure.min, figure.max)]
            last = "" if figure.ratio is None else f"{figure.ratio:.2f}"
            rows.append([f"  {figure.contender}", *values, last])
        print(table(rows), flush=True)

    def finish(self) -> dict[str, Any]:
        """Print the goals, write benchmarks/results/NAME.json; returns what was written."""
        goals = judge(self.goals)
        for name, goal in goals.items():
            sign, is_met = "≥" if GOALS[name].at_least else "≤", "met" if goal["met"] else "missed"
            print(f"{name}  {goal['value']:.3g} ({sign} {goal['goal']}, {is_met}): ", end="")
            print(GOALS[name].what)
        packages = ("duologue", "numpy", "torch", "ctranslate2", "transformers", "faster-whisper")
        values = surroundings(packages) | self.settings | {"goals": goals}
        values |= {"figures": [asdict(figure) for figure in self.figures]} | self.extra
        if self.folder is None:
            log("nothing written: figures and goals of --quick mean nothing")
        else:
            write(self.name, values, self.folder)
        return values


# --- options -----------------------------------------------------------------------------------


def options(doc: str, rounds: int) -> argparse.ArgumentParser:
    """The options that all speed benchmarks have; `rounds` is the default of --rounds."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds, help="timed runs of each contender")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the script out")
    parser.add_argument(
        "--threads", type=int, default=default_threads(), help="most threads any contender gets"
    )
    parser.add_argument(
        "--output", type=Path, help="folder of the JSON file and of plots, not the usual ones"
    )
    return parser


def output_folder(arguments: argparse.Namespace, usual: Path = RESULTS) -> Path | None:
    """Where results (or plots) go: --output, else the usual folder, and nowhere for --quick."""
    if arguments.output is not None:
        return Path(arguments.output)
    return None if arguments.quick else usual


def thread_counts(most: int) -> list[int]:
    """1, 2, 4 ... up to `most`, which is always in it."""
    powers = [2**k for k in range(most.bit_length()) if 2**k < most]
    return [*powers, most]


def log(text: str) -> None:
    """Progress, to stderr."""
    print(text, file=sys.stderr, flush=True)
