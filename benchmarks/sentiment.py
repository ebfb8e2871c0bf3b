"""Sentiment of a model on the test sets: how often it is right, and whether it knows how often.

    python benchmarks/sentiment.py --data DATA [--model duo-s] [--output FOLDER] [--quick]

Fits temperatures for each label set, one for all languages and one for each, to all valid splits
together, as `duologue calibrate` does, and judges the test splits without them, with the one, and
with those of each language. Writes benchmarks/results/sentiment.json. --output writes a model
folder with these temperatures, and may be the model's own folder.
--quick takes few rows, to try the script out, and writes nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from report import surroundings, write

from duologue.api import model_folder
from duologue.apps.labels import Choice, classify_batch
from duologue.apps.sentiment import LABEL_SETS
from duologue.checkpoint.store import load_model
from duologue.cli.calibrate import store
from duologue.evaluation.calibration import (
    Temperatures,
    fit_temperatures,
    label_error,
    mean_loss,
    tempered,
)
from duologue.evaluation.cases import Selection, read_cases
from duologue.evaluation.metrics import accuracy, macro_f1
from duologue.runtime import Runtime

QUICK_ROWS = 20
SETS = {
    "sentiment": ("sst2", "pros_cons", "chnsenticorp", "online_shopping", "waimai", "hotel"),
    "sentiment3": ("tweet_sentiment",),
}
LANGUAGES = {
    "en": ("sst2", "pros_cons", "tweet_sentiment"),
    "zh": ("chnsenticorp", "online_shopping", "waimai", "hotel"),
}
SCORES = ("accuracy", "macro_f1", "ece_before", "ece_one", "ece", "loss_before", "loss")


@dataclass(frozen=True)
class Judged:
    """probabilities [num_texts, num_labels], uncalibrated; expected: index of each right label."""

    probabilities: np.ndarray
    expected: list[int]
    texts: list[str]

    def joined(self, other: Judged) -> Judged:
        """Both, one after the other."""
        rows = np.concatenate([self.probabilities, other.probabilities])
        return Judged(rows, self.expected + other.expected, self.texts + other.texts)

    def fitted(self) -> Temperatures:
        return fit_temperatures(self.probabilities, self.expected, self.texts)


def judged(runtime: Runtime, path: Path, split: str, labels: tuple[str, ...], limit: int) -> Judged:
    """What the model makes of a split; limit: rows at most, 0 for all."""
    cases = read_cases(Selection(path, split, limit=limit or None)).items
    texts = [case.segments[0].text for case in cases]
    results = classify_batch(runtime, texts, Choice("sentiment", labels), has_evidence=False)
    rows = np.array([list(result.probabilities.values()) for result in results])
    return Judged(rows, [labels.index(case.expected) for case in cases], texts)


def scores(found: Judged, temperatures: Temperatures) -> dict[str, float]:
    """SCORES, and how many rows they are of; one: at the temperature for all languages."""
    chosen = [str(place) for place in found.probabilities.argmax(axis=1)]
    expected = [str(place) for place in found.expected]
    before = found.probabilities
    one, after = tempered(before, temperatures.common), temperatures.applied(before, found.texts)
    errors = (label_error(rows, found.expected) for rows in (before, one, after))
    losses = (mean_loss(rows, found.expected) for rows in (before, after))
    values = (accuracy(chosen, expected), macro_f1(chosen, expected), *errors, *losses)
    return {"rows": len(expected), **dict(zip(SCORES, values, strict=True))}


def pooled(parts: Sequence[Judged]) -> Judged:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.joined(part)
    return whole


def measure(runtime: Runtime, folder: Path, limit: int) -> dict[str, Any]:
    """Temperatures and scores of everything; folder: the one with the files."""
    tests: dict[str, Judged] = {}
    temperatures: dict[str, Temperatures] = {}
    rows: dict[str, dict[str, float]] = {}
    for name, files in SETS.items():
        valid = []
        for file in files:
            path = folder / f"{file}.jsonl.gz"
            valid.append(judged(runtime, path, "valid", LABEL_SETS[name], limit))
            tests[file] = judged(runtime, path, "test", LABEL_SETS[name], limit)
        temperatures[name] = pooled(valid).fitted()
        for file in files:
            rows[file] = scores(tests[file], temperatures[name])
    binary = SETS["sentiment"]
    for code, files in LANGUAGES.items():
        parts = [tests[file] for file in files if file in binary]
        rows[f"two labels, {code}"] = scores(pooled(parts), temperatures["sentiment"])
    rows["two labels"] = scores(pooled([tests[file] for file in binary]), temperatures["sentiment"])
    return {"temperatures": temperatures, "tests": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", default="duo-s")
    parser.add_argument("--output", type=Path, help="model folder to write, with the temperatures")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--quick", action="store_true", help="few rows, to try the script out")
    arguments = parser.parse_args()
    folder = model_folder(arguments.model)
    runtime = Runtime(load_model(folder), arguments.threads)
    limit = QUICK_ROWS if arguments.quick else 0
    found = measure(runtime, arguments.data / "sentiment", limit)
    for name, temperatures in found["temperatures"].items():
        print(f"{name}: temperature {temperatures.common}, {temperatures.by_language}")
    print(f"\n| test | rows | {' | '.join(SCORES)} |\n| --- |{' ---: |' * (len(SCORES) + 1)}")
    for name, row in found["tests"].items():
        print(f"| {name} | {row['rows']:,} | {' | '.join(f'{row[s]:.3f}' for s in SCORES)} |")
    if arguments.output is not None:
        store(folder, found["temperatures"], arguments.output)
    if not arguments.quick:
        found["temperatures"] = {name: asdict(one) for name, one in found["temperatures"].items()}
        write("sentiment", surroundings(("duologue",)) | {"model": arguments.model} | found)


if __name__ == "__main__":
    main()
