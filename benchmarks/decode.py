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
                  CTranslate2's static batches ("2 x 1 thr": two workers, a thread and a batch each)
    rows          ours alone: a step of 1, 2, 4 ... 128 users
    sentences     the default model, int8, reads real sentences one by one and replies or
                  translates to the end: whole time, and how many come out equal in both

Writes benchmarks/results/decode.json; --plot draws docs/images/decode-rows.svg.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import harness
import peers
import same
from harness import Contender, Report, Times, fastest, in_turn, log, ratio, thread_counts
from lineup import Lineup, begin, lineups
from ours import Ours
from plots import IMAGES, plot
from shapes import random_ids, step_bytes

from duologue.benchmark import read_gb_per_s
from duologue.checkpoint.store import load_model
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


def one_user(
    config: ModelConfig, engines: dict[str, Any], sizes: Sizes, rounds: int
) -> tuple[Times, Times]:
    """Times of the first token, and of each further one, in ms."""
    source = [random_ids(config, sizes.source)]
    count = sizes.produced
    contenders = []
    for name, engine in engines.items():
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


def many_users(lineup: Lineup, threads: int, sizes: Sizes, rounds: int) -> Times:
    """Whole times of all replies in ms a token, int8; CTranslate2 batches them in several ways."""
    users, count = sizes.users, sizes.produced_by_users
    sources = [random_ids(lineup.config, sizes.source, seed) for seed in range(2 * users)]
    ours = lineup.ours("int8", threads)
    name = f"ours int8, {threads} thr, {users} users"
    contenders = [Contender(name, lambda: ours.greedy(sources[:users], count), users * count)]
    if lineup.folder is None:
        return in_turn(contenders, rounds)
    # Threads of one worker, workers, rows of a worker's batch, users in all.
    ways = [(1, 1, users, users), (threads, 1, users, users)]
    ways += [(1, threads, users // threads, users), (1, threads, users, users * threads)]
    for intra, inter, rows, total in dict.fromkeys(ways):
        peer = peers.CTranslate2(lineup.folder, "int8", intra, inter)
        contenders.append(
            Contender(
                f"CTranslate2 int8, {inter} x {intra} thr, batches of {rows}",
                lambda peer=peer, rows=rows, total=total: peer.greedy(
                    sources[:total], count, rows=rows
                ),
                total * count,
            )
        )
    return in_turn(contenders, rounds)


def growth(lineup: Lineup, threads: int, sizes: Sizes, rounds: int) -> Times:
    """Ours alone: time of a step in ms for each number of rows, memories encoded before."""
    ours = lineup.ours("int8", threads)
    source = [random_ids(lineup.config, sizes.source, seed) for seed in range(max(sizes.rows))]
    memories = [ours.encode(ids) for ids in source]
    count = max(2, sizes.produced // 4)
    contenders = [
        Contender(f"{rows} rows", lambda rows=rows: ours.decode(memories[:rows], count), count)
        for rows in sizes.rows
    ]
    return in_turn(contenders, rounds)


def ceiling(lineup: Lineup, further: Times, sizes: Sizes, threads: list[int]) -> dict[str, float]:
    """What ours reaches of the memory's speed, at its best number of threads."""
    best = fastest(further, "ours int8")
    step_s = statistics.median(further[best]) / 1e3
    read = step_bytes(lineup.config)
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


def run(lineup: Lineup, report: Report, arguments: argparse.Namespace, sizes: Sizes) -> None:
    """Everything on one shape."""
    threads, rounds = thread_counts(arguments.threads), arguments.rounds
    log(f"{lineup.name}: one user")
    ways = [(precision, count) for precision in ("int8", "f32") for count in threads]
    first, further = one_user(lineup.config, lineup.engines(ways, threads), sizes, rounds)
    over = fastest(further, lineup.rival)
    report.add(f"{lineup.name}, 1 user, first token", "ms", first, over)
    report.add(f"{lineup.name}, 1 user, a token", "ms/token", further, over)
    log(f"{lineup.name}: memory")
    share = ceiling(lineup, further, sizes, threads)
    report.extra[f"{lineup.name}, memory"] = share
    print("  ".join(f"{name} {value:,.4g}" for name, value in share.items()))
    log(f"{lineup.name}: {sizes.users} users")
    users = many_users(lineup, arguments.threads, sizes, rounds)
    best = fastest(users, lineup.rival)
    report.add(f"{lineup.name}, {sizes.users} users", "ms/token", users, best)
    rates = {name: 1e3 / statistics.median(values) for name, values in users.items()}
    report.extra[f"{lineup.name}, tokens/s"] = rates
    if lineup.is_goal:
        report.goals["P2"] = share["share"]
    if lineup.is_goal and lineup.folder is not None:
        report.goals["P1"] = ratio(further[fastest(further, "ours int8")], further[over])
        report.goals["P3"] = ratio(users[best], users[fastest(users, "ours")])
    log(f"{lineup.name}: rows")
    steps = growth(lineup, arguments.threads, sizes, rounds)
    report.add(f"{lineup.name}, ours int8, {arguments.threads} thr", "ms/step", steps)


def sentences(report: Report, threads: list[int], rounds: int) -> None:
    """Real text and the default model, beside CTranslate2."""
    model = load_model(same.DEFAULT_MODEL, "f32")
    cases, end_id = same.real_cases(model.tokenizer), model.tokenizer.eos_id
    most = same.MOST_TOKENS

    def ours(engine: Ours) -> list[list[int]]:
        return [engine.greedy([case.source], most, case.prefix, end_id)[0] for case in cases]

    def theirs(peer: peers.CTranslate2) -> list[list[int]]:
        return [peer.greedy([case.source], most, case.prefix, may_end=True)[0] for case in cases]

    with ExitStack() as stack:
        runs: dict[str, Callable[[], list[list[int]]]] = {}
        for count in threads:
            engine = Ours(model.config, model.weights, "int8", count)
            runs[f"ours int8, {count} thr"] = partial(ours, engine)
        if peers.has("ctranslate2"):
            copy = peers.converted(model.config, model.weights, end_id)
            folder = stack.enter_context(copy)
            for count in threads:
                peer = peers.CTranslate2(folder, "int8", count)
                runs[f"CTranslate2 int8, {count} thr"] = partial(theirs, peer)
        contenders = [Contender(name, run, len(cases)) for name, run in runs.items()]
        times = in_turn(contenders, rounds)
        texts = {name: run() for name, run in runs.items()}
    over = fastest(times, "CTranslate2" if peers.has("ctranslate2") else "ours")
    report.add("default model, real sentences", "ms/sentence", times, over)
    equal = sum(a == b for a, b in zip(texts[next(iter(runs))], texts[over], strict=True))
    report.extra["sentences"] = {"read": len(cases), "equal": equal}
    print(f"{equal} of {len(cases)} come out equal in int8")


def draw(report: Report, shapes: list[str], sizes: Sizes, folder: Path | None) -> None:
    """Tokens a second over the rows of a step."""
    series = {}
    for name in shapes:
        steps = [item for item in report.figures if item.task.startswith(f"{name}, ours int8")]
        rates = [1e3 * rows / step.median for rows, step in zip(sizes.rows, steps, strict=True)]
        series[name] = (list(sizes.rows), rates)
    plot("decode-rows", series, ("users decoding together", "tokens/s"), folder)


def main() -> None:
    parser = harness.options(__doc__, rounds=11)
    parser.add_argument("--plot", action="store_true", help="draw the growth curve")
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else Sizes()
    report = begin("decode", arguments, asdict(sizes))
    names = []
    for lineup in lineups(arguments):
        run(lineup, report, arguments, sizes)
        names.append(lineup.name)
    log("default model: sentences")
    sentences(report, thread_counts(arguments.threads), arguments.rounds)
    if arguments.plot:
        draw(report, names, sizes, harness.output_folder(arguments, IMAGES))
    report.finish()


if __name__ == "__main__":
    main()
