from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from fake_forward import FakeForward, FakeMemory
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.engine.beam import BeamSearch
from duologue.engine.engine import Engine, SpecialIds
from duologue.engine.sampling import Scores, filter_repeats, log_softmax
from duologue.engine.search import Hypothesis, Prompt, SingleSearch
from duologue.types import Options

EOS = 1
NOTHING = np.array([], np.int64)


def run(search: SingleSearch | BeamSearch, forward: FakeForward) -> list:
    steps = []
    while not steps or steps[-1].finished is None:
        logits = forward.decode_step(search.states, search.next_ids)
        steps.append(search.advance(Scores.of(logits, NOTHING), 0))
    return steps


def beam_steps(forward: FakeForward, memory: FakeMemory, options: Options) -> list:
    state = forward.start(memory)
    return run(BeamSearch(state, Prompt((0,), options, True), SpecialIds((EOS,))), forward)


def every_hypothesis(forward: FakeForward, memory: FakeMemory, depth: int) -> list[Hypothesis]:
    """Every sequence that ends by itself or has `depth` ids, with its probability."""
    others = [idx for idx in range(forward.config.vocab_size) if idx != EOS]
    found = []
    for length in range(depth + 1):
        for ids in itertools.product(others, repeat=length):
            ends = (EOS,) if length < depth else ()
            logprobs = []
            for position, idx in enumerate((*ids, *ends)):
                row = log_softmax(forward.logits_after(memory, [0, *ids[:position]]))
                logprobs.append(float(row[idx]))
            reason = "stop" if ends else "length"
            found.append(Hypothesis(ids, sum(logprobs), tuple(logprobs[:length]), reason))
    return found


@settings(max_examples=30, deadline=None)
@given(
    source=st.lists(st.integers(0, 9), max_size=3),
    sizes=st.sampled_from([(2, 5), (3, 3), (4, 3), (6, 2)]),
    length_penalty=st.sampled_from([0.0, 0.7, 1.0, 2.0]),
)
def test_beam_that_is_wide_enough_is_exhaustive_search(source, sizes, length_penalty) -> None:
    vocab_size, depth = sizes
    forward, memory = FakeForward(vocab_size), FakeMemory(tuple(source))
    expected = sorted(
        every_hypothesis(forward, memory, depth),
        key=lambda h: -h.logprob / h.num_scored**length_penalty,
    )[:5]
    options = Options(
        max_tokens=depth, beam_size=64, num_hypotheses=5, length_penalty=length_penalty
    )
    found = beam_steps(forward, memory, options)[-1].finished.hypotheses
    assert [h.ids for h in found] == [h.ids for h in expected]
    assert [h.finish_reason for h in found] == [h.finish_reason for h in expected]
    for hypothesis, twin in zip(found, expected, strict=True):
        assert hypothesis.logprob == pytest.approx(twin.logprob, abs=1e-4)
        assert hypothesis.token_logprobs == pytest.approx(twin.token_logprobs, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    source=st.lists(st.integers(0, 9), max_size=3),
    penalty=st.sampled_from([1.0, 1.5]),
    ngram=st.sampled_from([0, 2]),
)
def test_beam_of_one_is_greedy_search(source, penalty, ngram) -> None:
    forward, memory = FakeForward(5), FakeMemory(tuple(source))
    options = Options(max_tokens=12, repetition_penalty=penalty, no_repeat_ngram_size=ngram)
    greedy = run(
        SingleSearch(forward.start(memory), Prompt((0,), options), SpecialIds((EOS,))), forward
    )
    assert beam_steps(forward, memory, options)[-1].finished.best == greedy[-1].finished.best


def test_greedy_search_takes_the_likeliest_id_at_each_step() -> None:
    forward, memory = FakeForward(6), FakeMemory((3, 1))
    options = Options(max_tokens=20)
    best = run(
        SingleSearch(forward.start(memory), Prompt((0,), options), SpecialIds((EOS,))), forward
    )[-1].finished
    fed = [0]
    for idx in best.best.ids:
        assert idx == forward.logits_after(memory, fed).argmax()
        fed.append(idx)
    assert (forward.logits_after(memory, fed).argmax() == EOS) == (
        best.best.finish_reason == "stop"
    )


@settings(max_examples=40, deadline=None)
@given(
    source=st.lists(st.integers(0, 9), max_size=4),
    beam_size=st.integers(2, 5),
    patience=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_streamed_beams_commit_only_what_the_result_holds(source, beam_size, patience) -> None:
    options = Options(max_tokens=10, beam_size=beam_size, patience=patience)
    steps = beam_steps(FakeForward(5), FakeMemory(tuple(source)), options)
    committed: tuple[int, ...] = ()
    for step in steps:
        committed += step.committed_ids
        assert steps[-1].finished.best.ids[: len(committed)] == committed
    assert committed == steps[-1].finished.best.ids
    assert steps[-1].tail_ids == ()
    assert any(step.tail_ids for step in steps[:-1]) or len(steps) == 1


def test_beam_search_applies_the_repeat_filters_to_each_hypothesis() -> None:
    options = Options(max_tokens=8, beam_size=4, num_hypotheses=4, no_repeat_ngram_size=2)
    finished = beam_steps(FakeForward(4), FakeMemory((1,)), options)[-1].finished
    for hypothesis in finished.hypotheses:
        pairs = list(itertools.pairwise(hypothesis.ids))
        assert len(set(pairs)) == len(pairs), hypothesis


def test_logprobs_are_those_of_the_model_also_under_a_repetition_penalty() -> None:
    forward, memory = FakeForward(4), FakeMemory((2,))
    options = Options(max_tokens=6, beam_size=3, repetition_penalty=3.0)
    best = beam_steps(forward, memory, options)[-1].finished.best
    twins = {h.ids: h for h in every_hypothesis(forward, memory, 6)}
    assert best.token_logprobs == pytest.approx(twins[best.ids].token_logprobs, abs=1e-4)
    row = forward.logits_after(memory, [0])
    assert not np.array_equal(filter_repeats(row, [0], options, [EOS]), row)


def test_more_patience_never_finds_a_worse_hypothesis() -> None:
    def best(patience: float, source: int) -> float:
        options = Options(max_tokens=8, beam_size=3, patience=patience)
        found = beam_steps(FakeForward(5), FakeMemory((source,)), options)[-1].finished.best
        return found.logprob / found.num_scored

    gains = [best(4.0, source) - best(1.0, source) for source in range(12)]
    assert min(gains) >= 0
    assert max(gains) > 0


@pytest.mark.parametrize("beam_size", [1, 3])
def test_attention_has_one_row_per_produced_id(beam_size: int) -> None:
    engine = Engine(FakeForward(5), SpecialIds((EOS,)))  # type: ignore[arg-type]
    for source in range(8):
        memory = FakeMemory((source, 2, 3))
        options = Options(max_tokens=6, beam_size=beam_size)
        finished = engine.generate(memory, (0, 2), options, record_attention=True)
        ids = finished.best.ids
        # The fake writes the fed id into its row: an id is predicted where the one before is fed.
        assert finished.attention is not None
        assert finished.attention.tolist() == [[idx] * 3 for idx in (2, *ids)[: len(ids)]]
        assert engine.generate(memory, (0, 2), options).attention is None


def test_beam_scores_stay_finite_when_fewer_ids_are_possible_than_wanted() -> None:
    options = Options(max_tokens=4, beam_size=8, num_hypotheses=8, no_repeat_ngram_size=1)
    finished = beam_steps(FakeForward(3), FakeMemory(), options)[-1].finished
    assert all(math.isfinite(hypothesis.logprob) for hypothesis in finished.hypotheses)
    assert {h.ids for h in finished.hypotheses} == {(), (0,), (2,), (0, 2), (2, 0)}


def test_ended_hypotheses_leave_no_gap_in_the_beam() -> None:
    forward = FakeForward(6)
    for source in range(10):
        forward.batch_sizes.clear()
        options = Options(max_tokens=8, beam_size=3, patience=4.0)
        beam_steps(forward, FakeMemory((source,)), options)
        assert set(forward.batch_sizes[1:]) == {3}
