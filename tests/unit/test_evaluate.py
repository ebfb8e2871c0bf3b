"""Evaluation: which rows become cases, how predictions are scored, what the report says."""

from __future__ import annotations

import gzip
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duologue.checkpoint.store import ModelInfo, load_model
from duologue.cli import run
from duologue.config import ModelConfig
from duologue.engine.engine import Engine, SpecialIds
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory
from duologue.errors import DataError, InputError
from duologue.evaluation.cases import Case, Cases, Selection, read_cases
from duologue.evaluation.evaluate import Forced, evaluate, force_decode
from duologue.evaluation.report import Report, format_score
from duologue.text.template import prefix_ids, segment_ids
from duologue.types import Checks, Options, Result, Turn, Usage

PAIRS = [
    {"source": "a dog", "target": "一只狗", "src_lang": "en", "tgt_lang": "zh"},
    {"source": "猫", "target": "cat", "src_lang": "zh", "tgt_lang": "en"},
    {"source": "a bird", "target": "一只鸟", "src_lang": "en", "tgt_lang": "zh"},
]


def write_rows(path: Path, rows: Sequence[dict[str, Any]], split: str = "test") -> Path:
    lines = [json.dumps({"split": split, **row}, ensure_ascii=False) for row in rows]
    text = "".join(line + "\n" for line in lines)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


class EchoPredictor:
    """Says what it is told to say, whatever it reads."""

    def __init__(self, answers: Sequence[str], logprob: float = -1.0) -> None:
        self.answers = list(answers)
        self.logprob = logprob
        self.batches: list[int] = []

    def texts(self, cases: Sequence[Case], task: str) -> list[Result]:
        self.batches.append(len(cases))
        usage = Usage(produced_tokens=2)
        return [Result(self.answers.pop(0), "stop", usage=usage) for _ in cases]

    def labels(self, cases: Sequence[Case], task: str) -> list[Result]:
        return self.texts(cases, task)

    def logprobs(self, cases: Sequence[Case], task: str) -> list[list[float]]:
        return [[self.logprob] * 3 for _ in cases]


def cases_of(task: str, expected: Sequence[str], language: str = "en") -> Cases:
    items = [
        Case(index + 1, (Turn("user", "hello"),), text, language)
        for index, text in enumerate(expected)
    ]
    return Cases(task, "made", tuple(items), len(items))


def test_direction_takes_rows_of_both_orders_and_swaps_the_others(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pairs.jsonl.gz", PAIRS)
    cases = read_cases(Selection(path, direction="en-zh"))
    assert [(case.segments[0].text, case.expected, case.language) for case in cases.items] == [
        ("a dog", "一只狗", "zh"),
        ("cat", "猫", "zh"),
        ("a bird", "一只鸟", "zh"),
    ]
    assert (cases.task, cases.set, cases.num_rows) == ("translate", "pairs", 3)


def test_direction_leaves_other_languages_out_and_counts_them(tmp_path: Path) -> None:
    german = {"source": "Hund", "target": "dog", "src_lang": "de", "tgt_lang": "en"}
    path = write_rows(tmp_path / "pairs.jsonl", [*PAIRS, german])
    cases = read_cases(Selection(path, direction="zh-en"))
    assert len(cases.items) == 3
    assert cases.left_out == {"of direction de-en": 1}


def test_mixed_directions_without_a_choice_are_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pairs.jsonl", PAIRS)
    with pytest.raises(InputError, match="--direction"):
        read_cases(Selection(path))


@pytest.mark.parametrize("direction", ["en", "en-zh-de", "en-xx", "enzh", "-"])
def test_direction_that_is_not_two_languages_is_refused(tmp_path: Path, direction: str) -> None:
    path = write_rows(tmp_path / "pairs.jsonl", PAIRS)
    with pytest.raises(InputError, match="no direction"):
        read_cases(Selection(path, direction=direction))


def test_part_and_limit_choose_rows(tmp_path: Path) -> None:
    rows = [{**PAIRS[index % 2 * 2], "part": "ab"[index % 2]} for index in range(6)]
    path = write_rows(tmp_path / "pairs.jsonl", rows)
    cases = read_cases(Selection(path, part="b", limit=2))
    assert [case.line for case in cases.items] == [2, 4]


def test_tsv_without_a_header_is_read_in_the_chosen_direction(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("a dog\t一只狗\n", encoding="utf-8")
    cases = read_cases(Selection(path, split="train", direction="en-zh"))
    assert cases.items[0].expected == "一只狗"


def test_dialogue_gives_one_case_for_each_agent_turn_with_all_before_it(tmp_path: Path) -> None:
    roles = ["user", "agent", "user", "agent"]
    turns = [{"role": role, "text": str(index)} for index, role in enumerate(roles)]
    path = write_rows(tmp_path / "talk.jsonl", [{"turns": turns}])
    cases = read_cases(Selection(path))
    assert cases.task == "reply"
    assert cases.num_rows == 1
    assert [([turn.text for turn in case.segments], case.expected) for case in cases.items] == [
        (["0"], "1"),
        (["0", "1", "2"], "3"),
    ]


def test_label_rows_are_spelled_as_the_decoder_spells_them(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "bank.jsonl", [{"text": "where is it", "intent": "card_arrival"}])
    assert read_cases(Selection(path)).items[0].expected == "card arrival"


def test_rows_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "bank.jsonl", [{"text": "hi", "intent": "greet"}])
    with pytest.raises(DataError, match="1 of task intent"):
        read_cases(Selection(path, task="translate"))


def test_splits_without_rows_and_unknown_tasks_are_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pairs.jsonl", PAIRS, split="train")
    with pytest.raises(DataError, match="no row of split test"):
        read_cases(Selection(path))
    with pytest.raises(InputError, match="cannot evaluate 'summarise'"):
        read_cases(Selection(path, split="train", task="summarise"))
    with pytest.raises(DataError, match="no such file"):
        read_cases(Selection(tmp_path / "nowhere.jsonl"))


def test_evaluate_asks_in_batches_and_keeps_the_order() -> None:
    answers = [f"this is text number {index}" for index in range(150)]
    predictor = EchoPredictor(answers)
    seen: list[int] = []
    done = evaluate(predictor, cases_of("translate", answers), seen.append)
    assert predictor.batches == [64, 64, 22]
    assert seen == [64, 128, 150]
    assert [result.text for result in done.results] == answers
    assert done.scores["bleu"].value == pytest.approx(100)
    assert done.speed.tokens_per_s == pytest.approx(2 * done.speed.predictions_per_s)


def test_evaluate_scores_translations_into_chinese_by_character() -> None:
    done = evaluate(EchoPredictor(["一只大狗"]), cases_of("translate", ["一只大狗"], "zh"))
    assert "tok:zh" in done.scores["bleu"].signature
    assert done.scores["perplexity"].value == pytest.approx(math.e)


def test_evaluate_scores_labels_without_probabilities_of_texts() -> None:
    predictor = EchoPredictor(["card_arrival", "balance", "oos"])
    done = evaluate(predictor, cases_of("intent", ["card arrival", "card arrival", "oos"]))
    assert {name: score.value for name, score in done.scores.items()} == pytest.approx(
        {"accuracy": 2 / 3, "macro_f1": (2 / 3 + 0 + 1) / 3, "in_scope_accuracy": 0.5}
        | {"oos_recall": 1.0, "ece": 2 / 3}
    )


def test_evaluate_counts_what_results_warn_of() -> None:
    class Warns(EchoPredictor):
        def texts(self, cases: Sequence[Case], task: str) -> list[Result]:
            return [Result("x", "length", checks=Checks(trimmed_turns=3, repetition=True))]

    done = evaluate(Warns([]), cases_of("reply", ["x"]))
    assert done.warnings == {
        "source_truncated": 0,
        "trimmed_turns": 1,
        "cut_at_max_tokens": 1,
    }
    assert done.scores["loop_rate"].value == 1


class CountingForward:
    """Logits that depend on everything fed so far and on the memory; checks raggedness."""

    def __init__(self) -> None:
        self.widths: list[int] = []

    def start(self, memory: int) -> list[int]:
        return [memory]

    def decode_step(self, states: list[list[int]], ids: list[int]) -> np.ndarray:
        self.widths.append(len(states))
        for state, idx in zip(states, ids, strict=True):
            state.append(idx)
        return np.stack([self.logits(state) for state in states])

    @staticmethod
    def logits(state: list[int]) -> np.ndarray:
        return np.sin(np.arange(9, dtype=np.float32) * sum(state) + len(state)) * 3


def test_forced_decoding_equals_one_item_and_one_token_at_a_time() -> None:
    generator = np.random.default_rng(3)
    items = [
        Forced(
            memory,
            tuple(generator.integers(0, 9, size=generator.integers(1, 4)).tolist()),
            tuple(generator.integers(0, 9, size=generator.integers(1, 7)).tolist()),
        )
        for memory in range(7)
    ]
    forward = CountingForward()
    rows = force_decode(forward, items, max_rows=4)
    for item, row in zip(items, rows, strict=True):
        slow = []
        for index, idx in enumerate(item.target):
            state = [item.memory, *item.prefix, *item.target[:index]]
            weights = [math.exp(value) for value in CountingForward.logits(state)]
            slow.append(math.log(weights[idx] / sum(weights)))
        assert row.tolist() == pytest.approx(slow, rel=1e-5)
    assert max(forward.widths) == 4


@pytest.fixture
def report(tmp_path: Path) -> Report:
    path = write_rows(tmp_path / "pairs.jsonl", PAIRS)
    selection = Selection(path, direction="en-zh")
    cases = read_cases(selection)
    config = ModelConfig(vocab_size=10, d_model=8, num_heads=2)
    info = ModelInfo("some/tiny", config, 1234567, 99, "int8", "f" * 64)
    done = evaluate(EchoPredictor(["一只狗", "猫", "一只鸡"]), cases)
    return Report(info, selection, {"precision": "int8", "threads": 2}, cases, done)


def test_report_names_model_data_settings_and_signatures(report: Report) -> None:
    values = json.loads(json.dumps(report.to_dict()))
    assert values["model"]["fingerprint"] == "f" * 64
    assert len(values["data"]["sha256"]) == 64
    assert values["data"]["rows"] == 3
    assert values["settings"]["precision"] == "int8"
    assert "version:" in values["scores"]["bleu"]["signature"]
    text = report.to_markdown()
    assert "tiny on pairs" in text
    assert "predicted: 一只鸡" in text


def test_signatures_do_not_break_the_table_of_scores(report: Report) -> None:
    (row,) = [line for line in report.to_markdown().splitlines() if line.startswith("| bleu |")]
    assert row.replace("\\|", "").count("|") == 4


def test_report_is_saved_with_every_prediction(report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "deep"
    report.save(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "predictions.jsonl",
        "report.json",
        "report.md",
    ]
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["一只狗", "猫", "一只鸡"]


def test_report_that_cannot_be_written_leaves_nothing_half_written(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, text: str, **_: object) -> None:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="No space left on device"):
        report.save(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [("bleu", 23.449, "23.4"), ("perplexity", 12.345, "12.35"), ("accuracy", 0.91249, "0.912")],
)
def test_scores_are_printed_with_the_digits_that_mean_something(
    name: str, value: float, text: str
) -> None:
    assert format_score(name, value) == text


@pytest.mark.parametrize("cell", ["transformer", "gru"])
def test_forcing_what_greedy_search_said_gives_the_probabilities_it_said(
    cell: str, tiny_model_folder: Callable[..., Path]
) -> None:
    model = load_model(tiny_model_folder(cell), "int8")
    forward = Forward(model.config, model.weights, threads=1)
    engine = Engine(forward, SpecialIds((model.tokenizer.eos_id,)))
    prefix = prefix_ids(model.tokenizer, "reply")
    items, said = [], []
    for text in ("hello", "what time does the train leave"):
        memory = forward.encode(segment_ids(model.tokenizer, "user", text), Memory.empty())
        best = engine.generate(memory, prefix, Options(max_tokens=9)).hypotheses[0]
        items.append(Forced(memory, tuple(prefix), best.ids))
        said.append(best.token_logprobs[: len(best.ids)])
    for row, logprobs in zip(force_decode(forward, items), said, strict=True):
        assert row.tolist() == pytest.approx(list(logprobs), abs=1e-4)


def test_evaluate_without_its_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    assert run(["evaluate", "--data", str(tmp_path / "rows.jsonl")]) == 2
    message = "duologue: evaluating needs sacrebleu: pip install 'duologue[evaluate]'\n"
    assert capsys.readouterr().err == message
