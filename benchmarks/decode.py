"""Decoding speed beside CTranslate2 and PyTorch: one user, many users, and how it grows.

    python benchmarks/decode.py [--rounds 11] [--threads 2] [--plot] [--quick]

On the shape of FLAN-T5-small and on that of the default model, with random weights; what they say
does not matter for their speed. CTranslate2 runs the same weights, which is checked first;
transformers runs its own T5 of nearly that shape (see peers.py for what is identical). Contenders
run in turn in one process. A source of 32 tokens, 128 tokens produced, greedy search included.

    first token   the source is encoded and one step is made
    a token       (time of all tokens - time of the first) / (tokens - 1): P1, at each one's best
                  number of threads
    P2            bytes of int8 weights that a step reads / time of a step / what memcmp reads here
    32 users      whole time / tokens, the sources encoded within it: P3, against the best of
                  CTranslate2's static batches, also of two workers with a batch each
    rows          ours alone: a step of 1, 2, 4 ... 128 users

Writes benchmarks/results/decode.json; --plot draws docs/images/decode-rows.svg.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import harness
import peers
from harness import Contender, Report, Times, fastest, in_turn, log, ratio, thread_counts
from memory_speed import read_gb_per_s
from ours import Ours
from plots import plot
from shapes import DEFAULT, FLAN, TINY, random_ids, random_weights, step_bytes

from duologue.checkpoint.weights import Weights
from duologue.config import ModelConfig


@dataclass(frozen=True)
class Sizes:
    """How much is done: tokens, users, rows of the growth curve, bytes of the memory test."""

    source: int = 32
    produced: int = 128
    users: int = 32
    produced_by_users: int = 64
    rows: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    memory_bytes: int = 512 * 2**20


QUICK = Sizes(8, 6, 4, 4, (1, 2, 4), 16 * 2**20)


@dataclass(frozen=True)
class Setup:
    """One shape, its weights, and where CTranslate2's copy of them lies (None without it)."""

    name: str
    config: ModelConfig
    weights: Weights
    folder: Path | None
    with_t5: bool


def engines(setup: Setup, threads: list[int]) -> dict[str, Any]:
    """Name -> what has .greedy; each at each number of threads."""
    made: dict[str, Any] = {}
    for precision in ("int8", "f32"):
        for count in threads:
            label = f"{precision}, {count} thr"
            made[f"ours {label}"] = Ours(setup.config, setup.weights, precision, count)
            if setup.folder is not None:
                made[f"CTranslate2 {label}"] = peers.CTranslate2(setup.folder, precision, count)
    for count in threads:
        if setup.with_t5:
            made[f"transformers f32, {count} thr"] = peers.T5(setup.config, count)
        elif peers.has("torch"):
            made[f"PyTorch f32, {count} thr"] = peers.Twin(setup.config, setup.weights, count)
    return made


def one_user(setup: Setup, threads: list[int], sizes: Sizes, rounds: int) -> tuple[Times, Times]:
    """Times of the first token, and of each further one, in ms."""
    source = [random_ids(setup.config, sizes.source)]
    count = sizes.produced
    contenders = []
    for name, engine in engines(setup, threads).items():
        contenders += [
            Contender(f"{name}/first", lambda engine=engine: engine.greedy(source, 1)),
            Contender(f"{name}/all", lambda engine=engine: engine.greedy(source, count)),
        ]
    times = in_turn(contenders, rounds)
    first = {name.removesuffix("/first"): times[name] for name in times if name.endswith("/first")}
    further = {
        name: [
            (whole - begin) / (count - 1)
            for whole, begin in zip(times[f"{name}/all"], first[name], strict=True)
        ]
        for name in first
    }
    return first, further


def many_users(setup: Setup, threads: int, sizes: Sizes, rounds: int) -> Times:
    """Whole times of all replies in ms a token, int8; CTranslate2 batches them in several ways."""
    users, count = sizes.users, sizes.produced_by_users
    sources = [random_ids(setup.config, sizes.source, seed) for seed in range(2 * users)]
    ours = Ours(setup.config, setup.weights, "int8", threads)
    name = f"ours int8, {threads} thr, {users} users"
    contenders = [Contender(name, lambda: ours.greedy(sources[:users], count), users * count)]
    if setup.folder is None:
        return in_turn(contenders, rounds)
    # Threads of one worker, workers, rows of a worker's batch, users in all.
    ways = [(1, 1, users, users), (threads, 1, users, users)]
    ways += [(1, threads, users // threads, users), (1, threads, users, users * threads)]
    for intra, inter, rows, total in dict.fromkeys(ways):
        peer = peers.CTranslate2(setup.folder, "int8", intra, inter)
        contenders.append(
            Contender(
                f"CTranslate2 int8, {inter} workers of {intra} thr, batches of {rows}",
                lambda peer=peer, rows=rows, total=total: peer.greedy(
                    sources[:total], count, rows=rows
                ),
                total * count,
            )
        )
    return in_turn(contenders, rounds)


def growth(setup: Setup, threads: int, sizes: Sizes, rounds: int) -> Times:
    """Ours alone: time of a step in ms for each number of rows, memories encoded before."""
    ours = Ours(setup.config, setup.weights, "int8", threads)
    source = [random_ids(setup.config, sizes.source, seed) for seed in range(max(sizes.rows))]
    memories = [ours.encode(ids) for ids in source]
    count = max(2, sizes.produced // 4)
    contenders = [
        Contender(f"{rows} rows", lambda rows=rows: ours.decode(memories[:rows], count), count)
        for rows in sizes.rows
    ]
    return in_turn(contenders, rounds)


def ceiling(setup: Setup, further: Times, sizes: Sizes, threads: list[int]) -> dict[str, float]:
    """What ours reaches of the memory's speed, at its best number of threads."""
    best = fastest(further, "ours int8")
    step_s = statistics.median(further[best]) / 1e3
    read = step_bytes(setup.config)
    of_memory = max(read_gb_per_s(sizes.memory_bytes, count) for count in threads)
    of_weights = max(read_gb_per_s(read, count) for count in threads)
    rate = read / step_s / 1e9
    return {
        "bytes_a_step": read,
        "step_gb_per_s": rate,
        "memory_gb_per_s": of_memory,
        "memory_gb_per_s_over_bytes_of_a_step": of_weights,
        "share": rate / of_memory,
    }


def run(setup: Setup, report: Report, arguments: argparse.Namespace, sizes: Sizes) -> None:
    """Everything on one shape; the shape of FLAN-T5-small decides the goals."""
    threads, rounds = thread_counts(arguments.threads), arguments.rounds
    is_goal = setup.with_t5
    log(f"{setup.name}: one user")
    first, further = one_user(setup, threads, sizes, rounds)
    over = fastest(further, "CTranslate2 int8" if setup.folder is not None else "ours int8")
    report.add(f"{setup.name}, 1 user, first token", "ms", first, over)
    report.add(f"{setup.name}, 1 user, a token", "ms/token", further, over)
    log(f"{setup.name}: memory")
    share = ceiling(setup, further, sizes, threads)
    report.extra[f"{setup.name}, memory"] = share
    print("  ".join(f"{name} {value:,.4g}" for name, value in share.items()))
    log(f"{setup.name}: {sizes.users} users")
    users = many_users(setup, arguments.threads, sizes, rounds)
    best = fastest(users, "CTranslate2" if setup.folder is not None else "ours")
    report.add(f"{setup.name}, {sizes.users} users", "ms/token", users, best)
    rates = {name: 1e3 / statistics.median(values) for name, values in users.items()}
    report.extra[f"{setup.name}, tokens/s"] = rates
    if is_goal:
        report.goals["P2"] = share["share"]
    if is_goal and setup.folder is not None:
        report.goals["P1"] = ratio(further[fastest(further, "ours int8")], further[over])
        report.goals["P3"] = ratio(users[best], users[fastest(users, "ours")])
    log(f"{setup.name}: rows")
    steps = growth(setup, arguments.threads, sizes, rounds)
    report.add(f"{setup.name}, ours int8, {arguments.threads} thr", "ms/step", steps)


def draw(report: Report, shapes: list[str], sizes: Sizes) -> None:
    """Tokens a second over the rows of a step."""
    series = {}
    for name in shapes:
        steps = [item for item in report.figures if item.task.startswith(f"{name}, ours int8")]
        rates = [1e3 * rows / step.median for rows, step in zip(sizes.rows, steps, strict=True)]
        series[name] = (list(sizes.rows), rates)
    plot("decode-rows", series, "users decoding together", "tokens/s")


def main() -> None:
    parser = harness.options(__doc__, rounds=11)
    parser.add_argument("--plot", action="store_true", help="draw the growth curve")
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else Sizes()
    without = peers.missing()
    shapes = {"FLAN-T5-small": FLAN, "default": DEFAULT}
    if arguments.quick:
        shapes = {"FLAN-T5-small": TINY, "default": replace(TINY, num_encoder_layers=1)}
    settings = {"rounds": arguments.rounds, "threads": arguments.threads, **asdict(sizes)}
    settings["shapes"] = {name: asdict(config) for name, config in shapes.items()}
    report = Report("decode", harness.output_folder(arguments), settings)
    if "ctranslate2" not in without:
        report.extra["checks"] = peers.checks(list(shapes.values()))
    for name, config in shapes.items():
        weights = random_weights(config)
        with_t5 = name == "FLAN-T5-small"
        with ExitStack() as stack:
            folder = None
            if "ctranslate2" not in without:
                folder = stack.enter_context(peers.converted(config, weights))
            use_t5 = with_t5 and "transformers" not in without
            run(Setup(name, config, weights, folder, use_t5), report, arguments, sizes)
    if arguments.plot:
        draw(report, list(shapes), sizes)
    report.finish()


if __name__ == "__main__":
    main()
