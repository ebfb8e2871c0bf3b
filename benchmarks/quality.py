"""The quality of a model on the test sets, as its card states it.

    python benchmarks/quality.py --data DATA [--model duo-s] [--output reports]

Runs `duologue evaluate` once for each line of TESTS, on test splits that no training ever sees, and
prints one table. Writes benchmarks/results/quality.json, with the goals of the default model, and
P11: how many BLEU lie between int8 and float32 where both were run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import judge
from report import surroundings, write

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


FLICKR = ("--direction", "en-de", "--part", "test_2016_flickr")
TESTS = (
    Test("mt/multi30k.jsonl.gz", FLICKR, (("bleu", 30.0),)),
    Test("mt/multi30k.jsonl.gz", (*FLICKR, "--precision", "f32")),
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
    command = [sys.executable, "-m", "duologue.cli", "evaluate", "--json", *test.options]
    command += ["--model", arguments.model, "--data", str(arguments.data / test.file)]
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


def precision_gap(rows: list[dict[str, Any]]) -> float | None:
    """BLEU between int8 and float32, the largest of the tests that were run in both; else None."""
    in_float = ["--precision", "f32"]
    gaps = [
        abs(one["scores"]["bleu"]["value"] - other["scores"]["bleu"]["value"])
        for one in rows
        for other in rows
        if one["test"] == other["test"] and one["options"] + in_float == other["options"]
    ]
    return max(gaps, default=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", default="duo-s")
    parser.add_argument("--output", type=Path, help="folder for the full reports")
    arguments = parser.parse_args()
    rows = []
    print("| test | cases | scores | goal |\n| --- | ---: | --- | --- |")
    for test in TESTS:
        done = row(test, run(test, arguments))
        rows.append(done)
        scores = ", ".join(f"{name} {score['value']:.3g}" for name, score in done["scores"].items())
        goals = ", ".join(
            f"{name} ≥ {goal['goal']}: {'met' if goal['met'] else 'missed'}"
            for name, goal in done["goals"].items()
        )
        label = " ".join([test.file.partition(".")[0], *test.options])
        print(f"| {label} | {done['cases']:,} | {scores} | {goals} |", flush=True)
    gap = precision_gap(rows)
    goals = judge({} if gap is None else {"P11": gap})
    write("quality", surroundings(("duologue", "sacrebleu")) | {"goals": goals, "tests": rows})


if __name__ == "__main__":
    main()
