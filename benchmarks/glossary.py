"""Do the terms of a glossary come out, and what does that cost?

    python benchmarks/glossary.py --data DATA [--texts 300] [--only SET]

Terms are pairs of words, or of a word and Chinese characters, that go together in the training
split (Dice's coefficient). Texts are those of the test split whose source has a term that the
reference has as well, so that the terms are right. Writes benchmarks/results/glossary.json: how
many terms come out without the glossary and with it, and BLEU of both.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from planted import pairs_of
from report import RESULTS, surroundings, write

import duologue
from duologue import Glossary
from duologue.api import Model
from duologue.apps.translate.glossary import has_term
from duologue.evaluation import metrics

SETS = (
    ("multi30k", "en-de"),
    ("tatoeba_ende", "en-de"),
    ("tatoeba_enzh", "en-zh"),
    ("tatoeba_enzh", "zh-en"),
    ("news_ende", "en-de"),
)
TRAIN_PAIRS = 20_000
LEAST_COUNT, LEAST_DICE = 8, 0.5
_WORD = re.compile(r"[^\W\d_\u2e80-\U0010ffff]{4,}")
_HAN = re.compile(r"[\u3400-\u9fff]+")


def terms_of(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Source and target terms, each the best partner of the other."""
    ours: Counter[str] = Counter()
    theirs: Counter[str] = Counter()
    both: Counter[tuple[str, str]] = Counter()
    for source, target in pairs:
        a, b = _units(source), _units(target)
        ours.update(a)
        theirs.update(b)
        both.update((x, y) for x in a for y in b)
    dice = {
        (a, b): 2 * count / (ours[a] + theirs[b])
        for (a, b), count in both.items()
        if count >= LEAST_COUNT
    }
    best_of: tuple[dict[str, tuple[float, int, str]], dict[str, tuple[float, int, str]]] = {}, {}
    for (a, b), value in dice.items():
        # Of equals the longer: part of a Chinese word goes with the same words as all of it.
        for known, mine, other in ((best_of[0], a, b), (best_of[1], b, a)):
            known[mine] = max(known.get(mine, (0.0, 0, "")), (value, len(other), other))
    found: dict[str, tuple[float, str, str]] = {}
    for (a, b), value in dice.items():
        if value >= LEAST_DICE and best_of[0][a][2] == b and best_of[1][b][2] == a:
            key = a.casefold()  # of terms that only case tells apart the surer one
            found[key] = max(found.get(key, (0.0, "", "")), (value, a, b))
    return sorted((a, b) for _, a, b in found.values())


def _units(text: str) -> set[str]:
    words = set(_WORD.findall(text))
    for run in _HAN.findall(text):
        for size in (2, 3, 4):
            words.update(run[start : start + size] for start in range(len(run) - size + 1))
    return words


def measure(
    model: Model, direction: str, glossary: Glossary, pairs: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Share of terms that come out, BLEU and misses, without the glossary and with it."""
    from_, to = direction.split("-")
    wanted = [
        [one.term for one in glossary.found(source) if has_term(target, one.term.target)]
        for source, target in pairs
    ]
    row: dict[str, Any] = {"texts": len(pairs), "terms": sum(map(len, wanted))}
    for mode in ("without", "with"):
        results = []
        for (source, _), terms in zip(pairs, wanted, strict=True):
            own = Glossary(tuple(terms), from_, to) if mode == "with" else None
            results.append(model.translate(source, to, from_, glossary=own))
        texts = [result.text for result in results]
        hits = sum(
            has_term(text, term.target)
            for text, terms in zip(texts, wanted, strict=True)
            for term in terms
        )
        targets = [target for _, target in pairs]
        row[mode] = {
            "come_out": round(hits / max(1, row["terms"]), 4),
            "bleu": round(metrics.bleu(texts, targets, "zh" if to == "zh" else "en").value, 2),
            "reported_misses": sum(len(result.checks.glossary) for result in results),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", default="duo-s")
    parser.add_argument("--texts", type=int, default=300, help="of each set and direction")
    parser.add_argument("--only", action="append", metavar="SET", help="these data sets alone")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of glossary.json")
    arguments = parser.parse_args()
    model = duologue.load(arguments.model, threads=1)
    values: dict[str, Any] = {**surroundings(("duologue", "sacrebleu")), "sets": []}
    for name, direction in SETS:
        if arguments.only and name not in arguments.only:
            continue
        file = arguments.data / "mt" / f"{name}.jsonl.gz"
        train = list(pairs_of(file, "train", direction))[:TRAIN_PAIRS]
        glossary = Glossary.of(terms_of(train), *direction.split("-"))
        pairs = [
            (source, target)
            for source, target in pairs_of(file, "test", direction)
            if any(has_term(target, one.term.target) for one in glossary.found(source))
        ][: arguments.texts]
        row = {"set": name, "direction": direction, "glossary": len(glossary.terms)}
        values["sets"].append(row | measure(model, direction, glossary, pairs))
        print(json.dumps(values["sets"][-1], ensure_ascii=False), flush=True)
    write("glossary", values, arguments.output)


if __name__ == "__main__":
    main()
