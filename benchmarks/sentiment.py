"""Sentiment of a model on the test sets: how often it is right, and whether it knows how often.

    python benchmarks/sentiment.py --data DATA [--model duo-s] [--output FOLDER] [--quick]

Fits one temperature for each label set to all valid splits together, as `duologue calibrate` does,
and judges the test splits with and without it. Writes benchmarks/results/sentiment.json. --output
writes a model folder with these temperatures, and may be the model's own folder.
--quick takes few rows, to try the script out, and writes nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from report import surroundings, write

from duologue.api import model_folder
from duologue.apps.labels import Choice, classify_batch
from duologue.apps.sentiment import LABEL_SETS
from duologue.checkpoint.store import load_model, open_model, read_card, save_model
from duologue.config import replace
from duologue.evaluation.calibration import calibration_error, fit_temperature, tempered
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
SCORES = ("accuracy", "macro_f1", "ece_before", "ece")


@dataclass(frozen=True)
class Judged:
    """probabilities [num_rows, num_labels], uncalibrated; expected: index of each right label."""

    probabilities: np.ndarray
    expected: list[int]

    def joined(self, other: Judged) -> Judged:
        """Both, one after the other."""
        rows = np.concatenate([self.probabilities, other.probabilities])
        return Judged(rows, self.expected + other.expected)


def judged(runtime: Runtime, path: Path, split: str, labels: tuple[str, ...], limit: int) -> Judged:
    """What the model makes of a split; limit: rows at most, 0 for all."""
    cases = read_cases(Selection(path, split, limit=limit or None)).items
    texts = [case.segments[0].text for case in cases]
    results = classify_batch(runtime, texts, Choice("sentiment", labels), has_evidence=False)
    rows = np.array([list(result.probabilities.values()) for result in results])
    return Judged(rows, [labels.index(case.expected) for case in cases])


def scores(found: Judged, temperature: float) -> dict[str, float]:
    """SCORES, and how many rows they are of."""
    chosen = [str(place) for place in found.probabilities.argmax(axis=1)]
    expected = [str(place) for place in found.expected]
    is_right = [left == right for left, right in zip(chosen, expected, strict=True)]
    errors = [
        calibration_error(tempered(found.probabilities, at).max(axis=1).tolist(), is_right)
        for at in (1.0, temperature)
    ]
    values = (accuracy(chosen, expected), macro_f1(chosen, expected), *errors)
    return {"rows": len(expected), **dict(zip(SCORES, values, strict=True))}


def pooled(parts: Sequence[Judged]) -> Judged:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.joined(part)
    return whole


def measure(runtime: Runtime, folder: Path, limit: int) -> dict[str, Any]:
    """Temperatures and scores of everything; folder: the one with the files."""
    tests: dict[str, Judged] = {}
    temperatures: dict[str, float] = {}
    rows: dict[str, dict[str, float]] = {}
    for name, files in SETS.items():
        valid = []
        for file in files:
            path = folder / f"{file}.jsonl.gz"
            valid.append(judged(runtime, path, "valid", LABEL_SETS[name], limit))
            tests[file] = judged(runtime, path, "test", LABEL_SETS[name], limit)
        whole = pooled(valid)
        temperatures[name] = round(fit_temperature(whole.probabilities, whole.expected), 4)
        for file in files:
            rows[file] = scores(tests[file], temperatures[name])
    binary = SETS["sentiment"]
    for code, files in LANGUAGES.items():
        parts = [tests[file] for file in files if file in binary]
        rows[f"two labels, {code}"] = scores(pooled(parts), temperatures["sentiment"])
    rows["two labels"] = scores(pooled([tests[file] for file in binary]), temperatures["sentiment"])
    return {"temperatures": temperatures, "tests": rows}


def store(folder: Path, temperatures: dict[str, float], output: Path) -> None:
    """The model with these temperatures."""
    stored = open_model(folder).precision
    loaded = load_model(folder, stored)
    calibration = {**loaded.config.calibration, **temperatures}
    config = replace(loaded.config, calibration=calibration)
    save_model(output, config, loaded.weights, loaded.tokenizer, read_card(folder), stored)


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
    for name, temperature in found["temperatures"].items():
        print(f"{name}: temperature {temperature}")
    print(f"\n| test | rows | {' | '.join(SCORES)} |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, row in found["tests"].items():
        print(f"| {name} | {row['rows']:,} | {' | '.join(f'{row[s]:.3f}' for s in SCORES)} |")
    if arguments.output is not None:
        store(folder, found["temperatures"], arguments.output)
    if not arguments.quick:
        write("sentiment", surroundings(("duologue",)) | {"model": arguments.model} | found)


if __name__ == "__main__":
    main()
