"""The assistant's benchmark on data of its own: what counts as right, and that it runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from row_files import write_rows

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("assistant")


def row(text: str, intent: str, split: str = "train", **slots: str) -> dict[str, Any]:
    pairs = [{"slot": name, "value": value} for name, value in slots.items()]
    return {"text": text, "intent": intent, "split": split, "lang": "en", "slots": pairs}


ROWS = [
    row("play some jazz", "play", genre="jazz"),
    row("play rock music please", "play", genre="rock"),
    row("what is the weather in Rome", "weather", place="Rome"),
    row("how is the weather", "weather"),
    row("i lost my hat", "oos"),
    row("play some rock", "play", "test", genre="rock"),
    row("how is the weather", "weather", "test"),
    row("qwerty uiop", "oos", "test"),
]


def test_it_runs_on_a_tiny_set_and_writes_nothing_when_quick(
    benchmark: Any,
    tmp_path: Path,
    tiny_model_folder: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_rows(tmp_path / "intent" / "snips.jsonl.gz", ROWS)
    monkeypatch.setattr(benchmark, "write", lambda *_: pytest.fail("--quick writes nothing"))
    arguments = ["assistant.py", "--data", str(tmp_path), "--sets", "snips", "--examples", "2"]
    arguments += ["--quick", "--model", str(tiny_model_folder())]
    monkeypatch.setattr(sys, "argv", arguments)
    benchmark.main()
    out = capsys.readouterr().out
    assert out.startswith("snips, 2 examples (4): intent_accuracy ")
    assert "out_of_scope_recall" in out


def test_a_declaration_has_the_values_of_its_rows(benchmark: Any) -> None:
    declaration = benchmark.declared(benchmark.chosen(ROWS[:5], 1))
    assert set(declaration.intents) == {"play", "weather"}
    assert len(declaration.out_of_scope) == 1
    assert [len(intent.examples) for intent in declaration.intents.values()] == [1, 1]
    everything = benchmark.declared(benchmark.chosen(ROWS[:5], 0))
    assert everything.num_examples == 4
    assert everything.intents["play"].examples[0].slots == ("genre",)


def test_slots_that_are_not_in_the_text_cannot_be_missed(benchmark: Any) -> None:
    item = row("搜索 电视 连续剧", "x", what="电视连续剧", other="电影")
    assert benchmark.wanted_slots(item) == {("what", "电视连续剧")}


def test_newer_rows_take_the_place_of_older_ones(benchmark: Any) -> None:
    def made(name: str, score: float) -> dict[str, Any]:
        return {"model": "m", "set": name, "examples_per_intent": 8, "score": score}

    joined = benchmark.joined([made("a", 1), made("b", 1)], [made("b", 2)])
    assert [item["score"] for item in joined] == [1, 2]
