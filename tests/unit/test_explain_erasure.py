"""What an answer would be less likely without: units, contexts, effects and their bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.api import Model, load
from duologue.checkpoint.store import save_model
from duologue.engine.memory import Memory
from duologue.engine.sampling import log_softmax
from duologue.explain import Source, erasure
from duologue.explain.erasure import (
    MAX_INFLUENCE,
    Context,
    Effects,
    ErasureOptions,
    answer_scorer,
    erasing,
    finished,
    influence,
    segment_influence,
)
from duologue.explain.units import Unit, clauses_of, grouped, joined, words_of
from duologue.text.template import segment_ids
from duologue.text.tokenizer import Tokenizer

TURNS = [
    ("document", "the card has not arrived yet. the food was cold"),
    ("user", "hello how are you today"),
    ("document", "我想订一张两个人的桌子。火车几点出发？"),
    ("agent", "what time does the train leave"),
    ("user", "i would like, for two people, to book a table"),
]
ALONE = [role == "document" for role, _ in TURNS]
ANSWER = "for two"


@pytest.fixture(scope="module", params=["transformer", "gru", "full"])
def model(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_config: Callable[..., Any],
    tiny_weights: Any,
    tiny_tokenizer: Tokenizer,
) -> Model:
    is_full = request.param == "full"
    config = replace(tiny_config("transformer" if is_full else request.param), max_positions=256)
    config = replace(config, encoder_mask="full") if is_full else config
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, config, tiny_weights(config), tiny_tokenizer, "# tiny\n", "f32")
    return load(folder, threads=1, precision="f32")


def source_of(tokenizer: Tokenizer, role: str, text: str) -> Source:
    ids = tuple(segment_ids(tokenizer, role, text))
    return Source(ids, text, 1, len(ids))


def context_of(model: Model, turns: Sequence[tuple[str, str]] = TURNS) -> Context:
    sources = [source_of(model.tokenizer, role, text) for role, text in turns]  # type: ignore[arg-type]
    alone = [role == "document" for role, _ in turns]
    forward = model._runtime.forward
    return Context(forward, encoded(model, [list(s.ids) for s in sources], alone), sources, alone)


def encoded(model: Model, segments: Iterable[list[int]], alone: Sequence[bool]) -> Memory:
    memory = Memory.empty()
    for ids, is_document in zip(segments, alone, strict=True):
        memory = model._runtime.forward.encode(ids, memory, is_document)
    return memory


def explained(
    model: Model, context: Context, options: ErasureOptions | None = None, **others: Any
) -> Effects:
    runtime = model._runtime
    prefix = runtime.template.prefix("reply").ids
    ids = runtime.tokenizer.encode(ANSWER)
    score = others.pop("score", answer_scorer(runtime.engine, prefix, (), ids))
    options = options or ErasureOptions()
    return finished(erasing(context, score, runtime.tokenizer, options, len(ids), **others))


def slowly(model: Model, memory: Memory) -> float:
    """The log-probability of ANSWER, token by token."""
    runtime = model._runtime
    prefix = runtime.template.prefix("reply").ids
    absent = [i for i in runtime.special.absent_ids if i not in runtime.special.eos_ids]
    state = runtime.forward.start(memory)
    for idx in prefix:
        logits = runtime.forward.decode_step([state], [idx])[0]
    total = 0.0
    for idx in runtime.tokenizer.encode(ANSWER):
        logits[absent] = -float("inf")
        total += float(log_softmax(logits)[idx])
        logits = runtime.forward.decode_step([state], [idx])[0]
    return total


# --- units ---------------------------------------------------------------------------------------

TEXTS = st.text(
    st.one_of(st.sampled_from("ab eht ,.你好，。"), st.characters(exclude_categories=("Cs",))),
    max_size=40,
)


@given(text=TEXTS, most=st.integers(1, 9))
def test_words_and_clauses_share_out_the_tokens_in_order(
    tiny_tokenizer: Tokenizer, text: str, most: int
) -> None:
    source = source_of(tiny_tokenizer, "user", text)
    words = words_of(source, 2, tiny_tokenizer)
    reached = source.start
    for word in words:
        assert reached == word.first < word.last
        reached = word.last
        assert text[word.start : word.end].strip() == text[word.start : word.end] != ""
        assert word.span(source, 0.5).text == text[word.start : word.end]
    assert reached == (source.stop if words else source.start)
    clauses = clauses_of(words, source)
    assert [word for clause in clauses for word in clause] == words
    groups = grouped(words, most)
    assert [word for group in groups for word in group] == words
    assert len(groups) == min(most, len(words))
    assert all(groups)


def test_clauses_end_at_signs_and_words_are_whole(tiny_tokenizer: Tokenizer) -> None:
    text = "i would like, for two people, to zqxwv a table"
    source = source_of(tiny_tokenizer, "user", text)
    words = words_of(source, 0, tiny_tokenizer)
    said = [[text[w.start : w.end].strip(", ") for w in own] for own in clauses_of(words, source)]
    flat = [word for clause in said for word in clause if word]
    assert flat == text.replace(",", "").split()
    spans = [text[joined(own).start : joined(own).end] for own in clauses_of(words, source)]
    assert spans == ["i would like,", "for two people,", "to zqxwv a table"]


# --- effects -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [False, True])
def test_effects_are_what_scoring_one_by_one_gives(model: Model, mask: bool) -> None:
    """Slow twin: everything is encoded anew for each unit, and decoded token by token."""
    context = context_of(model)
    mask_id = model._runtime.tokenizer.control_id("<mask>") if mask else None  # type: ignore[union-attr]
    found = explained(model, context, ErasureOptions(mask_id=mask_id))
    everything = [list(source.ids) for source in context.sources]
    base = slowly(model, encoded(model, everything, ALONE))
    assert found.base == pytest.approx(base, abs=1e-3)
    assert len(found.effects) > 20
    for effect in (*found.effects, *found.segments):
        unit = effect.unit
        left = [list(ids) for ids in everything]
        left[unit.segment][unit.first : unit.last] = [mask_id] * unit.num_tokens if mask else []  # type: ignore[list-item]
        score = slowly(model, encoded(model, left, ALONE))
        assert effect.drop == pytest.approx(base - score, abs=2e-3)
    heads = [ids[:1] for ids in everything]
    if not mask:
        bare = slowly(model, encoded(model, heads, ALONE))
        assert found.whole == pytest.approx(base - bare, abs=2e-3)


def test_effects_cover_all_of_the_texts_and_do_not_overlap(model: Model) -> None:
    context = context_of(model)
    found = explained(model, context)
    assert found.is_whole
    for number, source in enumerate(context.sources):
        own = sorted((e.unit.first, e.unit.last) for e in found.effects if e.unit.segment == number)
        covered = [place for first, last in own for place in range(first, last)]
        assert covered == list(range(source.start, source.stop))
    assert {effect.unit.segment for effect in found.segments} == set(range(len(TURNS)))


def test_only_the_segments_that_are_named_lose_anything(model: Model) -> None:
    found = explained(model, context_of(model), segments=[0, 2])
    assert {effect.unit.segment for effect in found.effects} == {0, 2}


def test_a_document_is_encoded_again_alone(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    if model.config.encoder_mask == "full":
        pytest.skip("everything is encoded together")
    context = context_of(model)
    forward = model._runtime.forward
    real, seen = forward.encode, []

    def encode(ids: Sequence[int], memory: Memory, is_document: bool = False) -> Memory:
        seen.append((len(memory.segments), is_document))
        return real(ids, memory, is_document)

    monkeypatch.setattr(forward, "encode", encode)
    context.without([Unit(2, 1, 3, 0, 2)])
    assert seen == [(0, True)]
    seen.clear()
    context.without([Unit(3, 1, 3, 0, 2)])  # the last turn has seen it
    assert seen == [(1, False), (2, False)]
    seen.clear()
    context.without([])
    assert seen == []


# --- bounds --------------------------------------------------------------------------------------


def test_no_more_memories_are_scored_than_may_be(model: Model) -> None:
    context = context_of(model)
    num_scored = 0

    def score(memories: Iterable[Memory]) -> list[float]:
        nonlocal num_scored
        sizes = [memory.num_tokens for memory in memories]
        num_scored += len(sizes)
        return [size / 10 for size in sizes]

    for most in (4, 7, 8, 20, 64):
        num_scored = 0
        options = ErasureOptions(max_erasures=most)
        found = explained(model, context, options, score=score)
        assert num_scored <= most
        assert found.is_whole == (most >= len(TURNS) + 2)
    num_scored = 0
    explained(model, context, ErasureOptions(max_tokens=1), score=score)
    assert num_scored == 4


def test_after_its_time_a_search_ends_with_what_it_knows(model: Model) -> None:
    context = context_of(model)
    found = explained(model, context, ErasureOptions(max_s=0))
    assert len(found.effects) == len(TURNS)
    assert found.effects == found.segments


def test_a_search_that_is_closed_scores_no_more(model: Model) -> None:
    num_calls = 0

    def score(memories: Iterable[Memory]) -> list[float]:
        nonlocal num_calls
        num_calls += 1
        return [0.0 for _ in memories]

    pieces = erasing(context_of(model), score, model.tokenizer, ErasureOptions())
    next(pieces)
    pieces.close()
    assert num_calls == 1


def test_texts_of_nothing_have_no_effects(model: Model) -> None:
    found = explained(model, context_of(model, [("user", ""), ("agent", "  ")]))
    assert found.effects == ()
    assert found.whole == pytest.approx(0, abs=1e-5)
    assert influence(found, context_of(model, [("user", "")]).sources) == ()


# --- spans ---------------------------------------------------------------------------------------


def test_influence_is_shares_best_first(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "_MIN_DROP", 1e-6)  # a random model hardly reads
    context = context_of(model)
    for found in (explained(model, context), explained(model, context, segments=[0])):
        spans = influence(found, context.sources)
        assert 0 < len(spans) <= MAX_INFLUENCE
        assert [s.score for s in spans] == sorted((s.score for s in spans), reverse=True)
        assert 0 < sum(span.score for span in spans) <= 1 + 1e-6
        for span in spans:
            assert context.sources[span.segment].text[span.start : span.end] == span.text
    turns = segment_influence(explained(model, context), context.sources)
    assert all(0 < span.score <= 1 for span in turns)


def test_a_planted_word_is_found(model: Model) -> None:
    """A scorer that looks for one token, in one document."""
    context = context_of(model)
    unit = next(
        word
        for word in words_of(context.sources[0], 0, model.tokenizer)
        if context.sources[0].text[word.start : word.end].startswith("cold")
    )
    wanted = context.sources[0].ids[unit.first : unit.last]

    def score(memories: Iterable[Memory]) -> list[float]:
        found = []
        for memory in memories:
            ids = [idx for segment in memory.segments for idx in segment.ids]
            held = any(tuple(ids[n : n + len(wanted)]) == wanted for n in range(len(ids)))
            found.append(0.0 if held else -3.0)
        return found

    found = explained(model, context, score=score)
    (span,) = influence(found, context.sources)
    assert (span.segment, span.text, span.score) == (0, "cold", 1.0)
    (turn,) = segment_influence(found, context.sources)
    assert (turn.segment, turn.score) == (0, 1.0)
