"""Samples: what one seed gives, alone, beside others, and several of one request."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_forward import FakeForward, FakeMemory
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.engine.engine import Engine, Finished, SpecialIds
from duologue.engine.sampling import Scores
from duologue.engine.search import Prompt, SingleSearch
from duologue.types import Options

EOS = 1
VOCAB = 6
SAMPLES = Options(max_tokens=9, temperature=1.5, num_hypotheses=4, seed=7)


def make_engine(absent_ids: tuple[int, ...] = (0,)) -> Engine:
    return Engine(FakeForward(VOCAB), SpecialIds((EOS,), absent_ids))  # type: ignore[arg-type]


def sample(options: Options, source: int = 2) -> Finished:
    return make_engine().generate(FakeMemory((source,)), (0, 3), options)


@settings(max_examples=60, deadline=None)
@given(
    company=st.lists(
        st.tuples(
            st.integers(0, 9),
            st.sampled_from(
                [
                    Options(max_tokens=8),
                    Options(max_tokens=5, beam_size=3),
                    Options(max_tokens=6, temperature=2.0),
                    replace(SAMPLES, num_hypotheses=2),
                ]
            ),
            st.integers(0, 4),
        ),
        max_size=8,
    ),
    place=st.integers(0, 8),
    options=st.sampled_from([SAMPLES, replace(SAMPLES, num_hypotheses=1, top_k=4, top_p=0.8)]),
)
def test_a_seeded_sample_is_the_same_alone_and_in_any_batch(company, place, options) -> None:
    engine = make_engine()
    request_id = None
    found = {}
    for number in range(len(company) + 1):
        if number == min(place, len(company)):
            request_id = engine.add(FakeMemory((2,)), (0, 3), options)
        if number < len(company):
            source, other, num_steps = company[number]
            engine.add(FakeMemory((source,)), (0,), other)
            for _ in range(num_steps):
                found |= {item.request_id: item.finished for item in engine.step()}
    while progress := engine.step():
        found |= {item.request_id: item.finished for item in progress}
    assert found[request_id].hypotheses == sample(options).hypotheses


@given(st.integers(1, 6), st.integers(0, 2**70))
def test_each_sample_is_the_same_however_many_are_asked_for(num: int, seed: int) -> None:
    six = sample(replace(SAMPLES, num_hypotheses=6, seed=seed)).hypotheses
    assert sample(replace(SAMPLES, num_hypotheses=num, seed=seed)).hypotheses == six[:num]


def test_samples_of_one_request_are_independent() -> None:
    first, second = [], []
    for seed in range(300):
        one, other = sample(Options(4, temperature=2.0, num_hypotheses=2, seed=seed)).hypotheses
        first.append(one.ids[:1])
        second.append(other.ids[:1])
    agree = np.mean([one == other for one, other in zip(first, second, strict=True)])
    shares = [first.count(ids) / 300 * second.count(ids) / 300 for ids in set(first)]
    assert agree == pytest.approx(sum(shares), abs=0.1)
    assert len(set(first)) > 2


def test_samples_without_a_seed_differ_from_request_to_request() -> None:
    options = replace(SAMPLES, seed=None, max_tokens=20)
    assert len({sample(options).hypotheses[3].ids for _ in range(8)}) > 1


def test_the_first_sample_is_streamed_and_the_end_waits_for_all() -> None:
    longest_is_another = 0
    for seed in range(20):
        engine = make_engine()
        options = replace(SAMPLES, seed=seed)
        progress = list(engine.stream(engine.add(FakeMemory((2,)), (0,), options)))
        finished = progress[-1].finished
        assert finished is not None
        assert tuple(idx for item in progress for idx in item.committed_ids) == finished.best.ids
        longest = max(len(hypothesis.ids) for hypothesis in finished.hypotheses)
        longest_is_another += len(finished.best.ids) < longest
    assert longest_is_another > 3


def test_rows_of_samples_that_ended_leave_the_step() -> None:
    forward = FakeForward(VOCAB)
    engine = Engine(forward, SpecialIds((EOS,), (0,)))  # type: ignore[arg-type]
    found = engine.generate(FakeMemory((2,)), (0, 3), SAMPLES).hypotheses
    fed = [len(hypothesis.ids) + (hypothesis.finish_reason == "stop") for hypothesis in found]
    expected = [sum(count > step for count in fed) for step in range(max(fed))]
    assert forward.batch_sizes == [1, 1, *expected[1:]]
    assert len(set(expected)) > 2


def test_samples_share_the_memory_of_their_request() -> None:
    forward, memory = FakeForward(VOCAB), FakeMemory((2, 4))
    search = SingleSearch(forward.start(memory), Prompt((0, 3), SAMPLES), SpecialIds((EOS,)))
    for num_rows in (1, 1, 4):
        assert len(search.states) == num_rows
        assert all(state.memory is memory for state in search.states)  # type: ignore[attr-defined]
        logits = forward.decode_step(search.states, search.next_ids)  # type: ignore[arg-type]
        search.advance(Scores.of(logits, np.array([EOS])), 0)


def test_the_repeat_filters_look_at_each_sample_by_itself() -> None:
    options = replace(SAMPLES, no_repeat_ngram_size=1, max_tokens=20)
    for hypothesis in sample(options).hypotheses:
        assert len(set(hypothesis.ids)) == len(hypothesis.ids)


def test_the_attention_of_samples_is_that_of_the_first() -> None:
    for seed in range(8):
        options = replace(SAMPLES, seed=seed)
        finished = make_engine().generate(FakeMemory((2, 5)), (0, 3), options, True)
        ids = finished.best.ids
        assert finished.attention is not None
        assert finished.attention.tolist() == [[idx] * 2 for idx in (3, *ids)[: len(ids)]]
