"""Sixteen users who come at random, each waiting for a stream of tokens: who waits how long?

    python benchmarks/serve.py [--rounds 5] [--users 16] [--interval-ms 50] [--threads 2] [--quick]

Users arrive as a Poisson process (seeded; the same for all contenders, another one each round), so
close together that most are there at once; on the smaller shape closer, in proportion to the
weights that a step reads. Each brings a source of 32 to 128 tokens and gets 64 tokens, one by one.
On the shape of FLAN-T5-small and on that of the default model, with random weights, int8.

    ours         one loop: whoever came is encoded and joins the rows that decode
    CTranslate2  the same weights (checked first) behind one queue. It cannot let anybody join a
                 batch that runs, so a worker takes a user and streams all of the reply before it
                 takes the next; or it takes all who wait as one batch, whose tokens stream side by
                 side. One worker with all threads ("1 x 2 thr"), and a worker for each thread
                 ("2 x 1 thr"): four ways, and P5 is against the one with the shortest p95.

The time to the first token counts from the arrival. Percentiles are over the users (gaps: over all
tokens) of a round, the smallest value that the share of them does not exceed; figures are over the
rounds. Writes benchmarks/results/serve.json.
"""

from __future__ import annotations

import argparse
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

import harness
import numpy as np
import peers
from harness import Report, Times, fastest, log, percentile, ratio
from lineup import Lineup, begin, lineups
from ours import Ours, Service
from shapes import random_ids, step_bytes

from duologue.config import ModelConfig


@dataclass(frozen=True)
class User:
    """Who comes when (seconds after the start), and what is to be read."""

    arrival_s: float
    source: tuple[int, ...]


@dataclass(frozen=True)
class Traffic:
    """What users ask for.

    interval_s  mean time between two arrivals
    source      least and most tokens of a source
    produced    tokens of each reply
    """

    users: int
    interval_s: float
    source: tuple[int, int] = (32, 128)
    produced: int = 64


# Times of all tokens of each user, in seconds after the start.
Stamps = list[list[float]]
Server = Callable[[Sequence[User]], Stamps]


def arrivals(count: int, interval_s: float, seed: int) -> list[float]:
    """Times in seconds of a Poisson process, the first at 0; the same for the same seed."""
    gaps = np.random.default_rng(seed).exponential(interval_s, count - 1)
    return [0.0, *np.cumsum(gaps).tolist()]


def crowd(config: ModelConfig, traffic: Traffic, seed: int) -> list[User]:
    """The users of one round."""
    lengths = np.random.default_rng((seed, 1)).integers(
        *traffic.source, traffic.users, endpoint=True
    )
    return [
        User(arrival, tuple(random_ids(config, int(length), seed=index)))
        for index, (arrival, length) in enumerate(
            zip(arrivals(traffic.users, traffic.interval_s, seed), lengths, strict=True)
        )
    ]


# --- servers -----------------------------------------------------------------------------------


def serve_ours(ours: Ours, traffic: Traffic) -> Server:
    """Our engine, driven by one loop."""

    def server(users: Sequence[User]) -> Stamps:
        service = Service(ours, len(users), traffic.produced)
        stamps: Stamps = [[] for _ in users]
        waiting = list(enumerate(users))
        begin_s = time.perf_counter()
        while waiting or service.is_busy:
            now = time.perf_counter() - begin_s
            while waiting and waiting[0][1].arrival_s <= now:
                index, user = waiting.pop(0)
                service.submit(index, user.source)
            if not service.is_busy:
                time.sleep(max(0.0, waiting[0][1].arrival_s - now))
                continue
            made = service.step()
            now = time.perf_counter() - begin_s
            for index, count in made:
                stamps[index] += [now] * count
        return stamps

    return server


def serve_queue(peer: peers.CTranslate2, workers: int, most: int, traffic: Traffic) -> Server:
    """CTranslate2 behind one queue.

    workers  threads that take users from it, as many as the peer has workers
    most     users that one of them takes at once, if so many wait
    """

    def server(users: Sequence[User]) -> Stamps:
        stamps: Stamps = [[] for _ in users]
        waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        begin_s = time.perf_counter()

        def work() -> None:
            while (batch := take(waiting, most)) is not None:
                # A batch may be ordered by length inside; its tokens come side by side anyway.
                def told(place: int, batch: list[int] = batch) -> None:
                    stamps[batch[place]].append(time.perf_counter() - begin_s)

                sources = [users[index].source for index in batch]
                peer.greedy(sources, traffic.produced, on_token=told)

        threads = [threading.Thread(target=work) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for index, user in enumerate(users):
            time.sleep(max(0.0, user.arrival_s - (time.perf_counter() - begin_s)))
            waiting.put(index)
        for _ in threads:
            waiting.put(None)
        for thread in threads:
            thread.join()
        return stamps

    return server


def take(waiting: queue.SimpleQueue[int | None], most: int) -> list[int] | None:
    """The next user, and up to `most` in all of those who wait; None at the end."""
    first = waiting.get()
    if first is None:
        return None
    batch = [first]
    while len(batch) < most:
        try:
            following = waiting.get_nowait()
        except queue.Empty:
            break
        if following is None:  # the end of another worker, or of this one next time
            waiting.put(None)
            break
        batch.append(following)
    return batch


def servers(lineup: Lineup, traffic: Traffic, threads: int) -> dict[str, Server]:
    """Name -> server: ours, and CTranslate2 in four ways (fewer with one thread)."""
    made = {f"ours, {threads} thr": serve_ours(lineup.ours("int8", threads), traffic)}
    if lineup.folder is None:
        return made
    for workers, intra in dict.fromkeys([(1, threads), (threads, 1)]):
        peer = peers.CTranslate2(lineup.folder, "int8", intra, workers)
        label = f"CTranslate2, {workers} x {intra} thr"
        made[f"{label}, one by one"] = serve_queue(peer, workers, 1, traffic)
        made[f"{label}, all who wait"] = serve_queue(peer, workers, traffic.users, traffic)
    return made


# --- what users see ----------------------------------------------------------------------------


def seen(users: Sequence[User], stamps: Stamps) -> dict[str, float]:
    """Figures of one round: times in ms, and tokens a second from first arrival to last token."""
    first = [1e3 * (made[0] - user.arrival_s) for user, made in zip(users, stamps, strict=True)]
    gaps = [1e3 * (b - a) for made in stamps for a, b in pairwise(made)]
    return {
        "first token, p50": percentile(first, 0.5),
        "first token, p95": percentile(first, 0.95),
        "between tokens, p50": percentile(gaps, 0.5),
        "between tokens, p95": percentile(gaps, 0.95),
        "tokens/s": sum(map(len, stamps)) / max(made[-1] for made in stamps),
    }


def measure(
    config: ModelConfig, ways: dict[str, Server], traffic: Traffic, rounds: int
) -> dict[str, Times]:
    """Figure -> contender -> a value for each round; the round before the first does not count."""
    found: dict[str, Times] = {}
    for turn in range(rounds + 1):
        log(f"round {turn} of {rounds}")
        users = crowd(config, traffic, seed=turn)
        for name, server in ways.items():
            time.sleep(harness.PAUSE_S)
            stamps = server(users)
            assert all(len(made) == traffic.produced for made in stamps), f"{name} lost tokens"
            if turn > 0:
                for figure, value in seen(users, stamps).items():
                    found.setdefault(figure, {}).setdefault(name, []).append(value)
    return found


def run(lineup: Lineup, report: Report, traffic: Traffic, arguments: argparse.Namespace) -> None:
    """All contenders on one shape, their figures and P5."""
    log(lineup.name)
    ways = servers(lineup, traffic, arguments.threads)
    found = measure(lineup.config, ways, traffic, arguments.rounds)
    p95 = found["first token, p95"]
    rival = fastest(p95, lineup.rival.partition(" ")[0])
    for figure, times in found.items():
        unit = "tokens/s" if figure == "tokens/s" else "ms"
        report.add(f"{lineup.name}, {figure}", unit, times, rival)
    (ours,) = (name for name in ways if name.startswith("ours"))
    report.extra[f"{lineup.name}, p95 of the first token over"] = {
        name: ratio(p95[ours], p95[name]) for name in ways if name != ours
    }
    if lineup.is_goal and lineup.folder is not None:
        report.goals["P5"] = ratio(p95[ours], p95[rival])


def main() -> None:
    parser = harness.options(__doc__, rounds=5)
    parser.add_argument("--users", type=int, default=16, help="how many come")
    parser.add_argument("--interval-ms", type=float, default=50.0, help="mean time between two")
    arguments = parser.parse_args()
    traffic = Traffic(arguments.users, arguments.interval_ms / 1e3)
    if arguments.quick:
        traffic = Traffic(arguments.users, 0.001, (4, 16), 6)
    report = begin("serve", arguments, {"traffic": asdict(traffic)})
    goal_bytes = 0
    for lineup in lineups(arguments):
        goal_bytes = goal_bytes or step_bytes(lineup.config)
        share = step_bytes(lineup.config) / goal_bytes
        run(lineup, report, replace(traffic, interval_s=share * traffic.interval_s), arguments)
    report.finish()


if __name__ == "__main__":
    main()
