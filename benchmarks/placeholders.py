"""What survives a translation: placeholders, tags and numbers, planted in real sentences.

    python benchmarks/placeholders.py --data DATA [--model duo-s] [--limit 200] [--quick]

In sentences of the test split that have a name or a number on both sides, a placeholder takes its
place on both sides, so that the reference tells where it belongs. Three ways are compared: the
model copies it, the text is translated piece by piece between placeholders, and stand-ins (the way
of `duologue translate`). A tag is put around the same word, and must come out around it again.
The check of coverage is off. Prints, and writes to benchmarks/results/placeholders.json, for each
direction

    once      share of the sentences that have the placeholder exactly once
    chrf      with the placeholder counted as one character: only the rest and its place count
    tags      share around the right word, of the translations in which that word can be told
    flagged   share of human translations that the check of numbers flags

--quick takes few sentences and writes nothing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from report import RESULTS, surroundings, write

from duologue.api import Model, load
from duologue.apps.batch import run_plan
from duologue.apps.translate import TranslateOptions, protected, translator
from duologue.apps.translate.parts import Mark, Parts
from duologue.apps.translate.placeholders import lost
from duologue.apps.translate.protected_text import Languages

KINDS = (
    "{name}", "%s", "{{user.city}}", "${HOME}", "%(count)d", "https://example.org/a?b=1",
    "anna@example.com", "/etc/hosts", "AB-1234", ":smile:", "{0}",
)  # fmt: skip
SETS = {
    "de": ("tatoeba_ende", "bcontrast", "multi30k", "woz2_ende"),
    "zh": ("tatoeba_enzh", "todwoz", "3am"),
}
DIRECTIONS = (("en", "de"), ("de", "en"), ("en", "zh"), ("zh", "en"))
MAX_CHARS = 120
NAMES = {
    "de": ((r"\bTom\b", r"\bTom\b"), (r"\bMary\b", r"\b(?:Mary|Maria)\b")),
    "zh": ((r"\bTom\b", "汤姆"), (r"\bMary\b", "玛丽")),
}
# No part of a longer word, number or code, of which a placeholder would become a part too.
SAME = (
    r"(?<![A-Za-z0-9.,:$€£&/-])\d{2,4}(?![A-Za-z0-9.,:&/-])",
    r"(?<![A-Za-z0-9&/-])[A-Z]{2,5}(?![A-Za-z0-9&/-])",
)


@dataclass(frozen=True)
class Case:
    """A sentence and its reference around one word: a name, or something that is copied."""

    source: tuple[str, str, str]
    reference: tuple[str, str, str]
    is_name: bool


def cases(folder: Path, source: str, target: str, limit: int) -> list[Case]:
    """So many sentences of the test split, the same ones each time."""
    other = target if source == "en" else source
    found = [
        case
        for name in SETS[other]
        for said, translated in _rows(folder / f"{name}.jsonl.gz", source)
        if (case := _case(said, translated, other, source)) is not None
    ]
    random.Random(1).shuffle(found)
    return found[:limit]


def _rows(path: Path, source: str) -> Iterator[tuple[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row["split"] == "test":
                pair = row["source"], row["target"]
                yield pair if row["src_lang"] == source else pair[::-1]


def _case(said: str, translated: str, other: str, source: str) -> Case | None:
    if len(said) > MAX_CHARS:
        return None
    words = [(True, *(pair if source == "en" else pair[::-1])) for pair in NAMES[other]]
    for is_name, one, two in [*words, *((False, word, word) for word in SAME)]:
        places = [*re.finditer(one, said)], [*re.finditer(two, translated)]
        if len(places[0]) == len(places[1]) == 1:
            first, second = places[0][0], places[1][0]
            if is_name or first[0] == second[0]:
                return Case(_around(said, first), _around(translated, second), is_name)
    return None


def _around(text: str, found: re.Match[str]) -> tuple[str, str, str]:
    return text[: found.start()], found[0], text[found.end() :]


# --- placeholders ------------------------------------------------------------------------------


def copied(model: Model, texts: Sequence[str], to: str) -> list[str]:
    """Translations by a model that is told nothing."""
    plan = translator.translation(model._runtime, texts, TranslateOptions(to, check=False))
    return [result.text for result in run_plan(model._runtime, plan)]


def split(model: Model, texts: Sequence[str], to: str) -> list[str]:
    """Translations piece by piece, between the placeholders."""
    with mock.patch.object(protected, "ATTEMPTS", 0):
        return stand_ins(model, texts, to)


def stand_ins(model: Model, texts: Sequence[str], to: str) -> list[str]:
    """Translations as `duologue translate` makes them."""
    return [result.text for result in model.translate_batch(texts, to, check=False)]


WAYS: tuple[Callable[[Model, Sequence[str], str], list[str]], ...] = (copied, split, stand_ins)


def survival(model: Model, planted: Sequence[Case], to: str) -> dict[str, Any]:
    """How each way does on sentences with one placeholder each."""
    from sacrebleu import corpus_chrf

    kinds = [KINDS[number % len(KINDS)] for number in range(len(planted))]
    texts = [kind.join(case.source[::2]) for case, kind in zip(planted, kinds, strict=True)]
    references = ["☃".join(case.reference[::2]) for case in planted]
    scores = {}
    for way in WAYS:
        made = way(model, texts, to)
        once = [text.count(kind) == 1 for text, kind in zip(made, kinds, strict=True)]
        short = [text.replace(kind, "☃") for text, kind in zip(made, kinds, strict=True)]
        rare = [number for number, case in enumerate(planted) if not case.is_name]
        scores[way.__name__] = {
            "once": sum(once) / len(once),
            "chrf": corpus_chrf(short, [references]).score,
            "chrf_without_names": corpus_chrf(
                [short[n] for n in rare], [[references[n] for n in rare]]
            ).score,
        }
    return scores


def several(model: Model, planted: Sequence[Case], to: str) -> dict[str, float]:
    """Sentences with three placeholders between words: how many have all of them exactly once."""
    rng = random.Random(2)
    texts, kinds = [], []
    for case in planted:
        chosen = rng.sample(KINDS, 3)
        words = re.findall(r"[^\W\u3400-\u9fff]+|\W|[\u3400-\u9fff]", "".join(case.source))
        places = sorted(rng.sample(range(len(words) + 1), min(3, len(words))))
        for place, kind in zip(reversed(places), chosen, strict=False):
            words.insert(place, f" {kind} ")
        texts.append("".join(words).strip())
        kinds.append([kind for kind in chosen if kind in texts[-1]])
    return {
        way.__name__: sum(
            all(text.count(kind) == 1 for kind in own)
            for text, own in zip(way(model, texts, to), kinds, strict=True)
        )
        / len(texts)
        for way in (copied, stand_ins)
    }


# --- tags and numbers --------------------------------------------------------------------------


def tagged(model: Model, planted: Sequence[Case], to: str) -> dict[str, float]:
    """A pair of marks around one word: whether both come out once, around what it became."""
    texts: list[Parts] = [
        (case.source[0], Mark("<b>", 0, 0), case.source[1], Mark("</b>", 1, 0), case.source[2])
        for case in planted
    ]
    runtime = model._runtime
    plan = protected.parts_plan(
        runtime,
        texts,
        Languages(to),
        partial(translator.translation, runtime, how=TranslateOptions(to, check=False)),
    )
    done = run_plan(runtime, plan)
    once = right = told = 0
    for case, item in zip(planted, done, strict=True):
        marks = [part.raw for part in item.parts if isinstance(part, Mark)]
        once += marks == ["<b>", "</b>"]
        if item.result.text.count(case.reference[1]) == 1:
            told += 1
            places = [n for n, part in enumerate(item.parts) if isinstance(part, Mark)]
            inside = "".join(str(part) for part in item.parts[places[0] + 1 : places[1]])
            right += inside.strip() == case.reference[1]
    return {"once": once / len(planted), "right": right / max(1, told), "told": told}


def numbers(folder: Path, source: str, target: str, limit: int) -> dict[str, float]:
    """How often human translations of sentences with numbers are flagged."""
    other = target if source == "en" else source
    pairs = [
        pair
        for name in SETS[other]
        for pair in _rows(folder / f"{name}.jsonl.gz", source)
        if re.search(r"\d", pair[0])
    ]
    random.Random(3).shuffle(pairs)
    flagged = [pair for pair in pairs[:limit] if lost(*pair)]
    return {"flagged": len(flagged) / max(1, len(pairs[:limit])), "sentences": len(pairs[:limit])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", default="duo-s")
    parser.add_argument("--limit", type=int, default=200, help="sentences for each direction")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the result")
    parser.add_argument("--quick", action="store_true", help="few sentences, to try the script")
    arguments = parser.parse_args()
    model = load(arguments.model)
    limit = 4 if arguments.quick else arguments.limit
    results: dict[str, Any] = {}
    for source, target in DIRECTIONS:
        planted = cases(arguments.data / "mt", source, target, limit)
        found = {
            "sentences": len(planted),
            "one": survival(model, planted, target),
            "three": several(model, planted, target),
            "tags": tagged(model, planted, target),
            "numbers": numbers(arguments.data / "mt", source, target, 5 * limit),
        }
        results[f"{source}-{target}"] = found
        for way, scores in found["one"].items():
            line = "  ".join(f"{name} {value:.3g}" for name, value in scores.items())
            print(f"{source}-{target}  {way:10} {line}")
        print(f"{source}-{target}  three {found['three']}  tags {found['tags']}", flush=True)
        print(f"{source}-{target}  numbers {found['numbers']}", flush=True)
    if not arguments.quick:
        values = {"model": arguments.model, "directions": results}
        write("placeholders", {**surroundings(("sacrebleu",)), **values}, arguments.output)


if __name__ == "__main__":
    main()
