"""Sections to passages, the words they are found by, and the spans that answers are made of."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.apps.support.outline import Section
from duologue.apps.support.passages import Passage, sentences, split
from duologue.apps.support.retrieval import spread
from duologue.apps.support.spans import Pieces, SpanRule, find_span
from duologue.apps.support.terms import any_of, asked_terms, terms
from duologue.text.tokenizer import Tokenizer

# --- passages ------------------------------------------------------------------------------------


def size(tokenizer: Tokenizer, passage: Passage) -> int:
    return len(tokenizer.encode(passage.lead + passage.text))


def test_passages_are_whole_sentences_under_their_headings(tiny_tokenizer: Tokenizer) -> None:
    text = " ".join(f"This is sentence {number}." for number in range(10, 30))
    passages = split(tiny_tokenizer, [Section(("Shop", "Lamps"), text)], 60)
    assert len(passages) > 3
    assert " ".join(passage.text for passage in passages) == text
    assert all(passage.text.endswith(".") for passage in passages)
    assert {passage.heading for passage in passages} == {"Shop › Lamps"}
    sizes = [size(tiny_tokenizer, passage) for passage in passages]
    assert max(sizes) <= 60
    assert min(sizes) > max(sizes) / 2  # no scrap at the end


def test_sections_do_not_share_a_passage(tiny_tokenizer: Tokenizer) -> None:
    sections = [Section(("A",), "One."), Section(("B",), "Two.")]
    assert split(tiny_tokenizer, sections) == [Passage("A", "One."), Passage("B", "Two.")]


@given(st.text(alphabet="ab .\n你。-1", max_size=300), st.integers(12, 40))
def test_all_of_a_text_is_in_its_passages(
    tiny_tokenizer: Tokenizer, text: str, num_tokens: int
) -> None:
    passages = split(tiny_tokenizer, [Section((), text)], num_tokens)
    assert "".join("".join(p.text for p in passages).split()) == "".join(text.split())
    assert all(size(tiny_tokenizer, passage) <= num_tokens for passage in passages)


def test_a_heading_that_is_too_long_leaves_room_for_text(tiny_tokenizer: Tokenizer) -> None:
    section = Section(("outermost " * 5, "inner " * 40), "Some text. " * 10)
    passages = split(tiny_tokenizer, [section], 48)
    assert passages[0].heading.startswith("inner inner")
    assert all(size(tiny_tokenizer, passage) <= 48 for passage in passages)


def test_sentences_end_at_marks_blank_lines_and_list_items() -> None:
    text = "One at 9 a.m. today. Two!  三。四？ Nr. 5\n\nSix\n- seven\n- eight\nनौ। عشرة؟ ११"
    found = [text[start:end] for start, end in sentences(text)]
    assert found == [
        "One at 9 a.m. today.",
        "Two!",
        "三。",
        "四？",
        "Nr.",
        "5",
        "Six",
        "- seven",
        "- eight\nनौ।",
        "عشرة؟",
        "११",
    ]


def test_a_hash_tells_heading_from_text() -> None:
    assert Passage("a", "b").hash == Passage("a", "b").hash
    assert len({Passage(*parts).hash for parts in (("a", "b"), ("", "a\nb"), ("a\nb", ""))}) == 3


# --- terms ---------------------------------------------------------------------------------------


def test_terms_are_words_and_neighbouring_characters() -> None:
    assert terms("The E-Mail, ＡＢＣ_1!") == ["the", "e", "mail", "abc", "1"]
    assert terms("退货政策 OK，好") == ["退货", "货政", "政策", "ok", "好"]
    assert terms(" …。") == []


def test_inflected_words_are_the_same_term_and_short_ones_stay() -> None:
    for words in ("open opens opening opened", "close closes closing closed", "class classes"):
        assert len(set(terms(words))) == 1, words
    assert terms("the string is red; glass, 3 days") == [
        "the", "string", "is", "red", "glass", "3", "day"
    ]  # fmt: skip


def test_a_query_leaves_out_what_every_question_has_unless_there_is_nothing_else() -> None:
    assert asked_terms("How can I return it, and return when?") == ["return"]
    assert asked_terms("how is it") == ["how", "is", "it"]
    assert asked_terms("!?") == []


@given(st.text(max_size=40))
def test_a_query_is_always_one_that_sqlite_understands(text: str) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE words USING fts5 (text, tokenize='porter unicode61')")
    connection.execute("INSERT INTO words VALUES (?)", (" ".join(terms(text)),))
    if question := any_of(asked_terms(text)):
        connection.execute("SELECT * FROM words WHERE words MATCH ?", (question,)).fetchall()
    connection.close()


# --- spans ---------------------------------------------------------------------------------------

TEXTS = ["It costs $41,004 (a lot) today.", "运费是十元。 Free from 5."]


@pytest.fixture
def rule(tiny_tokenizer: Tokenizer) -> SpanRule:
    return SpanRule(Pieces(tiny_tokenizer), TEXTS, [tiny_tokenizer.eos_id])


def allowed(rule: SpanRule, tokenizer: Tokenizer, ids: tuple[int, ...]) -> set[int]:
    left = rule.apply(np.zeros(tokenizer.vocab_size, np.float32), ids)
    return set(np.flatnonzero(left > -np.inf).tolist())


@pytest.mark.parametrize("span", ["$41,004", "41,004", "a lot", "(a lot)", "十元", "Free from 5"])
def test_a_span_can_be_said_and_then_ended(
    rule: SpanRule, tiny_tokenizer: Tokenizer, span: str
) -> None:
    ids = tuple(tiny_tokenizer.encode(span))
    for place, idx in enumerate(ids):
        assert idx in allowed(rule, tiny_tokenizer, ids[:place])
    assert tiny_tokenizer.eos_id in allowed(rule, tiny_tokenizer, ids)


@pytest.mark.parametrize("span", ["costs a", "ay", "tod", "元。 Fr", "41", "。", "today. 运"])
def test_what_is_no_span_of_whole_words_can_not(
    rule: SpanRule, tiny_tokenizer: Tokenizer, span: str
) -> None:
    ids = tuple(tiny_tokenizer.encode(span))
    can_be_said = all(
        idx in allowed(rule, tiny_tokenizer, ids[:place]) for place, idx in enumerate(ids)
    )
    can_end = tiny_tokenizer.eos_id in allowed(rule, tiny_tokenizer, ids)
    assert not (can_be_said and can_end) or span == "41"  # a comma parts words


def test_whatever_is_chosen_stands_in_a_text(rule: SpanRule, tiny_tokenizer: Tokenizer) -> None:
    chosen = np.random.default_rng(3)
    for _ in range(200):
        ids: tuple[int, ...] = ()
        while True:
            idx = int(chosen.choice(sorted(allowed(rule, tiny_tokenizer, ids))))
            if idx == tiny_tokenizer.eos_id:
                break
            ids = (*ids, idx)
        span = tiny_tokenizer.decode(list(ids))
        assert any(find_span(text, span) >= 0 for text in TEXTS), span


def test_a_span_is_found_where_it_cuts_no_word() -> None:
    assert find_span("category cat", "cat") == 9
    assert find_span("十元", "元") == 1
    assert find_span("category", "cat") == -1


# --- embeddings ----------------------------------------------------------------------------------


def test_spread_tells_apart_what_lies_in_a_cone() -> None:
    generator = np.random.default_rng(5)
    strength = np.array([10, *[0.1] * 7], dtype=np.float32)
    embeddings = generator.standard_normal((300, 8), dtype=np.float32) * strength + 5
    centre, turn = spread(embeddings)
    moved = (embeddings - centre) @ turn
    before = np.linalg.svd(embeddings - embeddings.mean(axis=0), compute_uv=False)
    after = np.linalg.svd(moved, compute_uv=False)
    assert np.abs(moved.mean(axis=0)).max() < 1e-3
    assert after[0] / after[-1] < before[0] / before[-1] / 3


@pytest.mark.parametrize("num", [0, 1, 20])
def test_a_few_embeddings_stay_as_they_are(num: int) -> None:
    centre, turn = spread(np.ones((num, 4), np.float32))
    assert not centre.any()
    assert (turn == np.eye(4)).all()
