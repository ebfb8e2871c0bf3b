from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.api import Model, load
from duologue.apps.translate import OPTIONS, split
from duologue.apps.translate import pieces as pieces_module
from duologue.engine.engine import Engine
from duologue.errors import EngineError, InputError
from duologue.explain import has_loop
from duologue.types import Options

GREEDY = Options(max_tokens=6)
ROOM = 63  # the positions of the tiny model, without the role
TEXTS = st.lists(
    st.sampled_from(
        [
            "hello how are you",
            ". ",
            "! ",
            "。",
            "你好",
            "\n",
            "\r\n\n",
            "  ",
            "z. B. ",
            "…",
            "x" * 90,
        ]
    ),
    max_size=12,
).map("".join)


@pytest.fixture(scope="module", params=["transformer", "gru"])
def model(request: pytest.FixtureRequest, tiny_model_folder: Callable[..., Path]) -> Model:
    return load(tiny_model_folder(request.param), threads=1)


def pieces_of(model: Model, text: str) -> list[str]:
    return [text[piece.start : piece.end] for piece in split(model._runtime, text, ROOM)]


# --- apart ---------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_pieces_hold_everything_but_blanks_in_order(model: Model, text: str) -> None:
    reached = 0
    for piece in split(model._runtime, text, ROOM):
        assert piece.start >= reached
        assert not text[reached : piece.start].strip(), "something was left out"
        content = text[piece.start : piece.end]
        assert content.strip()
        assert not {"\r", "\n"} & set(content), "a piece goes over a line break"
        ids = model._runtime.turn("user", content).ids
        assert len(ids) <= model.config.max_positions, "the model cannot read all of the piece"
        reached = piece.end
    assert not text[reached:].strip()


def test_a_short_line_is_one_piece(model: Model) -> None:
    assert pieces_of(model, " hello. how are you? \n\n你好。\n") == [
        "hello. how are you?",
        "你好。",
    ]


def test_a_long_line_is_cut_at_sentence_ends_alone(model: Model) -> None:
    sentences = ["the food was cold. ", "was it? ", 'the service was "slow!" ', "z. B. on 1. may. "]
    pieces = pieces_of(model, "".join(sentences * 4).strip())
    assert len(pieces) > 2
    for piece in pieces:
        assert piece.strip().endswith((". may.", "cold.", "it?", '"slow!"'))


def test_chinese_sentences_need_no_blank_between_them(model: Model) -> None:
    text = "这部电影很好看。火车几点出发？“你好！”" * 6
    pieces = pieces_of(model, text)
    assert "".join(pieces) == text
    assert len(pieces) > 1
    assert {piece[-1] for piece in pieces} <= set("。？”")


def test_a_sentence_that_is_too_long_is_cut_between_words_and_reported(model: Model) -> None:
    text = "the train leaves and " * 20 + "\nhello"
    result = model.translate(text, to="zh", options=GREEDY)
    spans = result.checks.source_split
    assert len(spans) > 1
    assert "".join(span.text for span in spans).strip() == text.partition("\n")[0].strip()
    for span in spans:
        assert span.text == text[span.start : span.end]
        assert span.text.strip().split()[-1] in ("the", "train", "leaves", "and")
    assert result.checks.source_truncated == ()
    assert model.translate("hello", to="zh", options=GREEDY).checks.source_split == ()


@pytest.mark.parametrize("unit", [".", " ", "\n", "x", "。", "你", "a. ", '."', "😀"])
def test_a_text_of_one_thing_repeated_is_split_to_its_end(model: Model, unit: str) -> None:
    text = unit * (8000 // len(unit)) + "end"
    assert "".join(pieces_of(model, text)).split() == text.split()


# --- together ------------------------------------------------------------------------------------


def test_lines_and_their_breaks_stay_where_they_are(model: Model) -> None:
    lines = ["hello how are you", "what time", "你好"]
    one, two, three = [model.translate(line, to="zh", options=GREEDY).text for line in lines]
    result = model.translate("\n hello how are you\r\n\n what time\n你好 \n", "zh", options=GREEDY)
    assert result.text == f"{one.strip()}\r\n\n {two.strip()}\n{three.strip()}"


@pytest.mark.parametrize(("to", "blank"), [("zh", ""), ("en", " ")])
def test_sentences_of_a_line_are_joined_as_the_language_does(
    model: Model, monkeypatch: pytest.MonkeyPatch, to: str, blank: str
) -> None:
    monkeypatch.setattr(pieces_module, "PIECE_TOKENS", 8)
    one = model.translate("hello how are you.", to, options=GREEDY).text
    two = model.translate("what time?", to, options=GREEDY).text
    assert pieces_of(model, "hello how are you. what time?") == [
        "hello how are you. ",
        "what time?",
    ]
    both = model.translate("hello how are you. what time?", to, options=GREEDY)
    assert both.text == f"{one.strip()}{blank}{two.strip()}"
    assert both.alternatives == ()


def test_a_batch_gives_what_its_texts_give_alone_in_their_order(model: Model) -> None:
    texts = ["hello", "what time\nhello how are you", "你好", "the food was cold. " * 9, "hello"]
    options = Options(max_tokens=6, beam_size=3, num_hypotheses=2)
    results = model.translate_batch(texts, "zh", options=options)
    for text, result in zip(texts, results, strict=True):
        alone = model.translate(text, "zh", options=options)
        assert replace(result, usage=alone.usage) == alone
        assert result.usage.encoded_tokens == alone.usage.encoded_tokens > 0
        assert result.usage.produced_tokens == alone.usage.produced_tokens
        assert result.checks.repetition or not has_loop(result.text)
    assert model.translate_batch([], "zh") == []


def test_translation_searches_with_beams_by_default(model: Model) -> None:
    assert OPTIONS.beam_size == 4
    text = "hello how are you"
    assert model.translate(text, "zh").text == model.translate(text, "zh", options=OPTIONS).text


def test_alternatives_are_the_other_hypotheses(model: Model) -> None:
    options = Options(max_tokens=4, beam_size=4, num_hypotheses=3)
    result = model.translate("hello", "zh", options=options)
    assert len(result.alternatives) == 2
    assert all(alternative.logprob < 0 for alternative in result.alternatives)
    assert 0 < result.confidence < 1


def test_a_translation_that_is_cut_says_so(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = model._runtime.engine
    monkeypatch.setattr(engine, "_absent", [model.tokenizer.eos_id])
    result = model.translate("hello\nwhat time", "zh", options=GREEDY)
    assert result.finish_reason == "length"
    assert result.usage.produced_tokens == 12


def test_a_translation_that_is_ended_from_outside_is_an_error(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = model._runtime.engine
    wait = engine._wait

    def aborting(mailbox) -> None:
        for request_id in list(engine._live):
            engine.abort(request_id)
        wait(mailbox)

    monkeypatch.setattr(engine, "_wait", aborting)
    with pytest.raises(EngineError, match="ended from outside"):
        model.translate("hello", "zh", options=GREEDY)
    assert isinstance(engine, Engine)
    engine.check()


def test_languages_that_the_model_does_not_know_are_refused(model: Model) -> None:
    for arguments in ({"to": "fr"}, {"to": "zh", "from_": "fr"}):
        with pytest.raises(InputError, match="unknown language 'fr'; this model knows en, zh"):
            model.translate("hello", **arguments)
    with pytest.raises(InputError):
        model.translate("hello", to="")


@pytest.mark.parametrize("text", ["", " \n\t ", "\u3000", "\udfff", None, b"hello"])
def test_texts_of_no_use_are_refused_and_named_by_number(model: Model, text: str) -> None:
    with pytest.raises(InputError, match=r"^(the|a) text"):
        model.translate(text, to="zh")
    with pytest.raises(InputError, match=r"^text 2: "):
        model.translate_batch(["hello", text], to="zh")


def test_one_text_in_place_of_a_list_is_refused(model: Model) -> None:
    with pytest.raises(InputError, match="a list of texts"):
        model.translate_batch("hello", to="zh")
