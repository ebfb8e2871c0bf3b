"""Encoding speed beside CTranslate2 and PyTorch: 512 tokens, and a curve from 16 to 4,096.

    python benchmarks/encode.py [--rounds 11] [--threads 2] [--plot] [--quick]

On the shape of FLAN-T5-small and on that of the default model, with random weights; CTranslate2
runs the same weights, which is checked first (see peers.py).

    to first token  the source is encoded and one decoding step is made: P4. CTranslate2 offers no
                    encoder of a translation model alone, and makes the decoder's keys and values
                    of the source in its first step, where ours makes them while encoding. To the
                    first token both have done the same work.
    encoder alone   ours, with those keys and values, and PyTorch's, without them
    memory          bytes that our memory of the source takes

Writes benchmarks/results/encode.json; --plot draws docs/images/encode-tokens.svg.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import harness
from harness import Contender, Report, Times, fastest, in_turn, log, ratio, thread_counts
from lineup import Lineup, begin, lineups
from plots import IMAGES, plot
from shapes import random_ids

from duologue.config import ModelConfig

GOAL_TOKENS = 512
CURVE = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
QUICK_GOAL_TOKENS, QUICK_CURVE = 24, (16, 24, 40)
# The longest sources take seconds: int8 alone, and few rounds.
MOST_IN_FLOAT, ROUNDS_BEYOND = 1024, 3


def first_token(config: ModelConfig, engines: dict[str, Any], count: int, rounds: int) -> Times:
    """Times in ms from a source of `count` tokens to the first token of the reply."""
    source = [random_ids(config, count)]
    return in_turn(
        [
            Contender(name, lambda engine=engine: engine.greedy(source, 1))
            for name, engine in engines.items()
            if count <= MOST_IN_FLOAT or " int8" in name
        ],
        rounds,
    )


def encoder_alone(config: ModelConfig, engines: dict[str, Any], count: int, rounds: int) -> Times:
    """Times in ms of the encoder, of those that have one to call."""
    source = random_ids(config, count)
    return in_turn(
        [
            Contender(name, lambda engine=engine: engine.encode(source))
            for name, engine in engines.items()
            if hasattr(engine, "encode")
        ],
        rounds,
    )


def curve(
    name: str, config: ModelConfig, engines: dict[str, Any], counts: tuple[int, ...], rounds: int
) -> list[dict[str, Any]]:
    """A row for each source length: median ms to the first token, and bytes of our memory."""
    encoder = next(engine for label, engine in engines.items() if label.startswith("ours int8"))
    rows = []
    for count in counts:
        log(f"{name}: {count} tokens")
        some = rounds if count <= MOST_IN_FLOAT else min(rounds, ROUNDS_BEYOND)
        times = first_token(config, engines, count, some)
        memory = encoder.encode(random_ids(config, count))
        row: dict[str, Any] = {"tokens": count, "memory_bytes": memory.num_bytes}
        for start in ("ours int8", "CTranslate2 int8", "ours f32", "transformers", "PyTorch"):
            if any(label.startswith(start) for label in times):
                best = fastest(times, start)
                values = sorted(times[best])
                row[start] = {
                    "contender": best,
                    "median_ms": values[len(values) // 2],
                    "min_ms": values[0],
                    "max_ms": values[-1],
                }
        rows.append(row)
    return rows


def print_curve(name: str, rows: list[dict[str, Any]]) -> None:
    """The curve as a table: median ms to the first token of each contender, memory in MB."""
    names = [label for label in rows[0] if label not in ("tokens", "memory_bytes")]
    lines = [[f"{name}, tokens", *names, "memory MB"]]
    for row in rows:
        times = [f"{row[label]['median_ms']:.2f}" if label in row else "" for label in names]
        lines.append([str(row["tokens"]), *times, f"{row['memory_bytes'] / 1e6:.2f}"])
    print(harness.table(lines), flush=True)


def run(lineup: Lineup, report: Report, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Everything on one shape; returns the curve."""
    name, config, rounds = lineup.name, lineup.config, arguments.rounds
    most = arguments.threads
    ways = [("int8", count) for count in thread_counts(most)] + [("f32", most)]
    engines = lineup.engines(ways, [most])
    count = QUICK_GOAL_TOKENS if arguments.quick else GOAL_TOKENS
    log(f"{name}: {count} tokens")
    times = first_token(config, engines, count, rounds)
    over = fastest(times, lineup.rival)
    report.add(f"{name}, {count} tokens to first token", "ms", times, over)
    alone = encoder_alone(config, engines, count, rounds)
    report.add(f"{name}, {count} tokens, encoder alone", "ms", alone)
    if lineup.is_goal and lineup.folder is not None:
        report.goals["P4"] = ratio(times[fastest(times, "ours int8")], times[over])
    counts = QUICK_CURVE if arguments.quick else CURVE
    rows = curve(name, config, engines, counts, max(1, rounds // 2))
    print_curve(name, rows)
    return rows


def draw(curves: dict[str, list[dict[str, Any]]], folder: Path | None) -> None:
    """Milliseconds to the first token over the tokens of the source."""
    series = {}
    for name, rows in curves.items():
        for label in ("ours int8", "CTranslate2 int8"):
            points = [(row["tokens"], row[label]["median_ms"]) for row in rows if label in row]
            if points:
                tokens, times = zip(*points, strict=True)
                series[f"{name}: {label}"] = (tokens, times)
    plot("encode-tokens", series, ("tokens of the source", "ms to the first token"), folder)


def main() -> None:
    parser = harness.options(__doc__, rounds=11)
    parser.add_argument("--plot", action="store_true", help="draw the curve")
    arguments = parser.parse_args()
    report = begin("encode", arguments, {})
    curves = {lineup.name: run(lineup, report, arguments) for lineup in lineups(arguments)}
    report.extra["curves"] = curves
    if arguments.plot:
        draw(curves, harness.output_folder(arguments, IMAGES))
    report.finish()


if __name__ == "__main__":
    main()
