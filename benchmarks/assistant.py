"""How well the assistant understands: intents, slots, what is out of scope, and how fast.

    python benchmarks/assistant.py --data DATA [--model duo-s] [--examples 8 0] [--quick]

For each set the train rows become a declaration (at most N examples for each intent and language;
0: all, but no more than MOST), and the test rows are what people say. A slot counts when name and
words are right (case and blanks aside), whatever intent it belongs to; intent accuracy counts
declined texts as wrong. `oracle` is the slot F1 where the intent is told.

Out of scope: clinc150 has texts that are none of its intents. The thresholds of understand.py are
those that its validation part and that of the other sets bear; --split valid shows it.

Writes benchmarks/results/assistant.json, where rows of other sets and models stay. --quick takes
few rows and writes nothing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from report import RESULTS, surroundings, write

import duologue
from duologue.apps.assistant.declaration import Declaration, Example, Intent, Slot
from duologue.apps.assistant.understand import Understanding, Understood

SETS = ("snips", "hwu64", "slurp", "xsid", "ha_intents", "clinc150")
MOST = 4000
OUT_OF_SCOPE = "oos"
TODAY = date(2026, 3, 4)

Row = dict[str, Any]


def rows(path: Path, split: str) -> list[Row]:
    """The rows of one part of a set."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [row for row in map(json.loads, file) if row["split"] == split]


def chosen(found: Sequence[Row], most: int, seed: int = 1) -> list[Row]:
    """At most so many rows of each intent and language; 0: as many as MOST allows in all."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in random.Random(seed).sample(list(found), len(found)):
        groups[row["intent"], row["lang"]].append(row)
    limit = most or max(1, MOST // len(groups))
    while not most and sum(min(limit * 2, len(group)) for group in groups.values()) <= MOST:
        limit *= 2
        if limit > len(found):
            break
    return [row for group in groups.values() for row in group[:limit]]


def declared(examples: Sequence[Row]) -> Declaration:
    """A declaration whose slots are free texts, because the sets name no kinds."""
    by_intent: dict[str, list[Example]] = defaultdict(list)
    slots: dict[str, dict[str, Slot]] = defaultdict(dict)
    strays: list[Example] = []
    for row in examples:
        values = {slot["slot"]: slot["value"] for slot in row.get("slots", [])}
        example = Example.labelled(row["text"], values, row["lang"])
        if row["intent"] == OUT_OF_SCOPE:
            strays.append(example)
            continue
        by_intent[row["intent"]].append(example)
        for name in example.slots:
            slots[row["intent"]][name] = Slot(name, "text")
    intents = {name: Intent(name, tuple(e), slots[name]) for name, e in by_intent.items()}
    return Declaration(intents, tuple(strays))


def plain(text: str) -> str:
    """A value without case and blanks: some sets write Chinese apart and label it together."""
    return "".join(text.casefold().split())


def wanted_slots(row: Row) -> set[tuple[str, str]]:
    """What can be found at all: values that stand in the text."""
    text = plain(row["text"])
    pairs = {(slot["slot"], plain(slot["value"])) for slot in row.get("slots", [])}
    return {(name, value) for name, value in pairs if value in text}


@dataclass
class Counts:
    """True positives, false positives, false negatives."""

    hits: int = 0
    extra: int = 0
    missed: int = 0

    def add(self, found: set[tuple[str, str]], wanted: set[tuple[str, str]]) -> None:
        self.hits += len(found & wanted)
        self.extra += len(found - wanted)
        self.missed += len(wanted - found)

    @property
    def f1(self) -> float:
        return 2 * self.hits / max(1, 2 * self.hits + self.extra + self.missed)


def found_slots(understood: Understood) -> set[tuple[str, str]]:
    return {(segment.slot, plain(segment.text)) for segment in understood.segments}


def judge(understanding: Understanding, tests: Sequence[Row]) -> dict[str, Any]:
    """The scores of one declaration on its test rows."""
    slots = Counts()
    times: list[float] = []
    right = inside = right_inside = told_inside = strays = declined = 0
    for row in tests:
        before = time.perf_counter()
        understood = understanding.read(row["text"], row["lang"], TODAY)
        times.append(1000 * (time.perf_counter() - before))
        if row["intent"] == OUT_OF_SCOPE:
            strays += 1
            declined += not understood.is_understood
            continue
        inside += 1
        is_right = understood.intent.name == row["intent"]
        right_inside += is_right
        told_inside += understood.is_understood
        right += is_right and understood.is_understood
        slots.add(found_slots(understood) if understood.is_understood else set(), wanted_slots(row))
    scores = {
        "cases": len(tests),
        "intent_accuracy": right / max(1, inside),
        "intent_accuracy_without_threshold": right_inside / max(1, inside),
        "declined_in_scope": 1 - told_inside / max(1, inside),
        "latency_ms": {"median": float(np.median(times)), "p95": float(np.quantile(times, 0.95))},
    }
    if any(row.get("slots") for row in tests):
        scores["slot_f1"] = slots.f1
    if strays:
        scores["out_of_scope_recall"] = declined / strays
    return scores


def measured(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row of results for each set and number of examples."""
    model = duologue.load(arguments.model)
    for name in arguments.sets:
        path = arguments.data / "intent" / f"{name}.jsonl.gz"
        train, tests = rows(path, "train"), rows(path, arguments.split)
        if not tests:  # some sets have no validation part: take it from train
            random.Random(2).shuffle(train)
            train, tests = train[200:], train[:200]
        if arguments.quick:
            tests = random.Random(3).sample(tests, min(20, len(tests)))
        for most in arguments.examples:
            declaration = declared(chosen(train, most))
            before = time.perf_counter()
            understanding = Understanding(model._runtime, declaration)
            fit_s = time.perf_counter() - before
            result = {
                "set": name,
                "split": arguments.split,
                "examples_per_intent": most or "all",
                "examples": declaration.num_examples,
                "intents": len(declaration.intents),
                "model_share": understanding.model_share,
                "uses_model_slots": understanding.uses_model_slots,
                "fit_s": fit_s,
                **judge(understanding, tests),
            }
            if len({row["lang"] for row in tests}) > 1:
                for language in sorted({row["lang"] for row in tests}):
                    part = [row for row in tests if row["lang"] == language]
                    scores = judge(understanding, part)
                    result[language] = {
                        key: scores[key] for key in ("intent_accuracy", "slot_f1") if key in scores
                    }
            yield result


def line(result: dict[str, Any]) -> str:
    """One line of the table."""
    scores = [
        f"{key} {result[key]:.3f}"
        for key in ("intent_accuracy", "slot_f1", "declined_in_scope", "out_of_scope_recall")
        if key in result
    ]
    latency = result["latency_ms"]
    return (
        f"{result['set']}, {result['examples_per_intent']} examples ({result['examples']}): "
        f"{', '.join(scores)}; {latency['median']:.1f} ms, p95 {latency['p95']:.1f} ms"
    )


def earlier() -> list[dict[str, Any]]:
    """The rows of results/assistant.json, if there is one."""
    path = RESULTS / "assistant.json"
    found: list[dict[str, Any]] = []
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))["results"]
    return found


def joined(
    before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """All rows; of one model, set and number of examples the newer one."""
    rows_by_key = {
        (row["model"], row["set"], str(row["examples_per_intent"])): row
        for row in (*before, *after)
    }
    return [rows_by_key[key] for key in sorted(rows_by_key)]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with intent/*.jsonl.gz")
    parser.add_argument("--model", default="duo-s", help="name or folder")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--examples", nargs="+", type=int, default=[8, 0], help="0: all")
    parser.add_argument("--split", default="test", choices=("valid", "test"))
    parser.add_argument("--quick", action="store_true", help="20 test rows; writes nothing")
    arguments = parser.parse_args()
    place = surroundings(("numpy", "duologue"))
    results = []
    for result in measured(arguments):
        print(line(result), flush=True)
        results.append({**result, "model": arguments.model, "commit": place["commit"]})
    if not arguments.quick and arguments.split == "test":
        write("assistant", {**place, "results": joined(earlier(), results)})


if __name__ == "__main__":
    main()
