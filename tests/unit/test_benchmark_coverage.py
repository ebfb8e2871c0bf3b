"""The scripts that measure coverage and glossaries, on a few made-up rows and a random model."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
NOUNS = {"the train": "火车", "the card": "卡片", "this film": "电影", "the food": "食物"}
VERBS = {"is late today": "今天晚了", "has not arrived yet": "还没到", "was very good": "很好"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with tatoeba_enzh, 12 rows in each split."""
    folder = tmp_path / "mt"
    folder.mkdir()
    with gzip.open(folder / "tatoeba_enzh.jsonl.gz", "wt", encoding="utf-8") as file:
        for split in ("train", "train", "train", "valid", "test"):
            for noun, their_noun in NOUNS.items():
                for verb, their_verb in VERBS.items():
                    row = {"source": f"{noun} {verb}.", "target": f"{their_noun}{their_verb}。"}
                    row |= {"split": split, "src_lang": "en", "tgt_lang": "zh"}
                    file.write(json.dumps(row) + "\n")
    return tmp_path


def run(name: str, data: Path, model: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / name), "--data", str(data), "--model", str(model)]
    command += ["--only", "tatoeba_enzh", "--output", str(data), *more]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_planted_faults_are_where_the_case_says(data: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import planted

    file = data / "mt" / "tatoeba_enzh.jsonl.gz"
    for direction in ("en-zh", "zh-en"):
        for item in planted.items(file, "test", direction, 9, random.Random(1)):
            whole = planted.plant(item, "clean", item.target, random.Random(0))
            for kind in planted.KINDS:
                case = planted.plant(item, kind, item.target, random.Random(0))
                assert case.text != whole.text
                assert case.source_text == whole.source_text
                if case.bad_source is not None:
                    assert case.source_text[slice(*case.bad_source)] in item.source
                if case.bad_target is not None:
                    assert case.text[slice(*case.bad_target)] in (*item.target, item.other)
            assert whole.said_of(0, len(whole.source_text)) == whole.text


def test_a_fault_is_gone_when_what_was_lost_is_said_again(monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import planted

    source = ("Ein Hund rennt.", "Eine Katze schläft.")
    human = ("A dog is running.", "A cat is asleep.")
    own = ("A dog runs, runs, runs, it runs, runs.", "A cat sleeps on the sofa.")
    other = "My brother reads newspapers."
    item = planted.Item("set", "de-en", "sentences", source, human, other)
    clean = planted.plant(item, "clean", own, random.Random(0))

    def is_gone(kind: str, text: str) -> bool:
        case = planted.plant(item, kind, own, random.Random(2))
        assert case.place == (1 if kind == "truncate" else 0)
        return bool(planted.is_gone(case, text, clean))

    for kind in ("delete", "swap"):
        assert is_gone(kind, "A dog runs. A cat sleeps on the sofa.")
        assert is_gone(kind, "A dog is running. A cat sleeps on the sofa.")
        assert is_gone(kind, "This animal hurries. A cat sleeps on the sofa.")
        assert not is_gone(kind, "A cat on the sofa.")
    assert not is_gone("swap", "Brother reads his newspapers. A cat sleeps on the sofa.")
    assert is_gone("truncate", "A dog runs. A cat sleeps on the sofa.")
    assert is_gone("truncate", "A dog runs. A cat is asleep.")
    assert not is_gone("truncate", "A dog runs, it runs, it runs, it runs. A cat sleeps.")
    assert not is_gone("repeat", "A dog runs it. A dog runs it. A cat sleeps on the sofa.")
    assert is_gone("repeat", "A dog runs it. A cat sleeps on the sofa.")


def test_the_coverage_script_writes_its_tables(
    data: Path, tiny_model_folder: Callable[..., Path]
) -> None:
    model = tiny_model_folder("transformer")
    run("coverage.py", data, model, "--items", "1", "--texts", "2")
    values = json.loads((data / "coverage.json").read_text(encoding="utf-8"))
    kinds = {"clean", "delete", "swap", "repeat", "truncate"}
    assert values["check"].keys() == values["repair"].keys() == kinds
    assert {row["direction"] for row in values["scores"]} == {"en-zh", "zh-en"}
    assert "UNCOVERED" in run("coverage.py", data, model, "--items", "2", "--fit").stdout


def test_the_glossary_script_finds_terms_and_writes_how_many_come_out(
    data: Path, tiny_model_folder: Callable[..., Path]
) -> None:
    run("glossary.py", data, tiny_model_folder("transformer"), "--texts", "2")
    values = json.loads((data / "glossary.json").read_text(encoding="utf-8"))
    assert [row["direction"] for row in values["sets"]] == ["en-zh", "zh-en"]
    for row in values["sets"]:
        assert row["terms"] > 0
        assert 0 <= row["with"]["come_out"] <= 1
