"""evaluate: scores on a data file, with a report that says how they were made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_process import RunCli, assert_refused, lines_of

Folders = Callable[..., Path]

ROWS: dict[str, list[dict[str, Any]]] = {
    "translate": [
        {"source": "hello", "target": "你好", "src_lang": "en", "tgt_lang": "zh"},
        {"source": "再见", "target": "goodbye", "src_lang": "zh", "tgt_lang": "en"},
    ],
    "sentiment": [
        {"text": "it was great", "label": "positive"},
        {"text": "it was cold", "label": "negative"},
        {"text": "it was", "label": "neutral"},
    ],
    "intent": [{"text": "where is my card", "intent": "card_arrival"}],
    "reply": [
        {
            "turns": [
                {"role": "user", "text": "hello"},
                {"role": "agent", "text": "how are you"},
                {"role": "agent", "text": "today"},
                {"role": "user", "text": "the food was cold"},
                {"role": "agent", "text": "what time does the train leave"},
            ]
        }
    ],
}
OPTIONS = {"translate": ["--direction", "en-zh"], "intent": ["--labels", "bank"]}


@pytest.fixture
def evaluate(tiny_model_folder: Folders) -> list[str]:
    return ["evaluate", "--threads", "1", "--model", str(tiny_model_folder())]


def write(folder: Path, task: str) -> Path:
    path = folder / f"{task}.jsonl"
    lines = [json.dumps({"split": "test", **row}, ensure_ascii=False) for row in ROWS[task]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("task", "scores", "cases"),
    [
        ("translate", {"bleu", "chrf", "perplexity", "loop_rate"}, 2),
        ("sentiment", {"accuracy", "macro_f1"}, 3),
        ("intent", {"accuracy", "macro_f1"}, 1),
        ("reply", {"bleu", "perplexity", "distinct_1", "distinct_2", "repetition_rate"}, 3),
    ],
)
def test_report_has_the_scores_of_the_task(
    run_cli: RunCli,
    evaluate: list[str],
    tmp_path: Path,
    task: str,
    scores: set[str],
    cases: int,
) -> None:
    path = write(tmp_path, task)
    done = run_cli(*evaluate, "--data", path, "--json", "--output", "out", *OPTIONS.get(task, []))
    report = json.loads(lines_of(done)[0])
    assert done.stderr == b""
    assert report["task"] == task
    assert set(report["scores"]) >= scores
    assert report["data"]["cases"] == cases
    assert report["settings"]["threads"] == 1
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    predictions = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    assert len(predictions) == cases


def test_batched_replies_are_those_of_a_conversation(
    run_cli: RunCli, evaluate: list[str], tmp_path: Path
) -> None:
    run_cli(*evaluate, "--data", write(tmp_path, "reply"), "--output", "out")
    first = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()[0]
    said = run_cli("chat", *evaluate[1:], "--json", stdin=b"hello\n")
    assert json.loads(first)["text"] == json.loads(lines_of(said)[0])["text"]


def test_summary_is_for_people(run_cli: RunCli, evaluate: list[str], tmp_path: Path) -> None:
    path = write(tmp_path, "translate")
    text = "\n".join(lines_of(run_cli(*evaluate, "--data", path, "--direction", "zh-en")))
    assert "tok:13a" in text
    assert "predictions/s" in text


def test_data_that_cannot_be_used_is_refused(
    run_cli: RunCli, evaluate: list[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"split": "test", "text": "a", "label": "b"}\n{"split": \n')
    assert_refused(run_cli(*evaluate, "--data", broken), "line 2")
    assert_refused(run_cli(*evaluate, "--data", "nowhere.jsonl"), "nowhere.jsonl")
    path = write(tmp_path, "intent")
    assert_refused(run_cli(*evaluate, "--data", path), "'intent'", "bank")
    assert_refused(run_cli(*evaluate, "--data", path, "--task", "sing"), "sing", "translate")
