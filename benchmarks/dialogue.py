"""What a late turn of a conversation costs: only itself, or everything before it again?

    python benchmarks/dialogue.py [--rounds 15] [--threads 2] [--plot] [--quick]

Twenty turns of 20 tokens each, random weights, on the shape of FLAN-T5-small and on that of the
default model.

    ours        encodes turn n onto the memory of the turns before it; P6 is turn 20 over turn 2, of
                the two shapes the worse one
    ours whole  encodes the conversation up to turn n as one source: what reuse saves
    peers       have no memory that grows: they read the conversation up to turn n again.
                CTranslate2 (same weights, int8) up to the first token of the reply, which is one
                decoding step more than encoding (see encode.py); PyTorch its encoder alone, float32

Writes benchmarks/results/dialogue.json; --plot draws docs/images/dialogue-turns.svg.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import harness
import peers
from harness import Contender, Times, in_turn, log, ratio
from lineup import Lineup, begin, lineups
from plots import IMAGES, plot
from shapes import random_ids

from duologue.config import ModelConfig
from duologue.engine.memory import Memory

TURN_TOKENS = 20
EARLY, LATE = 2, 20
TURNS = (1, EARLY, 4, 6, 8, 10, 12, 14, 16, 18, LATE)
QUICK_TURNS = (1, EARLY, LATE)

# Prepares turn n (1, 2, ...) and returns what does it.
Reader = Callable[[int], Callable[[], object]]


def turn_ids(config: ModelConfig, turn: int) -> list[int]:
    """The tokens of one turn."""
    return random_ids(config, TURN_TOKENS, seed=turn)


def so_far(config: ModelConfig, turn: int) -> list[int]:
    """The tokens of the conversation up to and with a turn."""
    return [idx for earlier in range(1, turn + 1) for idx in turn_ids(config, earlier)]


def readers(lineup: Lineup, threads: int) -> dict[str, Reader]:
    """Name -> how it reads turn n of the conversation."""
    config, ours = lineup.config, lineup.ours("int8", threads)
    memories = [Memory.empty()]
    for turn in range(1, LATE + 1):
        memories.append(ours.encode(turn_ids(config, turn), memories[-1]))

    def append(turn: int) -> Callable[[], object]:
        ids, before = turn_ids(config, turn), memories[turn - 1]
        return lambda: ours.encode(ids, before)

    def whole(read: Callable[[list[int]], object]) -> Reader:
        def reader(turn: int) -> Callable[[], object]:
            ids = so_far(config, turn)
            return lambda: read(ids)

        return reader

    made: dict[str, Reader] = {"ours": append, "ours whole": whole(ours.encode)}
    if lineup.folder is not None:
        peer = peers.CTranslate2(lineup.folder, "int8", threads)
        made["CTranslate2 int8"] = whole(lambda ids: peer.greedy([ids], 1))
    if lineup.torch is not None:
        made[f"{lineup.torch} f32"] = whole(lineup.torch_engine(threads).encode)
    return made


def measure(ways: dict[str, Reader], turns: tuple[int, ...], rounds: int) -> dict[str, Times]:
    """Name -> turn -> times in ms; all turns of all contenders in each round, in turn."""
    contenders = [
        Contender(f"{name}/{turn}", reader(turn)) for turn in turns for name, reader in ways.items()
    ]
    times = in_turn(contenders, rounds)
    return {name: {str(turn): times[f"{name}/{turn}"] for turn in turns} for name in ways}


def print_turns(name: str, times: dict[str, Times]) -> None:
    """Median ms of each turn and contender, and turn LATE over turn EARLY."""
    turns = list(next(iter(times.values())))
    rows = [[f"{name}, ms", *(f"turn {turn}" for turn in turns), f"{LATE} over {EARLY}"]]
    for contender, by_turn in times.items():
        values = [f"{statistics.median(by_turn[turn]):.2f}" for turn in turns]
        grown = ratio(by_turn[str(LATE)], by_turn[str(EARLY)])
        rows.append([contender, *values, f"{grown:.2f}"])
    print(harness.table(rows), flush=True)


def run(lineup: Lineup, arguments: argparse.Namespace) -> dict[str, Times]:
    """Times of all turns on one shape."""
    log(f"{lineup.name}: {LATE} turns")
    turns = QUICK_TURNS if arguments.quick else TURNS
    times = measure(readers(lineup, arguments.threads), turns, arguments.rounds)
    print_turns(lineup.name, times)
    return times


def draw(shapes: dict[str, dict[str, Times]], folder: Path | None) -> None:
    """Milliseconds to read a turn over its number."""
    series = {}
    for name, times in shapes.items():
        for contender in ("ours", "CTranslate2 int8"):
            if contender in times:
                turns = times[contender]
                values = [statistics.median(turns[turn]) for turn in turns]
                series[f"{name}: {contender}"] = ([int(turn) for turn in turns], values)
    plot("dialogue-turns", series, ("turn of the conversation", "ms to read it"), folder)


def main() -> None:
    parser = harness.options(__doc__, rounds=15)
    parser.add_argument("--plot", action="store_true", help="draw the times of all turns")
    arguments = parser.parse_args()
    report = begin("dialogue", arguments, {"turn_tokens": TURN_TOKENS})
    found = {lineup.name: run(lineup, arguments) for lineup in lineups(arguments)}
    grown = {
        name: {
            contender: ratio(turns[str(LATE)], turns[str(EARLY)])
            for contender, turns in times.items()
        }
        for name, times in found.items()
    }
    for name, times in found.items():
        for contender, turns in times.items():
            report.figures += harness.figures(
                f"{name}, {contender}", "ms", {f"turn {turn}": turns[turn] for turn in turns}
            )
    report.extra[f"turn_{LATE}_over_turn_{EARLY}"] = grown
    report.goals["P6"] = max(ratios["ours"] for ratios in grown.values())
    if arguments.plot:
        draw(found, harness.output_folder(arguments, IMAGES))
    report.finish()


if __name__ == "__main__":
    main()
