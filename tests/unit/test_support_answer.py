"""Answers from documents: what they may say, what they cite, and when they are declined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support_bases import opened, write_files

from duologue import api
from duologue.apps.support import KnowledgeBase, hand_over
from duologue.apps.support.answer import DECLINED, consider
from duologue.apps.support.confidence import Calibration, Signs
from duologue.errors import InputError
from duologue.types import Options

FILES = {
    "shop.md": "# Shop\n\nWe sell lamps. All of them are new.\n\n## Returns\n\n"
    "You may return a lamp within thirty days. The money comes back in five days.",
    "faq.csv": "question,answer\nWhen is the shop open?,From nine. Not on Sunday.\n"
    "运费是多少？,每单十元。\n",
}
QUESTION = "Can I return a lamp after twenty days?"


@pytest.fixture(scope="module")
def make(
    tmp_path_factory: pytest.TempPathFactory, passage_model: Callable[..., Path]
) -> Callable[[bool], KnowledgeBase]:
    root = tmp_path_factory.mktemp("support")
    write_files(root / "documents", FILES)

    def base(answers: bool) -> KnowledgeBase:
        folder = passage_model(root / f"model-{answers}", answers)
        made = opened(root / f"base-{answers}", api.load(folder, threads=1))
        made.add([root / "documents"])
        return made

    return base


@pytest.fixture(scope="module")
def answering(make: Callable[[bool], KnowledgeBase]) -> KnowledgeBase:
    return make(True)


@pytest.fixture(scope="module")
def extractive(make: Callable[[bool], KnowledgeBase]) -> KnowledgeBase:
    return make(False)


# --- a model that answers ------------------------------------------------------------------------


@pytest.mark.parametrize("question", [QUESTION, "运费多少？", "x"])
@pytest.mark.parametrize("beam_size", [1, 4])
def test_an_answer_stands_in_the_passage_that_it_cites(
    answering: KnowledgeBase, question: str, beam_size: int
) -> None:
    options = Options(max_tokens=40, beam_size=beam_size)
    result = answering.ask(question, options, threshold=0)
    (cited,) = result.citations
    assert result.text
    assert cited.text[cited.start : cited.end] == result.text
    assert result.text in cited.sentence
    assert cited.sentence in cited.text
    assert not result.declined
    assert hand_over(question, result) is None
    assert 0 < result.confidence < 1


def test_a_question_costs_its_own_tokens_alone(answering: KnowledgeBase) -> None:
    before = answering.encoder.num_encoded
    usage = answering.ask(QUESTION, threshold=0).usage
    assert answering.encoder.num_encoded == before
    assert usage.encoded_tokens == len(answering.runtime.turn("user", QUESTION).ids)
    assert usage.reused_tokens > usage.encoded_tokens
    assert usage.produced_tokens > 0


def test_as_many_passages_are_read_as_there_is_room_for(
    answering: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = answering.ask(QUESTION, threshold=0)
    num_tokens = whole.usage.encoded_tokens + whole.usage.reused_tokens
    config = replace(answering.runtime.config, max_positions=num_tokens - 1)
    monkeypatch.setattr(answering.runtime, "config", config)
    less = answering.ask(QUESTION, threshold=0)
    assert 0 < less.usage.reused_tokens < whole.usage.reused_tokens


def test_what_of_a_question_was_not_read_is_told(answering: KnowledgeBase) -> None:
    result = answering.ask("lamp " * 400)
    (span,) = result.checks.source_truncated
    assert span.end == len("lamp " * 400) - 1
    assert result.citations[0].heading.startswith("Shop")


# --- declined ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "language"),
    [("Who is the king of France?", "en"), ("国王是谁？", "zh"), ("Wer ist der König?", "de")],
)
@pytest.mark.parametrize("answers", [True, False])
def test_what_the_documents_do_not_say_is_declined_and_handed_over(
    make: Callable[[bool], KnowledgeBase], question: str, language: str, answers: bool
) -> None:
    base = make(answers)
    result = base.ask(question, threshold=0.99)
    assert result.declined
    assert result.text == DECLINED[language]
    assert 1 <= len(result.citations) <= 3
    assert all(cited.start == cited.end for cited in result.citations)
    event = hand_over(question, result)
    assert event is not None
    assert (event.question, event.language) == (question, language)
    assert event.citations == result.citations


# --- a model that does not answer ----------------------------------------------------------------


def test_a_model_without_the_task_gives_the_sentence_that_has_most_of_the_question(
    extractive: KnowledgeBase,
) -> None:
    result = extractive.ask("How many days may I return a lamp within?")
    assert result.text == "You may return a lamp within thirty days."
    assert not result.declined
    (cited,) = result.citations
    assert cited.heading == "Shop › Returns"
    assert Path(cited.document).name == "shop.md"
    assert cited.text[cited.start : cited.end] == cited.sentence == result.text


@pytest.mark.parametrize(
    ("question", "text"),
    [("When is the shop open?", "From nine. Not on Sunday."), ("运费是多少", "每单十元。")],
)
def test_the_answer_to_a_known_question_is_all_that_stands_under_it(
    extractive: KnowledgeBase, question: str, text: str
) -> None:
    assert extractive.ask(question).text == text


# --- bad input -----------------------------------------------------------------------------------


def test_questions_and_options_of_no_use_are_refused(
    answering: KnowledgeBase, tmp_path: Path
) -> None:
    for question in ("", " \n"):
        with pytest.raises(InputError, match="empty"):
            answering.ask(question)
    with pytest.raises(InputError, match="not sampled"):
        answering.ask(QUESTION, Options(temperature=1.0))
    with pytest.raises(InputError, match="threshold"):
        answering.ask(QUESTION, threshold=1.5)
    model = api.Model(answering.runtime)
    with pytest.raises(InputError, match="add documents first"):
        model.knowledge_base(tmp_path / "new").ask(QUESTION)


# --- confidence ----------------------------------------------------------------------------------


def test_a_probability_is_that_of_a_logistic_regression() -> None:
    calibration = Calibration((1.0, 0.0, 2.0, 0.0, 0.0), -1.0)
    assert calibration.probability(Signs(-1.0, 9.0, 1.0, 9.0, 9.0)) == pytest.approx(0.5)
    assert calibration.probability(Signs(1e9, 0, 0, 0, 0)) <= 1


def test_signs_compare_a_passage_with_the_next_that_says_something_else(
    extractive: KnowledgeBase,
) -> None:
    signs = consider(extractive, "return lamp").signs
    assert signs.coverage == signs.sentence == 1
    assert 0 < signs.margin <= 1
    assert signs.span == signs.against == 0
