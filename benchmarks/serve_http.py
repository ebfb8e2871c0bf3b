"""What HTTP costs: sixteen streaming clients, over loopback and without; and who only keeps a line.

    python benchmarks/serve_http.py [--rounds 7] [--users 16] [--turns 12] [--idle 500] [--quick]

`duologue serve` runs in a process of its own, with the default model in int8, and so do the clients
(serve_client.py). Users arrive as a Poisson process, 10 ms apart on average (seeded, another one
each round); then all speak at once, each its next turn as soon as the last reply has ended:

    chat    /v1/chat/completions, one message each time; nothing is stored. The model ends its reply
    stored  /v1/conversations/ID/messages, conversations that grow; 64 tokens a reply. Each turn is
            safe on the disk before it is told

The engine does the same in this process, in the same rounds, in turn: the same turns of the same
conversations, the same number of users, one thread that submits a request, steps, and makes text
of the tokens; it stores nothing. The replies must be equal. Time to first token counts from the
turn to the first text; percentiles are over the turns of a round, figures over the rounds.

At last many connections are opened that do nothing, half of them WebSockets: what do they take?
Writes benchmarks/results/serve_http.json.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import harness
from harness import Report, Times, log, percentile
from serve import arrivals
from serve_client import Answer, Request
from serve_site import FOLDER, Site, ask_users, serving
from serve_texts import SAID

import duologue
from duologue.conversation import Conversation, Reply
from duologue.engine.engine import Progress
from duologue.runtime import Runtime
from duologue.types import Commit, Options, Turn

IDLE_S = 20.0
UNITS = {
    "tokens/s": "tokens/s",
    "first token, p50": "ms",
    "first token, p95": "ms",
    "processor time": "ms a turn",
    "processor time of the clients": "ms a turn",
}
INTERVAL_S = 0.01  # between two arrivals
SETTLE_S = 2.0  # after many connections were opened
Said = Sequence[Sequence[str]]  # of each user, the turns


@dataclass(frozen=True)
class Kind:
    """A kind of request.

    options  of all replies
    is_stored  in a conversation that grows; else each turn is one by itself
    """

    name: str
    options: Options
    is_stored: bool


def kinds(num_tokens: int) -> tuple[Kind, Kind]:
    """chat and stored; num_tokens: of a reply in a stored conversation."""
    usual = Conversation.REPLY_OPTIONS
    exact = replace(usual, max_tokens=num_tokens, min_tokens=num_tokens)
    return Kind("chat", usual, False), Kind("stored", exact, True)


@dataclass(frozen=True)
class Crowd:
    """What the users say, and when each begins, in seconds."""

    said: Said
    arrivals: Sequence[float]


@dataclass(frozen=True)
class Round:
    """What came of one round.

    texts      of each user, the replies
    first_s    to the first text of each
    cpu_s      processor time: of the engine and all around it, and of the clients
    """

    texts: list[list[str]]
    first_s: list[float]
    num_tokens: int
    wall_s: float
    cpu_s: tuple[float, float]


def crowd(users: int, turns: int, seed: int) -> Crowd:
    """The users of a round; no two say the same, so that no turn is known from another one."""
    said = [
        [f"{SAID[(user + turn) % len(SAID)]} ({seed}-{user}-{turn})" for turn in range(turns)]
        for user in range(users)
    ]
    return Crowd(said, arrivals(users, INTERVAL_S, seed))


# --- without HTTP --------------------------------------------------------------------------------


@dataclass
class _Waiting:
    """A reply that the engine makes."""

    user: int
    reply: Reply
    begun_s: float
    first_s: float | None = None


class _Hall:
    """The users of one round, and the engine that they talk to."""

    def __init__(self, runtime: Runtime, kind: Kind, users: Said) -> None:
        self.inbox = runtime.engine.inbox()
        self.waiting: dict[int, _Waiting] = {}
        self.texts: list[list[str]] = [[] for _ in users]
        self.first_s: list[float] = []
        self.num_tokens = 0
        self._runtime = runtime
        self._kind = kind
        self._users = users
        self._talks = [Conversation(runtime) for _ in users]

    def speak(self, user: int) -> None:
        """The next turn of a user."""
        begun_s = time.perf_counter()
        if not self._kind.is_stored:
            self._talks[user] = Conversation(self._runtime)
        turn = Turn("user", self._users[user][len(self.texts[user])])
        reply = self._talks[user].begin([turn], self._kind.options)
        job = reply.memory, reply.prefix_ids, reply.options, self._kind.is_stored, reply.sources
        number = self._runtime.engine.add(*job, inbox=self.inbox)
        self.waiting[number] = _Waiting(user, reply, begun_s)

    def take(self, progress: Progress) -> None:
        """Text from tokens; whose reply has ended speaks again."""
        one = self.waiting[progress.request_id]
        for event in one.reply.digest(progress, 0.0):
            # Without a conversation, only what is final is told.
            if one.first_s is None and (self._kind.is_stored or isinstance(event, Commit)):
                one.first_s = time.perf_counter() - one.begun_s
                self.first_s.append(one.first_s)
        if progress.finished is not None:
            del self.waiting[progress.request_id]
            result = one.reply.finish().result
            self.num_tokens += result.usage.produced_tokens
            self.texts[one.user].append(result.text)
            if len(self.texts[one.user]) < len(self._users[one.user]):
                self.speak(one.user)


def by_engine(runtime: Runtime, kind: Kind, crowd: Crowd) -> Round:
    """A round in this process, by one thread."""
    hall, coming = _Hall(runtime, kind, crowd.said), list(enumerate(crowd.arrivals))
    cpu_s, begun_s = time.process_time(), time.perf_counter()
    while hall.waiting or coming:
        now_s = time.perf_counter() - begun_s
        while coming and coming[0][1] <= now_s:
            hall.speak(coming.pop(0)[0])
        if hall.waiting:
            for progress in runtime.engine.collect(hall.inbox):
                hall.take(progress)
        else:
            time.sleep(coming[0][1] - now_s)
    wall_s = time.perf_counter() - begun_s
    cpu_s = time.process_time() - cpu_s
    return Round(hall.texts, hall.first_s, hall.num_tokens, wall_s, (cpu_s, 0.0))


# --- over HTTP -----------------------------------------------------------------------------------


def by_http(site: Site, kind: Kind, crowd: Crowd, num_tokens: int) -> Round:
    """The same round over HTTP."""
    requests = [_requests(site, kind, turns) for turns in crowd.said]
    cpu_s = site.cpu_s
    asked = ask_users(site, requests, crowd.arrivals)
    texts = [[_text(kind, answer) for answer in made] for made in asked.answers]
    first_s = [answer.first_s for made in asked.answers for answer in made]
    return Round(
        texts,
        [one for one in first_s if one is not None],
        num_tokens,
        asked.wall_s,
        (site.cpu_s - cpu_s, asked.cpu_s),
    )


def _requests(site: Site, kind: Kind, turns: Sequence[str]) -> list[Request]:
    if kind.is_stored:
        path = f"/v1/conversations/{site.begin()}/messages"
        options = {name: getattr(kind.options, name) for name in ("max_tokens", "min_tokens")}
        marks = ("event: commit", "event: revise")
        rest = {"stream": True, "options": options}
        return [Request(path, {"text": turn, **rest}, marks) for turn in turns]
    head = {"model": site.model, "stream": True}
    bodies = [{**head, "messages": [{"role": "user", "content": turn}]} for turn in turns]
    return [Request("/v1/chat/completions", body, ('"content":"',)) for body in bodies]


def _text(kind: Kind, answer: Answer) -> str:
    assert answer.status == 200, answer.body
    if kind.is_stored:
        return "".join(data["text"] for name, data in answer.events() if name == "commit")
    deltas = [data["choices"][0]["delta"] for _, data in answer.events()]
    return "".join(delta.get("content", "") for delta in deltas)


def compare(
    runtime: Runtime, site: Site, kind: Kind, arguments: argparse.Namespace
) -> dict[str, Times]:
    """Figure -> who -> a value for each round; the round before the first does not count."""
    found: dict[str, Times] = {}
    for turn in range(arguments.rounds + 1):
        log(f"{kind.name}, round {turn} of {arguments.rounds}")
        users = crowd(arguments.users, arguments.turns, turn)
        time.sleep(harness.PAUSE_S)
        engine = by_engine(runtime, kind, users)
        time.sleep(harness.PAUSE_S)
        http = by_http(site, kind, users, engine.num_tokens)
        assert http.texts == engine.texts, "the replies are not the same"
        if turn > 0:
            for name, one in (("engine", engine), ("HTTP", http)):
                for figure, value in _figures(one).items():
                    found.setdefault(figure, {}).setdefault(name, []).append(value)
    return found


def _figures(one: Round) -> dict[str, float]:
    ms_per_turn = 1e3 / sum(map(len, one.texts))
    return {
        "tokens/s": one.num_tokens / one.wall_s,
        "first token, p50": 1e3 * percentile(one.first_s, 0.5),
        "first token, p95": 1e3 * percentile(one.first_s, 0.95),
        "processor time": ms_per_turn * one.cpu_s[0],
        "processor time of the clients": ms_per_turn * one.cpu_s[1],
    }


def added(times: Times) -> float:
    """The median over the rounds of what HTTP adds; 0 where it adds nothing."""
    pairs = zip(times["HTTP"], times["engine"], strict=True)
    return max(0.0, statistics.median(http - engine for http, engine in pairs))


# --- connections that do nothing -----------------------------------------------------------------


def idle(site: Site, count: int, seconds: float) -> dict[str, float]:
    """What so many open connections take: megabytes, and processor seconds beside none."""
    site.get("/health/live")
    time.sleep(SETTLE_S)
    before_mb, alone_s = site.rss_bytes / 1e6, _cpu_during(site, seconds)
    command = [sys.executable, str(FOLDER / "serve_idle.py"), str(site.port), str(count)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as clients:
        assert clients.stdin is not None
        assert clients.stdout is not None
        assert clients.stdout.readline() == "open\n"
        time.sleep(SETTLE_S)
        with_them_s = _cpu_during(site, seconds)
        taken_mb = site.rss_bytes / 1e6 - before_mb
        still_open, _ = clients.communicate("end\n")
    assert int(still_open) == count, f"of {count} connections, {still_open} stayed open"
    return {
        "connections": count,
        "seconds": seconds,
        "megabytes": taken_mb,
        "processor_s": with_them_s,
        "processor_s_without": alone_s,
    }


def _cpu_during(site: Site, seconds: float) -> float:
    before_s = site.cpu_s
    time.sleep(seconds)
    return site.cpu_s - before_s


def main() -> None:
    parser = harness.options(__doc__, rounds=7)
    parser.add_argument("--model", default="duo-s", help="name or folder")
    parser.add_argument("--users", type=int, default=16, help="how many speak at once")
    parser.add_argument("--turns", type=int, default=12, help="of each user in a round")
    parser.add_argument("--idle", type=int, default=500, help="connections that do nothing")
    arguments = parser.parse_args()
    num_tokens, seconds = 64, IDLE_S
    if arguments.quick:
        num_tokens, seconds = 6, 0.1
        arguments.rounds, arguments.users, arguments.turns, arguments.idle = 1, 3, 2, 10
    settings = {"model": arguments.model, "users": arguments.users, "turns": arguments.turns}
    settings |= {"rounds": arguments.rounds, "threads": arguments.threads}
    report = Report("serve_http", harness.output_folder(arguments), settings)
    runtime = duologue.load(arguments.model, threads=arguments.threads)._runtime
    with serving(arguments.model, arguments.threads) as site:
        for kind, suffix in zip(kinds(num_tokens), ("", "s"), strict=True):
            found = compare(runtime, site, kind, arguments)
            for figure, times in found.items():
                over = "engine" if figure == "tokens/s" else None
                report.add(f"{kind.name}, {figure}", UNITS[figure], times, over)
            rates = found["tokens/s"]
            report.goals[f"S1{suffix}"] = harness.ratio(rates["HTTP"], rates["engine"])
            report.goals[f"S2{suffix}"] = added(found["first token, p95"])
        taken = idle(site, arguments.idle, seconds)
    log(str(taken))
    report.extra["idle"] = taken
    report.goals["S5"] = max(0.0, taken["megabytes"])
    report.goals["S5c"] = max(0.0, taken["processor_s"] - taken["processor_s_without"])
    report.finish()


if __name__ == "__main__":
    main()
