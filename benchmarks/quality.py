"""The quality of a model on the test sets, as its card states it.

    python benchmarks/quality.py --data DATA [--model duo-s] [--exact FOLDER] [--output reports]

Runs `duologue evaluate` once for each line of TESTS, on test splits that no training ever sees, and
prints one table. Writes benchmarks/results/quality.json, with the goals of the default model.

    P11   BLEU of int8 and of float32 weights, how far apart

What rounding costs can be said only of weights that are not rounded yet: --exact names the folder
of the same model in float32, from which the lines with a precision are computed. Without float32
weights there is no P11. --quick writes nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import judge
from report import surroundings, write

from duologue.api import model_folder
from duologue.checkpoint.store import model_info

QUICK_ROWS = "3"

TASK_SCORES = {
    "translate": ("bleu", "chrf"),
    "sentiment": ("accuracy", "macro_f1"),
    "intent": ("accuracy", "in_scope_accuracy", "oos_recall", "macro_f1"),
    "reply": ("perplexity", "distinct_2", "repetition_rate", "loop_rate"),
}


@dataclass(frozen=True)
class Test:
    """One run of `duologue evaluate`.

    goals  score -> least value, for a model that was trained on a CPU alone
    """

    file: str
    options: tuple[str, ...] = ()
    goals: tuple[tuple[str, float], ...] = ()

    @property
    def precision(self) -> str | None:
        """The precision that the line names."""
        return dict(zip(self.options[::2], self.options[1::2], strict=True)).get("--precision")


FLICKR = ("--direction", "en-de", "--part", "test_2016_flickr")
TESTS = (
    Test("mt/multi30k.jsonl.gz", FLICKR, (("bleu", 30.0),)),
    Test("mt/multi30k.jsonl.gz", (*FLICKR, "--precision", "f32")),
    Test("mt/multi30k.jsonl.gz", (*FLICKR, "--precision", "int8")),
    Test("mt/multi30k.jsonl.gz", (*FLICKR, "--precision", "int4")),
    Test("mt/multi30k.jsonl.gz", ("--direction", "de-en", "--part", "test_2016_flickr")),
    Test("mt/tatoeba_enzh.jsonl.gz", ("--direction", "en-zh"), (("bleu", 12.0),)),
    Test("mt/tatoeba_enzh.jsonl.gz", ("--direction", "zh-en"), (("bleu", 12.0),)),
    Test("mt/tatoeba_ende.jsonl.gz", ("--direction", "en-de", "--limit", "1000")),
    Test("sentiment/sst2.jsonl.gz", (), (("accuracy", 0.76),)),
    Test("sentiment/chnsenticorp.jsonl.gz", (), (("accuracy", 0.84),)),
    Test("intent/banking77.jsonl.gz", (), (("accuracy", 0.78),)),
    Test("intent/clinc150.jsonl.gz", (), (("in_scope_accuracy", 0.82),)),
    Test("dialogue/sgd.jsonl.gz", ("--limit", "60")),
    Test("dialogue/star.jsonl.gz", ("--limit", "40")),
    Test("dialogue/crosswoz.jsonl.gz", ("--limit", "60")),
)


def run(test: Test, arguments: argparse.Namespace) -> dict[str, Any]:
    """The JSON report of one test."""
    model = arguments.exact if test.precision is not None else arguments.model
    command = [sys.executable, "-m", "duologue.cli", "evaluate", "--json", *test.options]
    command += ["--model", model, "--data", str(arguments.data / test.file)]
    if arguments.quick:
        command += ["--limit", QUICK_ROWS]
    if arguments.output is not None:
        name = "-".join([Path(test.file).name.partition(".")[0], *test.options[1::2]])
        command += ["--output", str(arguments.output / name)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    report: dict[str, Any] = json.loads(output)
    return report


def row(test: Test, report: dict[str, Any]) -> dict[str, Any]:
    """What the table and the result file keep of a report."""
    data = report["data"]
    scores = {
        name: score
        for name, score in report["scores"].items()
        if name in TASK_SCORES[report["task"]]
    }
    goals = {
        name: {"goal": goal, "value": scores[name]["value"], "met": scores[name]["value"] >= goal}
        for name, goal in test.goals
    }
    return {
        "test": test.file,
        "options": list(test.options),
        "sha256": data["sha256"],
        "cases": data["cases"],
        "scores": scores,
        "goals": goals,
        "speed": report["speed"],
    }


def line(test: Test, done: dict[str, Any]) -> str:
    """One line of the table."""
    scores = ", ".join(f"{name} {score['value']:.3g}" for name, score in done["scores"].items())
    goals = ", ".join(
        f"{name} ≥ {goal['goal']}: {'met' if goal['met'] else 'missed'}"
        for name, goal in done["goals"].items()
    )
    label = " ".join([test.file.partition(".")[0], *test.options])
    return f"| {label} | {done['cases']:,} | {scores} | {goals} |"


def compare(rows: dict[Test, dict[str, Any]], stored: str) -> dict[str, Any]:
    """What each precision costs: BLEU of the lines that name one, and the goal P11.

    stored  precision of the weights that those lines were computed from
    """
    bleu = {
        test.precision: done["scores"]["bleu"]["value"]
        for test, done in rows.items()
        if test.precision is not None
    }
    compared = {"stored": stored, "bleu": bleu}
    if stored != "f32":
        return {"precisions": compared, "goals": {}}
    apart = abs(bleu["f32"] - bleu["int8"])
    return {"precisions": compared, "goals": judge({"P11": apart})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", default="duo-s")
    parser.add_argument("--exact", help="folder of the same model in float32; --model if not given")
    parser.add_argument("--output", type=Path, help="folder for the full reports")
    parser.add_argument("--quick", action="store_true", help="few rows, to try the script out")
    arguments = parser.parse_args()
    arguments.exact = arguments.exact or arguments.model
    stored = model_info(model_folder(arguments.exact)).precision
    rows = {}
    print("| test | cases | scores | goal |\n| --- | ---: | --- | --- |")
    tests = [replace(test, goals=()) for test in TESTS] if arguments.quick else TESTS
    for test in tests:
        rows[test] = row(test, run(test, arguments))
        print(line(test, rows[test]), flush=True)
    compared = compare(rows, stored)
    bleu = compared["precisions"]["bleu"]
    print("\nBLEU: " + ", ".join(f"{name} {value:.2f}" for name, value in bleu.items()))
    for name, goal in compared["goals"].items():
        met = "met" if goal["met"] else "missed"
        print(
            f"{name}  {goal['value']:.2f} (≤ {goal['goal']}, {met}): BLEU of int8 against float32"
        )
    if not compared["goals"]:
        print(f"no P11: the weights are {stored} already; give those in float32 with --exact")
    if not arguments.quick:
        values = surroundings(("duologue", "sacrebleu")) | compared
        write("quality", values | {"tests": list(rows.values())})


if __name__ == "__main__":
    main()
