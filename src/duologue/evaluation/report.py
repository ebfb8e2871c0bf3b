"""What an evaluation is written down as: JSON for programs, Markdown for people.

A report says which model, which data (by content), which settings and which machine gave the
scores, so that the same command gives the same scores again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from duologue.checkpoint.card import model_name
from duologue.checkpoint.store import ModelInfo
from duologue.config import to_dict
from duologue.errors import InputError
from duologue.evaluation.cases import Cases, Selection
from duologue.evaluation.evaluate import Evaluation
from duologue.files import new_file

NUM_SAMPLES = 10


@dataclass(frozen=True)
class Report:
    """One evaluation, complete.

    settings  everything that was chosen for the run, as plain values
    """

    model: ModelInfo
    selection: Selection
    settings: dict[str, Any]
    cases: Cases
    evaluation: Evaluation

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON-ready values, without the single predictions."""
        selection, cases, done = self.selection, self.cases, self.evaluation
        return {
            "task": cases.task,
            "model": {
                "name": model_name(Path(self.model.path)),
                "fingerprint": self.model.fingerprint,
                "parameters": self.model.parameters,
                "config": to_dict(self.model.config),
            },
            "data": {
                "set": cases.set,
                "file": selection.path.name,
                "sha256": _sha256(selection.path),
                "split": selection.split,
                "direction": selection.direction,
                "part": selection.part,
                "limit": selection.limit,
                "rows": cases.num_rows,
                "cases": len(cases.items),
                "left_out": cases.left_out,
            },
            "settings": self.settings,
            "machine": {
                "processor": _processor(),
                "cpus": os.cpu_count(),
                "python": platform.python_version(),
            },
            "scores": {name: asdict(score) for name, score in done.scores.items()},
            "warnings": done.warnings,
            "speed": asdict(done.speed),
        }

    def to_markdown(self) -> str:
        """The report for people, with the first few predictions."""
        values = self.to_dict()
        model, data, speed = values["model"], values["data"], values["speed"]
        lines = [
            f"# {values['task']}: {model['name']} on {data['set']}",
            "",
            f"- model: {model['name']}, {model['parameters']:,} parameters, "
            f"fingerprint {model['fingerprint'][:16]}",
            f"- data: {data['file']}, split {data['split']}, {data['rows']} rows, "
            f"{data['cases']} cases, sha256 {data['sha256'][:16]}",
            *(f"- left out: {count} rows {why}" for why, count in data["left_out"].items()),
            f"- settings: {_pairs(values['settings'])}",
            f"- machine: {_pairs(values['machine'])}",
            f"- speed: {speed['predictions_per_s']:.1f} predictions/s, "
            f"{speed['tokens_per_s']:.0f} tokens/s",
            f"- warnings: {_pairs(values['warnings'])}",
            "",
            "| score | value | signature |",
            "| --- | ---: | --- |",
        ]
        for name, score in self.evaluation.scores.items():
            signature = score.signature.replace("|", "\\|")  # else it would end the cell
            lines.append(f"| {name} | {format_score(name, score.value)} | {signature} |")
        lines += ["", "## First predictions", ""]
        pairs = zip(self.cases.items, self.evaluation.results, strict=True)
        for case, result in list(pairs)[:NUM_SAMPLES]:
            lines += [
                f"- line {case.line}: {_one_line(case.segments[-1].text)}",
                f"  - expected: {_one_line(case.expected)}",
                f"  - predicted: {_one_line(result.text)}",
            ]
        return "\n".join(lines) + "\n"

    def save(self, folder: Path) -> None:
        """Write report.json, report.md and predictions.jsonl into a folder, made if needed.

        Each file is complete or not there; raises InputError if it cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / "report.json", json.dumps(self.to_dict(), indent=2, ensure_ascii=False))
            _write(folder / "report.md", self.to_markdown())
            _write(folder / "predictions.jsonl", "".join(self._prediction_lines()))
        except OSError as error:
            raise InputError(f"{folder}: cannot be written: {error.strerror}") from None

    def _prediction_lines(self) -> Iterator[str]:
        for case, result in zip(self.cases.items, self.evaluation.results, strict=True):
            row = {"line": case.line, "expected": case.expected, **result.to_dict()}
            yield json.dumps(row, ensure_ascii=False) + "\n"


def format_score(name: str, value: float) -> str:
    """A score with the digits that mean something: BLEU 23.4, accuracy 0.913, perplexity 12.31."""
    if name in ("bleu", "chrf"):
        return f"{value:.1f}"
    return f"{value:.2f}" if name == "perplexity" else f"{value:.3f}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _processor() -> str:
    """The processor's name where the system tells it, else its kind."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _write(path: Path, text: str) -> None:
    with new_file(path, 0o666) as fresh:
        fresh.write_text(text, encoding="utf-8")
