"""Are lost, exchanged, repeated and cut parts of translations found or repaired, and at what cost?

    python benchmarks/coverage.py --data DATA [--items 25] [--texts 300] [--fit]

Three parts, on test splits:

    check   planted faults in human translations: how many the check alone sees, and how often it
            sees one where there is none
    repair  planted faults in the model's own translations, given to the coverage loop as what was
            decoded first: flagged, repaired, or neither
    scores  BLEU, chrF and time of translations with the loop and without

Writes benchmarks/results/coverage.json. --fit prints the constants of apps/translate/weighing.py
instead, fitted on the validation splits.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from coverage_fit import FALSE_FLAGS_GOAL, asked_once, fit
from planted import KINDS, Case, Item, is_gone, items, pairs_of, plant
from report import RESULTS, surroundings, write

import duologue
from duologue.api import Model
from duologue.apps.batch import Ended, advance, run_plan
from duologue.apps.translate import TranslateOptions, split, translation
from duologue.apps.translate.pieces import sentences
from duologue.engine.rules import Only
from duologue.evaluation import metrics
from duologue.types import Checks, Options, Result

SETS = (
    ("multi30k", "en-de"),
    ("multi30k", "de-en"),
    ("tatoeba_ende", "en-de"),
    ("tatoeba_ende", "de-en"),
    ("tatoeba_enzh", "en-zh"),
    ("tatoeba_enzh", "zh-en"),
    ("news_ende", "en-de"),
    ("news_ende", "de-en"),
    ("news_enzh", "en-zh"),
    ("news_enzh", "zh-en"),
)


# --- check ---------------------------------------------------------------------------------------


def check_table(model: Model, all_items: Sequence[Item], random_: random.Random) -> dict[str, Any]:
    """How many cases of each kind are flagged, in all and by data set; and clean ones."""
    flagged: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    placed: dict[str, list[bool]] = defaultdict(list)
    for item in all_items:
        from_, to = item.languages
        for kind in ("clean", *KINDS):
            case = plant(item, kind, item.target, random_)
            checks = model.check_translation(case.source_text, case.text, to, from_)
            flagged[kind][item.set].append(is_flagged(checks))
            if kind != "clean":
                placed[kind].append(is_at_place(case, checks))
    table = {}
    for kind, by_set in flagged.items():
        everywhere = [flag for flags in by_set.values() for flag in flags]
        table[kind] = {
            "cases": len(everywhere),
            "flagged": _share(everywhere),
            "by_set": {name: _share(flags) for name, flags in by_set.items()},
        }
        if kind in placed:
            table[kind]["at_its_place"] = _share(placed[kind])
    return table


def is_flagged(checks: Checks) -> bool:
    """Whether anything is said against a translation."""
    return bool(checks.uncovered or checks.invented or checks.wrong_language or checks.repetition)


def is_at_place(case: Case, checks: Checks) -> bool:
    """Whether a finding touches what was planted."""
    if case.kind == "repeat":
        return checks.repetition
    return _touches(checks.uncovered, case.bad_source) or _touches(checks.invented, case.bad_target)


def _touches(spans: Iterable[Any], bounds: tuple[int, int] | None) -> bool:
    return bounds is not None and any(s.start < bounds[1] and bounds[0] < s.end for s in spans)


def _share(flags: Sequence[bool]) -> float:
    return round(sum(flags) / max(1, len(flags)), 4)


# --- repair --------------------------------------------------------------------------------------


def repair_table(model: Model, all_items: Sequence[Item], random_: random.Random) -> dict[str, Any]:
    """What becomes of the model's own translations after a fault was planted in them."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    texts: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for item in all_items:
        from_, to = item.languages
        own = [r.text for r in model.translate_batch(item.source, to, from_, check=False)]
        for kind in ("clean", *KINDS):
            case = plant(item, kind, own, random_)
            result = sabotaged(model, case)
            clean = plant(item, "clean", own, random_)
            found[kind][item.set].append(_outcome(case, result, clean))
            reference = plant(item, "clean", item.target, random_).text
            texts[kind].append((case.text, result.text, reference))
    table = {}
    for kind, by_set in found.items():
        outcomes = [outcome for some in by_set.values() for outcome in some]
        table[kind] = {
            "cases": len(outcomes),
            **{name: _share([o == name for o in outcomes]) for name in sorted(set(outcomes))},
            "by_set": {
                name: _share([o != "neither" for o in some]) for name, some in by_set.items()
            },
            "chrf_before": _chrf([(before, wanted) for before, _, wanted in texts[kind]]),
            "chrf_after": _chrf([(after, wanted) for _, after, wanted in texts[kind]]),
        }
    return table


def _chrf(pairs: Sequence[tuple[str, str]]) -> float:
    return round(metrics.chrf(*map(list, zip(*pairs, strict=True))).value, 2)


def sabotaged(model: Model, case: Case) -> Result:
    """A translation whose first round is told to say the text of a case."""
    from_, to = case.item.languages
    runtime, source = model._runtime, case.source_text
    plan = translation(runtime, [source], TranslateOptions(to, from_))
    asked = advance(plan)
    assert not isinstance(asked, Ended)
    told = []
    for piece, ask in zip(split(runtime, source, to, from_), asked, strict=True):
        ids = tuple(runtime.tokenizer.encode(case.said_of(piece.start, piece.end)))
        told.append(replace(ask, options=Options(max_tokens=len(ids) + 1), rule=Only(ids)))
    asked = advance(plan, run_plan(runtime, asked_once(told)))
    while not isinstance(asked, Ended):
        asked = advance(plan, run_plan(runtime, asked_once(asked)))
    return asked.value[0]


def _outcome(case: Case, result: Result, clean: Case) -> str:
    if case.kind == "clean":
        same = result.text == case.text
        return "flagged" if is_flagged(result.checks) else "kept" if same else "changed"
    if result.text != case.text and is_gone(case, result.text, clean):
        return "repaired, flagged" if is_flagged(result.checks) else "repaired"
    return "flagged" if is_flagged(result.checks) else "neither"


# --- scores --------------------------------------------------------------------------------------


def scores(
    model: Model, name: str, direction: str, pairs: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """BLEU, chrF and processor time with the loop and without, and what the loop says."""
    from_, to = direction.split("-")
    sources, targets = [list(side) for side in zip(*pairs, strict=True)]
    row: dict[str, Any] = {"set": name, "direction": direction, "cases": len(pairs)}
    kept: list[str] = []
    for mode, check in (("without", False), ("with", True)):
        before = time.process_time()
        results = [
            result
            for start in range(0, len(sources), 64)
            for result in model.translate_batch(sources[start : start + 64], to, from_, check=check)
        ]
        seconds = time.process_time() - before
        texts = [result.text for result in results]
        row[mode] = {
            "bleu": round(metrics.bleu(texts, targets, "zh" if to == "zh" else "en").value, 2),
            "chrf": round(metrics.chrf(texts, targets).value, 2),
            "cpu_ms_a_text": round(1000 * seconds / len(texts), 2),
        }
        if check:
            row["flagged"] = _share([is_flagged(result.checks) for result in results])
            changed = [a != b for a, b in zip(texts, kept, strict=True)]
            row["changed"] = _share(changed)
        kept = texts
    row["time"] = round(row["with"]["cpu_ms_a_text"] / row["without"]["cpu_ms_a_text"], 3)
    return row


def score_sets(
    data: Path, limit: int, sets: Sequence[tuple[str, str]]
) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Test pairs as they are, long lines of news, and lines of several captions."""
    found = []
    for name, direction in sets:
        pairs = list(pairs_of(data / "mt" / f"{name}.jsonl.gz", "test", direction))
        if name.startswith("news"):
            pairs = [pair for pair in pairs if len(sentences(pair[0])) > 1]
            name = f"{name}, lines of several sentences"
        found.append((name, direction, pairs[:limit]))
    for direction in (direction for name, direction in sets if name == "multi30k"):
        file = data / "mt" / "multi30k.jsonl.gz"
        joined = items(file, "test", direction, limit // 3, random.Random(3))
        cases = [plant(item, "clean", item.target, random.Random(0)) for item in joined]
        found.append(
            ("multi30k, 2 to 4 in a line", direction, [(c.source_text, c.text) for c in cases])
        )
    return found


# --- all -----------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", default="duo-s")
    parser.add_argument("--items", type=int, default=25, help="of each set and direction")
    parser.add_argument("--texts", type=int, default=300, help="of each set, for the scores")
    parser.add_argument("--only", action="append", metavar="SET", help="these data sets alone")
    parser.add_argument("--fit", action="store_true", help="fit the constants; writes nothing")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of coverage.json")
    arguments = parser.parse_args()
    model = duologue.load(arguments.model, threads=1)
    sets = [one for one in SETS if not arguments.only or one[0] in arguments.only]
    random_ = random.Random(11)
    folder = arguments.data / "mt"
    name = "valid" if arguments.fit else "test"
    all_items = [
        item
        for set_, direction in sets
        for item in items(folder / f"{set_}.jsonl.gz", name, direction, arguments.items, random_)
    ]
    if arguments.fit:
        fit(model, all_items, random_)
        return
    values: dict[str, Any] = surroundings(("duologue", "sacrebleu"))
    values["model"] = arguments.model
    values["items"] = len(all_items)
    values["check"] = check_table(model, all_items, random_)
    _show("check of human translations", values["check"])
    values["repair"] = repair_table(model, all_items, random_)
    _show("the model's own, through the loop", values["repair"])
    values["scores"] = []
    for set_, direction, pairs in score_sets(arguments.data, arguments.texts, sets):
        values["scores"].append(scores(model, set_, direction, pairs))
        print(json.dumps(values["scores"][-1]), flush=True)
    rate = values["check"]["clean"]["flagged"]
    values["goals"] = {
        "false_flags": {"goal": FALSE_FLAGS_GOAL, "value": rate, "met": rate <= FALSE_FLAGS_GOAL}
    }
    write("coverage", values, arguments.output)


def _show(title: str, table: dict[str, Any]) -> None:
    print(f"\n{title}")
    for kind, row in table.items():
        print(f"| {kind} | " + " | ".join(f"{name} {value}" for name, value in row.items()) + " |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
