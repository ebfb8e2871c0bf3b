"""The engine on the native module: what a request gets does not depend on its company."""

from __future__ import annotations

import contextlib
import gc
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duologue.checkpoint.weights import Weights, to_precision
from duologue.config import ModelConfig
from duologue.engine.engine import EncodeItem, Engine, Finished, SpecialIds
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory
from duologue.engine.trie import score_labels
from duologue.errors import EngineError, OverloadedError
from duologue.types import EngineOptions, Options

EOS = 1
OPTIONS = st.sampled_from(
    [
        Options(max_tokens=9),
        Options(max_tokens=20, no_repeat_ngram_size=3),
        Options(max_tokens=7, beam_size=3, num_hypotheses=3),
        Options(max_tokens=9, temperature=0.8, top_p=0.9, seed=11),
        Options(max_tokens=9, temperature=1.2, num_hypotheses=3, seed=12),
    ]
)
REQUESTS = st.lists(
    st.tuples(
        st.lists(st.integers(20, 200), max_size=20),
        st.lists(st.integers(20, 200), min_size=1, max_size=3),
        OPTIONS,
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(
    scope="module", params=[(c, p) for c in ("transformer", "gru") for p in ("f32", "int8")]
)
def forward(
    request: pytest.FixtureRequest,
    tiny_config: Callable[..., ModelConfig],
    tiny_weights: Callable[[ModelConfig], Weights],
) -> Forward:
    cell, precision = request.param
    config = tiny_config(cell)
    return Forward(config, to_precision(tiny_weights(config), precision), threads=2)


def memory_of(forward: Forward, ids: list[int]) -> Memory:
    return forward.encode(ids, Memory.empty()) if ids else Memory.empty()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests=REQUESTS)
def test_requests_that_join_and_leave_get_what_they_would_get_alone(
    forward: Forward, requests: list
) -> None:
    engine = Engine(forward, SpecialIds((EOS,)), EngineOptions(max_rows=6))
    expected = {}
    found: dict[int, Finished] = {}

    def step() -> int:
        progress = engine.step()
        found.update({item.request_id: item.finished for item in progress if item.finished})
        engine.check()
        return len(progress)

    for ids, prefix, options, num_steps in requests:
        memory = memory_of(forward, ids)
        expected[engine.add(memory, prefix, options)] = Engine(
            forward, SpecialIds((EOS,))
        ).generate(memory, prefix, options)
        for _ in range(num_steps):
            step()
    while step():
        pass
    assert found.keys() == expected.keys()
    for request_id, alone in expected.items():
        together = found[request_id].hypotheses
        assert [h.ids for h in together] == [h.ids for h in alone.hypotheses]
        for one, other in zip(together, alone.hypotheses, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-3)


def test_sources_give_what_memories_that_were_encoded_before_give(forward: Forward) -> None:
    engine = Engine(forward, SpecialIds((EOS,)), EngineOptions(max_gap_ms=0))
    sources = [EncodeItem([30, 31, 32], True), EncodeItem([40, 41]), EncodeItem([50] * 20)]
    options = Options(max_tokens=8)
    begun = engine.stream(engine.add(Memory.empty(), [20], Options(max_tokens=30)))
    next(begun)
    found = engine.generate(memory_of(forward, [60, 61]), [20, 21], options, sources=sources)
    engine.check()
    memory = memory_of(forward, [60, 61])
    for ids, is_document in sources:
        memory = forward.encode(ids, memory, is_document)
    assert found.memory == memory
    alone = engine.generate(memory, [20, 21], options)
    assert found.best.ids == alone.best.ids
    assert found.best.logprob == pytest.approx(alone.best.logprob, abs=1e-3)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 40])
def test_a_request_needs_no_more_bytes_for_a_source_than_it_says(
    forward: Forward, length: int
) -> None:
    bound = forward.request_bytes(length, 0, 0)
    taken = memory_of(forward, [30] * length).num_bytes
    assert taken <= bound <= forward.request_bytes(length + 16, 0, 0)
    assert bound <= taken + forward.request_bytes(16, 0, 0)
    assert forward.request_bytes(0, 0, 8) >= forward.request_bytes(0, 0, 0) == 0
    assert forward.request_bytes(length, 9, 2) - bound == 2 * forward.request_bytes(0, 9, 1)


@pytest.mark.parametrize(
    "options",
    [
        Options(max_tokens=40),
        Options(max_tokens=40, beam_size=5),
        Options(max_tokens=40, temperature=1, seed=1, num_hypotheses=3),
    ],
)
def test_a_request_takes_no_more_of_the_pool_than_it_says(
    forward: Forward, options: Options
) -> None:
    engine = Engine(forward, SpecialIds((EOS,), (EOS,)))
    before = forward.pool.used_bytes
    bound = forward.request_bytes(20, 0, 0) + forward.request_bytes(0, 42, options.num_rows)
    sources = [EncodeItem([30] * 20)]
    largest = 0
    stream = engine.open_stream(Memory.empty(), [20, 21], options, sources=sources)
    for _ in stream:
        largest = max(largest, forward.pool.used_bytes - before)
        forward.pool.check()
    assert 0 < largest <= bound


@pytest.mark.parametrize("cell", ["transformer", "gru"])
def test_two_thousand_requests_on_the_real_pool_end_once_each_and_leave_it_empty(
    cell: str, tiny_config: Callable[..., ModelConfig], tiny_weights: Callable
) -> None:
    config = tiny_config(cell)
    weights = to_precision(tiny_weights(config), "int8")
    page_bytes = 4 * 16 * config.d_model
    forward = Forward(config, weights, threads=1, cache_bytes=150 * page_bytes)
    engine = Engine(
        forward, SpecialIds((EOS,)), EngineOptions(max_rows=12, max_waiting=60, max_gap_ms=1)
    )
    draw = random.Random(8)
    ends: Counter[int] = Counter()
    reasons: Counter[str] = Counter()
    added: list[int] = []
    while len(added) < 2000 or len(ends) < len(added):
        for _ in range(min(draw.randrange(4), 2000 - len(added))):
            rows = draw.choice([1, 1, 1, 2, 4])
            sampled = draw.random() < 0.5
            options = Options(
                draw.randint(1, 20),
                beam_size=1 if sampled else rows,
                temperature=1.0 if sampled else 0.0,
                num_hypotheses=rows if sampled else 1,
                seed=3,
            )
            sources = [
                EncodeItem([draw.randrange(300, 400)] * draw.randint(1, 20), draw.random() < 0.3)
                for _ in range(draw.randrange(3))
            ]
            with contextlib.suppress(OverloadedError):
                client = str(draw.randrange(3))
                added.append(
                    engine.add(Memory.empty(), [20], options, sources=sources, client=client)
                )
        if added and draw.random() < 0.2:
            engine.abort(draw.choice(added[-40:]))
        for number, finished in [(one.request_id, one.finished) for one in engine.step()]:
            assert number not in ends, "something came after the end"
            if finished is not None:
                ends[number] += 1
                reasons[finished.best.finish_reason] += 1
        finished = None  # the last one's memory is not to be held
        engine.check(held_bytes=0)
    assert ends.total() == len(added) == 2000
    assert reasons.keys() <= {"stop", "length", "abort"}
    assert reasons["abort"] > 30
    gc.collect()
    forward.pool.check()
    assert forward.pool.used_bytes == 0


def test_the_memory_of_another_model_is_refused_at_once(
    forward: Forward, tiny_config: Callable[..., ModelConfig], tiny_weights: Callable
) -> None:
    config = replace(tiny_config(forward.config.cell), d_model=2 * forward.config.d_model)
    foreign = memory_of(Forward(config, tiny_weights(config), threads=1), [30])
    engine = Engine(forward, SpecialIds((EOS,)))
    with pytest.raises(EngineError):
        engine.add(foreign, [20], Options())
    engine.check()


def test_attention_rows_of_each_produced_id_sum_to_one(forward: Forward) -> None:
    memory = memory_of(forward, [30, 31, 32])
    engine = Engine(forward, SpecialIds((EOS,), (EOS,)))
    for options in (Options(max_tokens=6), Options(max_tokens=6, beam_size=3)):
        finished = engine.generate(memory, [20, 21], options, record_attention=True)
        assert finished.attention is not None
        assert finished.attention.shape == (6, 3)
        assert finished.attention.sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_label_probabilities_sum_to_one(forward: Forward) -> None:
    labels = [[30], [30, 31], [32, 33, 34], [32, 33, 35], []]
    probabilities = score_labels(forward, memory_of(forward, [40, 41]), [20, 21], labels, EOS)
    assert probabilities.sum() == pytest.approx(1)
    assert (probabilities > 0).all()
