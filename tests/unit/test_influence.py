"""What translations, labels, replies and answers from documents need of what was read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_process import RunCli
from support_bases import opened, write_files

from duologue import ErasureOptions
from duologue.api import Model, load
from duologue.apps.influence import MAX_PIECES
from duologue.apps.support import KnowledgeBase
from duologue.errors import InputError
from duologue.explain import erasure
from duologue.types import Options, Result, Span

TEXT = "the card has not arrived yet, can you help me?"
SHORT = Options(max_tokens=5)


@pytest.fixture(scope="module", params=["transformer", "gru"])
def model(request: pytest.FixtureRequest, tiny_model_folder: Callable[..., Path]) -> Model:
    return load(tiny_model_folder(request.param), threads=1)


@pytest.fixture(autouse=True)
def _sees_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "_MIN_DROP", 1e-6)  # a random model hardly reads


def assert_spans(spans: tuple[Span, ...], *texts: str) -> None:
    assert spans
    assert sum(span.score for span in spans) <= 1 + 1e-6
    for span in spans:
        assert texts[span.segment][span.start : span.end] == span.text
        assert 0 < span.score <= 1


# --- texts ---------------------------------------------------------------------------------------


def test_a_result_is_explained_and_stays_what_it_is(model: Model) -> None:
    result = model.translate(TEXT, to="zh", options=SHORT)
    explained = model.explain(TEXT, result, "translate", to="zh", from_="auto")
    assert_spans(explained.influence, TEXT)
    assert (explained.text, explained.confidence) == (result.text, result.confidence)
    assert explained.to_dict()["influence"][0]["segment"] == 0


@pytest.mark.parametrize("text", [f" \n {TEXT}  ", f"{TEXT} hello how are you.\nwhat time?"])
def test_offsets_count_characters_of_the_whole_text(model: Model, text: str) -> None:
    for answer in ("好。", "好。好。\n好？", "a\nb\nc"):
        explained = model.explain(text, answer, "translate", to="zh")
        assert_spans(explained.influence, text)
        assert 0 < explained.confidence < 1


def test_a_sentence_is_explained_by_its_own_translation(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = model._runtime.source

    def source(text: str, *others: Any) -> Any:
        asked.append(text)
        return real(text, *others)

    monkeypatch.setattr(model._runtime, "source", source)
    model.explain("hello. how are you?\ntwo.", "ah. be?\nsee.", "translate", to="zh")
    assert asked == ["hello.", "how are you?", "two."]
    asked.clear()
    model.explain("hello. how are you?\ntwo.", "ah.\nsee.", "translate", to="zh")
    assert asked == ["hello. how are you?", "two."]


def test_a_label_is_explained_by_its_probability_among_all(model: Model) -> None:
    result = model.sentiment(TEXT)
    explained = model.explain(TEXT, result, "sentiment")
    assert_spans(explained.influence, TEXT)
    assert explained == model.explain(TEXT, explained, "sentiment")
    labels = ("negative", "positive")
    other = next(label for label in labels if label != result.text)
    against = model.explain(TEXT, other, "sentiment", labels=labels)
    assert against.confidence == pytest.approx(1 - result.confidence, abs=1e-3)
    both = {(s.start, s.end) for s in against.influence} & {
        (s.start, s.end) for s in explained.influence
    }
    assert not both, "what speaks for one of two labels does not speak for the other"


def test_what_cannot_be_explained_is_refused(model: Model) -> None:
    def refused(words: str, *arguments: Any, **options: Any) -> None:
        with pytest.raises(InputError, match=words):
            model.explain(*arguments, **options)

    refused("empty", " ", "a", "translate", to="zh")
    refused("which labels", TEXT, "positive", "sentiment")
    refused("none of the labels", TEXT, "good", "sentiment", labels=("negative", "positive"))
    refused("xx", TEXT, "a", "translate", to="xx")
    refused("has not learnt", TEXT, "a", "dance")
    refused("at most", "a.\n" * (MAX_PIECES + 1), "b.\n" * (MAX_PIECES + 1), "translate", to="zh")
    refused("room for", "hello how are you " * 40, "a", "translate", to="zh")
    nothing = Result("", "length")
    assert model.explain(TEXT, nothing, "translate", to="zh") == nothing


def test_options_bound_the_cost(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, num_scored = model._runtime.engine, 0
    real = engine.finish_all

    def finish_all(prompts: Any) -> Any:
        nonlocal num_scored
        prompts = list(prompts)
        num_scored += len(prompts)
        return real(iter(prompts))

    monkeypatch.setattr(engine, "finish_all", finish_all)
    model.explain(TEXT, "好", "translate", to="zh", options=ErasureOptions(max_erasures=6))
    assert num_scored <= 6 + 1  # and what the decoder looked at


# --- conversations -------------------------------------------------------------------------------


def test_a_reply_tells_which_turns_it_needs(model: Model, tmp_path: Path) -> None:
    talk = model.conversation()
    with pytest.raises(InputError, match="no reply"):
        talk.why(erasure=True)
    talk.say("hello how are you", SHORT)
    talk.say("what time", SHORT)
    plain, why = talk.why(), talk.why(erasure=True)
    assert (plain.influence, plain.turns) == ((), ())
    texts = [turn.text for turn in talk.turns]
    assert_spans(why.influence, *texts[:-1])
    assert all(texts[span.segment] == span.text for span in why.turns)
    assert (why.tokens, why.evidence) == (plain.tokens, plain.evidence)
    talk.save(tmp_path / "talk")
    again = model.conversation()
    again.load(tmp_path / "talk")
    pieces = again.influencing()
    assert erasure.finished(pieces).spans == why.influence
    talk.add("user", "hello")
    with pytest.raises(InputError, match="no reply"):
        erasure.finished(talk.influencing())


# --- documents -----------------------------------------------------------------------------------

FILES = {"shop.md": "# Shop\n\nWe sell lamps. All of them are new.\n\n## Returns\n\nYou may "
         "return a lamp within thirty days. The money comes back in five days."}  # fmt: skip
QUESTION = "Can I return a lamp?"


@pytest.fixture
def base(tmp_path: Path, passage_model: Callable[..., Path]) -> Callable[[bool], KnowledgeBase]:
    def make(answers: bool) -> KnowledgeBase:
        write_files(tmp_path / "documents", FILES)
        folder = passage_model(tmp_path / "model", answers)
        made = opened(tmp_path / "base", load(folder, threads=1))
        made.add([tmp_path / "documents"])
        return made

    return make


def test_an_answer_needs_parts_of_its_documents(base: Callable[[bool], KnowledgeBase]) -> None:
    asked = base(True)
    result = asked.ask(QUESTION, threshold=0)
    explained = asked.explain(QUESTION, result)
    assert explained.influence
    hits = asked.search(QUESTION, 4)
    for span in explained.influence:
        hit = hits[span.segment]
        assert span.text in f"{hit.passage.heading}\n{hit.passage.text}"
    declined = asked.ask(QUESTION, threshold=1)
    assert asked.explain(QUESTION, declined) == declined


def test_a_model_that_has_not_learnt_to_answer_has_nothing_to_explain(
    base: Callable[[bool], KnowledgeBase],
) -> None:
    asked = base(False)
    result = asked.ask(QUESTION, threshold=0)
    assert asked.explain(QUESTION, result) == result


# --- the command line ----------------------------------------------------------------------------


def test_commands_tell_what_an_answer_needs(
    run_cli: RunCli, tiny_model_folder: Callable[..., Path]
) -> None:
    model = ("--model", str(tiny_model_folder()), "--threads", "1")
    for command in (("translate", "--to", "zh"), ("sentiment",)):
        plain = run_cli(*command, *model, TEXT).stdout.decode().rstrip("\n")
        told = run_cli(*command, *model, "--explain", TEXT).stdout.decode().rstrip("\n")
        assert told.startswith(f"{plain}\t")
        assert told.count("\n") == plain.count("\n")
        done = run_cli(*command, *model, "--explain", "--json", TEXT)
        assert "influence" in json.loads(done.stdout)
    done = run_cli("translate", "--to", "zh", "--explain", *model, "notes.md")
    assert done.returncode == 2
    why = run_cli("chat", *model, "--json", "--max-tokens", "4", stdin=b"hello\n/why\n")
    told = json.loads(why.stdout.splitlines()[1])
    assert told.keys() == {"text", "confidence", "tokens", "evidence", "influence", "turns"}
