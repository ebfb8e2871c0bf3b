"""Glossaries: files, finding terms, seeing them in translations, and putting them there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.api import Model, load
from duologue.apps.batch import Decoded, Ended, advance
from duologue.apps.translate import Glossary, Term
from duologue.apps.translate.glossary import MAX_FILE_BYTES, has_term
from duologue.apps.translate.repair import Draft, Task
from duologue.apps.translate.terms import enforced
from duologue.engine.rules import Only
from duologue.engine.search import Finished, Hypothesis
from duologue.errors import DataError, InputError
from duologue.types import Options, Usage

GREEDY = Options(max_tokens=8)
WORDS = st.sampled_from(["bank", "Bank", "train", "US", "us", "站", "火车", "the", ".", "-", "ß"])


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "terms.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- files ---------------------------------------------------------------------------------------


def test_a_file_has_terms_notes_and_a_header_if_it_likes(tmp_path: Path) -> None:
    text = 'source,target,note\nbank,Ufer,of a river\n\n"Smith, Ltd.",Firma Smith\nbank,Ufer\n'
    assert Glossary.read(write(tmp_path, text)).terms == (
        Term("bank", "Ufer", "of a river"),
        Term("Smith, Ltd.", "Firma Smith"),
        Term("bank", "Ufer"),
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_are_utf_8_or_utf_16(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "Zug,火车\n".encode(encoding))
    assert Glossary.read(path).terms == (Term("Zug", "火车"),)


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("a,b\nBank,Ufer\nbank,Bank\n", 3, "is 'Bank' here and 'Ufer' in line 2"),
        ("a,b\nc\n", 2, "needs a source and a target"),
        ("a,b\nc,\n", 2, "needs a source and a target"),
        ("a,b,c,d\n", 1, "put quotes around"),
        ("a;b\n", 1, "not by semicolons"),
        ('a,b\n"c,d\n', None, "no CSV"),
        ("", None, "no terms"),
        ("source,target\n", None, "no terms"),
        (b"a,b\nZug,\xfc\n", 2, "not UTF-8; save it"),
        (b"a,b\0\n", 1, "zero bytes"),
        ("a," + "b" * 201, None, "more than 200 characters"),
        (b"a,b\n" * (MAX_FILE_BYTES // 4 + 1), None, "larger than"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(
    tmp_path: Path, content: str | bytes, line: int | None, problem: str
) -> None:
    with pytest.raises(DataError, match=problem) as told:
        Glossary.read(write(tmp_path, content))
    assert line is None or told.value.line == line


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        Glossary.read(tmp_path / "none.csv")


def test_two_targets_of_one_source_are_refused_but_not_where_case_tells_them_apart() -> None:
    with pytest.raises(InputError, match="two targets"):
        Glossary.of([("bank", "Ufer"), ("Bank", "Bank")])
    assert len(Glossary.of([("us", "uns"), ("US", "USA")]).terms) == 2


# --- in texts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("term", "text", "found"),
    [
        ("bank", "Banks and a bank's Bank", ["Banks", "bank's", "Bank"]),
        ("bank", "banker, embankment, bank2", []),
        ("US", "the US and us", ["US"]),
        ("火车", "坐火车去火车站", ["火车", "火车"]),
        ("火车", "the火车leaves", ["火车"]),
        ("C++", "C++ and C", ["C++"]),
        ("credit card", "two Credit cards", ["Credit cards"]),
    ],
)
def test_terms_are_found_as_words_in_any_case(term: str, text: str, found: list[str]) -> None:
    glossary = Glossary.of([(term, "x")])
    assert [text[one.start : one.end] for one in glossary.found(text)] == found


def test_longer_terms_go_first() -> None:
    pairs = [("card", "Karte"), ("credit", "Kredit"), ("credit card", "Kreditkarte")]
    found = Glossary.of(pairs).found("a credit card, a card")
    assert [one.term.target for one in found] == ["Kreditkarte", "Karte"]


@given(
    pairs=st.dictionaries(st.lists(WORDS, min_size=1, max_size=2).map(" ".join), WORDS),
    text=st.lists(WORDS, max_size=12).map(" ".join),
)
def test_found_terms_are_in_the_text_in_order_and_apart(pairs: dict[str, str], text: str) -> None:
    try:
        glossary = Glossary.of(pairs.items())
    except InputError:
        return
    reached = 0
    for one in glossary.found(text):
        assert reached <= one.start < one.end <= len(text)
        assert text[one.start : one.end].lower().startswith(one.term.source.lower())
        reached = one.end


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ("Die Häuser sind groß.", "Haus", True),
        ("Des Hauses", "Haus", True),
        ("Ein Hausmeister", "Haus", False),
        ("Er bucht einen Flug.", "Fluss", False),
        ("mit der roten Karte", "rote Karte", True),
        ("mit der Karte, rot", "rote Karte", False),
        ("我在火车站", "火车站", True),
        ("我在车站", "火车站", False),
    ],
)
def test_inflected_forms_count_as_the_term(text: str, target: str, expected: bool) -> None:
    assert has_term(text, target) is expected


# --- in translations -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tiny_model_folder: Callable[..., Path]) -> Model:
    return load(tiny_model_folder("transformer"), threads=1)


TEXTS = ["hello how are you. what time does the train leave?", "the card has not arrived yet"]


def test_terms_come_out_or_are_told(model: Model) -> None:
    glossary = Glossary.of([("train", "火车"), ("card", "卡"), ("hello", "你好")], "en", "zh")
    results = model.translate_batch(TEXTS, "zh", options=GREEDY, check=False, glossary=glossary)
    for text, result in zip(TEXTS, results, strict=True):
        missed = {text[span.start : span.end] for span in result.checks.glossary}
        for one in glossary.found(text):
            is_there = one.term.target in result.text
            assert is_there != (text[one.start : one.end] in missed)
        assert result.usage.produced_tokens > 0
    assert any("火车" in result.text or "卡" in result.text for result in results)


def test_a_term_that_comes_by_itself_costs_nothing(model: Model) -> None:
    plain = model.translate(TEXTS[1], "zh", options=GREEDY, check=False)
    glossary = Glossary.of([("card", plain.text)])
    told = model.translate(TEXTS[1], "zh", options=GREEDY, check=False, glossary=glossary)
    assert told.text == plain.text
    assert told.usage.encoded_tokens == plain.usage.encoded_tokens
    assert told.checks.glossary == ()


def test_a_glossary_of_other_languages_is_refused(model: Model) -> None:
    glossary = Glossary.of([("train", "Zug")], "en", "de")
    with pytest.raises(InputError, match="into 'de', not 'zh'"):
        model.translate("hello", "zh", glossary=glossary)


def enforce(
    model: Model, glossary: Glossary, source: str, text: str, said: Callable[[str], str]
) -> str:
    """What becomes of a translation if `said` tells how each beginning goes on."""
    runtime = model._runtime
    prefix = runtime.template.prefix("translate", None, "en")
    task = Task(runtime, "en", None, prefix, GREEDY)
    tokenizer = runtime.tokenizer
    plan = enforced(task, glossary, [Draft(source, text)])
    asked = advance(plan)
    while not isinstance(asked, Ended):
        answers = []
        for ask in asked:
            if isinstance(ask.rule, Only):
                ids = ask.rule.ids
            else:
                begun = tokenizer.decode(list(ask.prefix.forced))
                ids = tuple(tokenizer.encode(f"{begun}{said(begun)}")[len(ask.prefix.forced) :])
            scores = (-0.1,) * len(ids)
            hypothesis = Hypothesis(ids, sum(scores), scores, "stop")
            answers.append(Decoded(Finished((hypothesis,)), (), Usage()))
        asked = advance(plan, answers)
    return asked.value[0].text


def test_each_sentence_gets_its_own_terms_in_its_own_place(model: Model) -> None:
    glossary = Glossary.of([("火车", "train"), ("卡", "card")])
    text = "the tram leaves today. the ticket has arrived."
    found = enforce(model, glossary, "火车出发。卡到了。", text, lambda _: " is here.")
    first, second = found.split(". ")
    assert "train is here" in first.lower()
    assert "card is here" in second.lower()


def test_a_term_does_not_cost_another_or_half_of_the_sentence(model: Model) -> None:
    glossary = Glossary.of([("火车", "train"), ("卡", "card")])
    text = "the card for the tram has not arrived yet today"
    cut = enforce(model, glossary, "火车的卡今天没到", text, lambda _: "")
    assert cut == text or ("card" in cut and "train" in cut and len(cut.split()) >= 7)
    lost = enforce(
        model, glossary, "火车的卡今天没到", text, lambda _: " has not arrived yet today ok"
    )
    assert "card" in lost
    assert "train" in lost


def test_a_term_for_which_there_is_no_room_is_told(model: Model) -> None:
    glossary = Glossary.of([("card", "卡" * 70)])
    result = model.translate(TEXTS[1], "zh", options=GREEDY, check=False, glossary=glossary)
    assert [span.text for span in result.checks.glossary] == ["card"]
