"""Do users get the same tokens alone and in a crowd? Mixed requests on real sentences, greedy.

    python benchmarks/identical.py --data DATA [--sentences 500] [--model duo-s] [--precision int8]

The first test rows of two sets of translations, one of each in turn, become requests of different
kinds: translations in four directions, and replies to conversations of three turns; with different
limits on their length. Each is decoded alone: its turns are encoded one by one, then its reply
is made. Then all of them go through one engine with 32 rows, which encodes their turns between the
steps of others, so that requests join and leave at any time. Tokens are compared one for one.
Writes benchmarks/results/identical.json; exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import RESULTS, surroundings, write

from duologue.api import model_folder
from duologue.checkpoint.store import load_model
from duologue.engine.engine import EncodeItem, Engine, Finished
from duologue.engine.memory import Memory
from duologue.evaluation.cases import Case, Selection, read_cases
from duologue.runtime import Runtime
from duologue.types import PRECISIONS, EngineOptions, Options

FILES = (
    ("mt/multi30k.jsonl.gz", ("en-de", "de-en")),
    ("mt/tatoeba_enzh.jsonl.gz", ("en-zh", "zh-en")),
)
ROWS = 32
MAX_TOKENS = (128, 48, 16, 96, 5, 128, 32)  # by turns
EVERY_REPLY, TURNS = 5, 3  # each fifth request is a reply, to three turns
ROLES = ("user", "agent")


@dataclass(frozen=True)
class Asked:
    """One request: what is read, turn by turn, and what is to be said about it."""

    kind: str
    sources: tuple[tuple[int, ...], ...]
    prefix: tuple[int, ...]
    max_tokens: int


@dataclass(frozen=True)
class Crowd:
    """What came of decoding all together.

    ids    of each request
    rows   how many decoded in each step
    """

    ids: list[tuple[int, ...]]
    rows: list[int]


def sentences(data: Path, count: int) -> list[Case]:
    """Cases of all files and directions in turn; each row of a file is read in one direction."""
    each = -(-count // len(FILES))
    files = [
        [read_cases(Selection(data / name, direction=way, limit=each)).items for way in ways]
        for name, ways in FILES
    ]
    rows = min(len(cases) for ways in files for cases in ways)
    mixed = [ways[row % len(ways)][row] for row in range(rows) for ways in files]
    return mixed[:count]


def requests(runtime: Runtime, cases: Sequence[Case]) -> list[Asked]:
    """A request for each case: a translation of it, or a reply to it and those before it."""
    asked = []
    for index, case in enumerate(cases):
        texts, kind = [case.segments[0].text], f"translate {case.language}"
        if index % EVERY_REPLY == EVERY_REPLY - 1:
            texts = [item.segments[0].text for item in cases[index - TURNS + 1 : index + 1]]
            kind = "reply"
        sources = tuple(
            runtime.turn(ROLES[place % 2], text).ids for place, text in enumerate(texts)
        )
        if kind == "reply":
            prefix = runtime.reply_prefix(read(runtime, sources))
        else:
            prefix = runtime.template.prefix("translate", to_language=case.language)
        options = runtime.fit(Options(max_tokens=MAX_TOKENS[index % len(MAX_TOKENS)]), prefix)
        asked.append(Asked(kind, sources, prefix.ids, options.max_tokens))
    return asked


def read(runtime: Runtime, sources: Sequence[Sequence[int]]) -> Memory:
    """A memory of these turns, encoded one after another."""
    memory = Memory.empty()
    for source in sources:
        memory = runtime.forward.encode(source, memory)
    return memory


def alone(runtime: Runtime, asked: Sequence[Asked]) -> list[tuple[int, ...]]:
    """The tokens of each request, made while there is no other."""
    made = []
    for item in asked:
        memory, options = read(runtime, item.sources), Options(max_tokens=item.max_tokens)
        made.append(tokens(runtime.engine.generate(memory, item.prefix, options)))
    return made


def together(runtime: Runtime, asked: Sequence[Asked], rows: int = ROWS) -> Crowd:
    """The same of one engine that decodes up to `rows` requests at the same time."""
    waiting = max(1, len(asked))
    options = EngineOptions(max_rows=rows, max_waiting=waiting, max_client_waiting=waiting)
    engine = Engine(runtime.forward, runtime.special, options)
    numbers = [
        engine.add(
            Memory.empty(),
            item.prefix,
            Options(max_tokens=item.max_tokens),
            sources=[EncodeItem(source) for source in item.sources],
            client=item.kind,
        )
        for item in asked
    ]
    finished: dict[int, tuple[int, ...]] = {}
    decoding = []
    while len(finished) < len(numbers):
        progress = engine.step()
        decoding.append(sum(item.memory is None for item in progress))
        for item in progress:
            if item.finished is not None:
                finished[item.request_id] = tokens(item.finished)
    return Crowd([finished[number] for number in numbers], decoding)


def tokens(finished: Finished) -> tuple[int, ...]:
    """The ids of a request that ended by itself. Raises RuntimeError for any other."""
    if finished.best.finish_reason not in ("stop", "length"):
        raise RuntimeError(f"a request ended otherwise: {finished.problem}")
    return finished.best.ids


def compare(
    asked: Sequence[Asked], one: Sequence[tuple[int, ...]], other: Sequence[tuple[int, ...]]
) -> dict[str, Any]:
    """How many requests and tokens there were, and which requests differ from which token on."""
    different = []
    for index, (item, a, b) in enumerate(zip(asked, one, other, strict=True)):
        if a != b:
            same = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
            first = min(len(a), len(b)) if same is None else same
            different.append({"request": index, "kind": item.kind, "first_token": first})
    kinds = [item.kind for item in asked]
    return {
        "requests": len(asked),
        "tokens": sum(map(len, one)),
        "different": len(different),
        "kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "differences": different,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--sentences", type=int, default=500, help="how many are read")
    parser.add_argument("--model", default="duo-s")
    parser.add_argument("--precision", choices=PRECISIONS, default="int8")
    parser.add_argument("--threads", type=int, help="of one forward pass")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON file")
    arguments = parser.parse_args()
    loaded = load_model(model_folder(arguments.model), arguments.precision)
    runtime = Runtime(loaded, arguments.threads)
    asked = requests(runtime, sentences(arguments.data, arguments.sentences))
    crowd = together(runtime, asked)
    found = compare(asked, alone(runtime, asked), crowd.ids)
    found |= {"steps": len(crowd.rows), "most_rows": max(crowd.rows)}
    found["mean_rows"] = sum(crowd.rows) / len(crowd.rows)
    for name in ("requests", "tokens", "different", "kinds", "steps", "most_rows", "mean_rows"):
        print(f"{name:10} {found[name]}")
    for item in found["differences"][:10]:
        print(f"differs: request {item['request']} ({item['kind']}) at token {item['first_token']}")
    settings = {
        "model": arguments.model,
        "fingerprint": runtime.fingerprint,
        "precision": arguments.precision,
        "threads": runtime.forward.threads,
        "isa": runtime.forward.isa,
        "rows": ROWS,
        "data": [name for name, _ in FILES],
    }
    write("identical", surroundings(("duologue", "numpy")) | settings | found, arguments.output)
    sys.exit(1 if found["different"] else 0)


if __name__ == "__main__":
    main()
