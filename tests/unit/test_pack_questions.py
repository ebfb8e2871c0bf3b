"""recipes/pack_questions.py: paragraphs with questions become rows of passages and questions."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from row_files import write_rows

SCRIPT = Path(__file__).parents[2] / "recipes" / "pack_questions.py"
SETS = ("squad_subset", "drcd", "cmrc2018", "policyqa", "subjqa")


def paragraph(number: int, split: str) -> list[dict[str, Any]]:
    """A long paragraph, with a question about its first sentence and one about its last."""
    filler = f"Nothing else is known of town {number}. " * 18
    context = f"The mayor of town {number} is Ann{number}. {filler}Its river is the Blau{number}."
    base = {"task": "qa", "context": context, "lang": "en", "split": split}
    return [
        {**base, "question": f"Who is the mayor of town {number}?", "answers": [f"Ann{number}"]},
        {**base, "question": f"Which river has town {number}?", "answers": [f"the Blau{number}"]},
    ]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    root = tmp_path_factory.mktemp("packed")
    splits = ["test", "valid", *["train"] * 10, "valid"]
    given = [row for number, split in enumerate(splits) for row in paragraph(number, split)]
    for name in SETS:
        write_rows(root / "qa" / f"{name}.jsonl.gz", given)
    command = [sys.executable, str(SCRIPT), str(root), str(root / "out"), "--variants", "3"]
    subprocess.run(command, check=True, capture_output=True)
    rows = {}
    for name in SETS:
        with gzip.open(root / "out" / f"qa_{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows[name] = [json.loads(line) for line in lines]
    return rows


def test_every_answer_stands_in_a_passage_and_a_foreign_question_has_none(
    packed: dict[str, list[dict[str, Any]]],
) -> None:
    foreign = 0
    for rows in packed.values():
        for row in rows:
            text = "\n".join(row["contexts"])
            for question in row["questions"]:
                town = question["question"].split("town ")[1].strip("?")
                assert bool(question["answers"]) == (f"town {town} " in text)
                assert all(answer in text for answer in question["answers"])
                foreign += not question["answers"]
    assert foreign > 0


def test_test_splits_are_left_out_and_train_paragraphs_come_several_times(
    packed: dict[str, list[dict[str, Any]]],
) -> None:
    for rows in packed.values():
        assert [row["split"] for row in rows].count("train") == 10 * 3
        assert [row["split"] for row in rows].count("valid") == 2
        assert not any("town 0 " in passage for row in rows for passage in row["contexts"])


def test_passages_are_short_and_others_stand_beside_those_of_facts_alone(
    packed: dict[str, list[dict[str, Any]]],
) -> None:
    for name, rows in packed.items():
        for row in rows:
            assert all(len(passage) <= 520 for passage in row["contexts"])
            towns = {passage.split("town ")[1].split()[0].strip(".") for passage in row["contexts"]}
            assert len(towns) == 1 or name in ("squad_subset", "drcd", "cmrc2018")
    assert any(len(row["contexts"]) > 2 for row in packed["drcd"])
