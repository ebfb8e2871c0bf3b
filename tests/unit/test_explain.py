from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from published_tokenizers import Published, texts

from duologue.engine.search import Hypothesis
from duologue.errors import EngineError
from duologue.explain import (
    MAX_EVIDENCE,
    Source,
    confidence,
    evidence,
    has_loop,
    shifted,
    token_confidences,
    token_spans,
    unread_span,
)
from duologue.text.template import segment_ids
from duologue.text.tokenizer import Tokenizer
from duologue.types import Span

TEXTS = st.text(
    st.one_of(st.sampled_from("ab eht 你好,。▁<\n"), st.characters(exclude_categories=("Cs",))),
    max_size=30,
)


@given(text=TEXTS)
def test_token_spans_cover_the_text_without_gaps(tiny_tokenizer: Tokenizer, text: str) -> None:
    ids = tiny_tokenizer.encode(text)
    reached = 0
    for (start, end), idx in zip(token_spans(tiny_tokenizer, text, ids), ids, strict=True):
        assert start <= reached <= end
        assert start <= end
        piece = tiny_tokenizer.token_bytes(idx)
        assert piece.strip(b" ") in text[start:end].encode(), "the span does not hold its token"
        reached = end
    assert reached == len(text)


@given(text=TEXTS, num_read=st.integers(0, 40))
def test_what_was_read_and_what_was_not_make_the_whole_text(
    tiny_tokenizer: Tokenizer, text: str, num_read: int
) -> None:
    ids = tiny_tokenizer.encode(text)
    spans = unread_span(tiny_tokenizer, text, ids, num_read, segment=3)
    if num_read >= len(ids):
        assert spans == ()
        return
    (span,) = spans
    assert (span.segment, span.end, span.text) == (3, len(text), text[span.start :])
    whole_characters = tiny_tokenizer.decode(ids[:num_read]).removesuffix("\ufffd")
    assert text[: span.start] == whole_characters or "\ufffd" in text


KEEPS_ALL = ("bart", "byt5", "gemma")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("tokenizers"))


@pytest.mark.parametrize("kind", [*KEEPS_ALL, "t5", "pegasus", "mbart", "marian", "m2m"])
def test_tokens_of_published_tokenizers_span_what_they_say(kind: str, published: Published) -> None:
    tokenizer = published.load(kind)
    for text in texts(60):
        ids = tokenizer.encode(text)
        spans = token_spans(tokenizer, text, ids)
        assert len(spans) == len(ids)
        reached = 0
        for (start, end), idx in zip(spans, ids, strict=True):
            assert 0 <= start <= end <= len(text)
            assert end >= reached
            reached = end
            said = tokenizer.token_bytes(idx).decode(errors="replace").strip()
            if said.isascii() and said.isalnum() and text.isascii():
                assert said in text[start:end]
        if kind in KEEPS_ALL:
            assert reached == len(text)


def test_tokens_are_found_again_after_what_a_tokenizer_changed_or_did_not_know() -> None:
    class Pieces:
        def __init__(self, *pieces: str) -> None:
            self._pieces = pieces

        def token_bytes(self, idx: int) -> bytes:
            return self._pieces[idx].encode()

    text = "  Ein  \u210cund, \u265e na\u00efve \ufb01n"
    pieces = Pieces(" ein", " Hund", ",", "", " nai\u0308", "ve", " fin")
    spans = token_spans(pieces, text, range(7))
    words = [text[start:end].strip() for start, end in spans]
    assert words == ["Ein", "\u210cund", ",", "", "na\u00ef", "ve", "\ufb01n"]
    (span,) = unread_span(pieces, text, range(7), 4, segment=0)
    assert span.text.lstrip(" \u265e") == "na\u00efve \ufb01n"


def test_a_source_is_cut_at_the_end_of_its_text() -> None:
    source = Source((7, 8, 1, 2, 3, 9), "a b c", 2, 5)
    assert source.cut(6) == source
    assert source.cut(4) == Source((7, 8, 1, 9), "a b c", 2, 3)
    with pytest.raises(EngineError, match="3 tokens stand around the text, there is room for 2"):
        source.cut(2)


def sources_of(tokenizer: Tokenizer, *texts: str) -> list[Source]:
    segments = [(tuple(segment_ids(tokenizer, "user", text)), text) for text in texts]
    return [Source(ids, text, 1, len(ids)) for ids, text in segments]


def attention_on(
    sources: list[Source], tokenizer: Tokenizer, words: dict[str, float]
) -> np.ndarray:
    """Attention [1, S] with the given share on the first token of each word, the rest on roles."""
    row: list[float] = []
    for source in sources:
        spans = token_spans(tokenizer, source.text, source.ids[1:])
        shares = [0.0] * len(source.ids)
        for word, share in words.items():
            place = source.text.find(word)
            if place >= 0:
                token = next(i for i, (start, end) in enumerate(spans) if start <= place < end)
                shares[1 + token] = share
        row += shares
    row[0] = 1 - sum(row)
    return np.array([row], np.float32)


def test_evidence_is_whole_words_best_first(tiny_tokenizer: Tokenizer) -> None:
    sources = sources_of(tiny_tokenizer, "hello how are you today", "the zqxwv has not arrived")
    attention = attention_on(sources, tiny_tokenizer, {"today": 0.3, "zqxwv": 0.5})
    first, second = evidence(attention, sources, tiny_tokenizer)
    assert (first.segment, first.text) == (1, "zqxwv")
    assert (second.segment, second.text) == (0, "today")
    assert (first.score, second.score) == (pytest.approx(0.5), pytest.approx(0.3))
    for span in (first, second):
        assert sources[span.segment].text[span.start : span.end] == span.text


def test_evidence_merges_neighbours(tiny_tokenizer: Tokenizer) -> None:
    sources = sources_of(tiny_tokenizer, "我想订一张两个人的桌子。")
    shares = {"桌": 0.25, "子": 0.25, "我": 0.2}
    found = evidence(attention_on(sources, tiny_tokenizer, shares), sources, tiny_tokenizer)
    assert sum(span.score for span in found) == pytest.approx(0.7)
    assert "桌子" in found[0].text
    bounds = sorted((span.start, span.end) for span in found)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(bounds))


def test_even_attention_is_no_evidence(tiny_tokenizer: Tokenizer) -> None:
    sources = sources_of(tiny_tokenizer, "what time does the train leave")
    size = len(sources[0].ids)
    assert evidence(np.full((4, size), 1 / size, np.float32), sources, tiny_tokenizer) == ()
    assert evidence(np.zeros((0, size), np.float32), sources, tiny_tokenizer) == ()
    assert evidence(None, sources, tiny_tokenizer) == ()


@given(texts=st.lists(TEXTS, min_size=1, max_size=3), seed=st.integers(0, 999))
def test_evidence_spans_are_disjoint_and_say_what_they_span(
    tiny_tokenizer: Tokenizer, texts: list[str], seed: int
) -> None:
    sources = sources_of(tiny_tokenizer, *texts)
    size = sum(len(source.ids) for source in sources)
    attention = np.random.default_rng(seed).dirichlet(np.full(size, 0.1), 2).astype(np.float32)
    found = evidence(attention, sources, tiny_tokenizer)
    assert len(found) <= MAX_EVIDENCE
    assert [span.score for span in found] == sorted((s.score for s in found), reverse=True)
    for span in found:
        assert span.text == texts[span.segment][span.start : span.end] != ""
        assert 0 < span.score <= 1 + 1e-5
    for one in found:
        for other in found:
            apart = one.segment != other.segment or one.end <= other.start
            assert one is other or apart or other.end <= one.start


def test_shifted_spans_move_their_offsets_and_keep_their_text() -> None:
    assert shifted([Span(0, 1, 3, "ab", 0.5)], 4) == (Span(0, 5, 7, "ab", 0.5),)


def test_confidence_is_the_geometric_mean_of_the_token_probabilities() -> None:
    ended = Hypothesis((5,), math.log(0.5) + math.log(0.5), (math.log(0.5),), "stop")
    cut = Hypothesis((5, 6), math.log(0.25), (math.log(0.5),) * 2, "length")
    assert confidence([ended]) == pytest.approx(0.5)
    assert confidence([ended, cut]) == pytest.approx(0.5)
    assert confidence([Hypothesis((), 0.0, (), "abort")]) == 1


def test_token_confidences_wait_for_whole_characters(tiny_tokenizer: Tokenizer) -> None:
    text = "hello 😀"
    ids = tuple(tiny_tokenizer.encode(text))
    logprobs = tuple(-0.1 * (number + 1) for number in range(len(ids)))
    pieces = token_confidences(tiny_tokenizer, Hypothesis(ids, sum(logprobs), logprobs, "length"))
    assert "".join(piece for piece, _ in pieces) == text
    assert pieces[-1][0].endswith("😀")
    assert pieces[-1][1] == pytest.approx(math.exp(sum(logprobs[-4:])))
    assert math.prod(p for _, p in pieces) == pytest.approx(math.exp(sum(logprobs)))


@pytest.mark.parametrize(
    "text",
    [
        "thank you thank you thank you",
        "I like it. I like it! I like it",
        "well, no no no no no no",
        "我们的酒店我们的酒店我们的酒店",
    ],
)
def test_loops_are_found(text: str) -> None:
    assert has_loop(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ha ha ha",
        "哈哈哈",
        "thank you, thank you very much",
        "a b c a b d a b e",
        "very very good",
    ],
)
def test_ordinary_repetition_is_no_loop(text: str) -> None:
    assert not has_loop(text)


@given(phrase=st.lists(st.sampled_from("abc"), min_size=1, max_size=6), copies=st.integers(3, 5))
def test_a_phrase_repeated_often_enough_is_a_loop(phrase: list[str], copies: int) -> None:
    assert has_loop(" ".join(["x", *phrase * copies, "y"])) or len(phrase) * copies < 6
