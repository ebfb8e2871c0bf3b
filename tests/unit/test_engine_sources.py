"""Sources that the engine encodes itself, between the decoding steps of others."""

from __future__ import annotations

import gc
from dataclasses import replace
from itertools import groupby

import pytest
from fake_forward import DOCUMENT, FakeEncoding, FakeForward, FakeMemory
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.engine.engine import EncodeItem, Engine, SpecialIds
from duologue.errors import EngineError
from duologue.types import EngineOptions, Options

EOS = 1
VOCAB = 8
GREEDY = Options(max_tokens=5)
EMPTY = FakeMemory()


def make(options: EngineOptions | None = None, **settings) -> tuple[Engine, FakeForward]:
    """An engine whose requests end at max_tokens, and what it computes with."""
    forward = FakeForward(VOCAB, unlikely_id=EOS, **settings)
    return Engine(forward, SpecialIds((EOS,)), options, clock=forward.clock), forward  # type: ignore[arg-type]


def item(num_tokens: int, is_document: bool = False) -> EncodeItem:
    return EncodeItem([2 + n % 5 for n in range(num_tokens)], is_document)


def runs(log: list[str]) -> list[tuple[str, int]]:
    return [(name, len(list(group))) for name, group in groupby(log)]


@settings(max_examples=40, deadline=None)
@given(
    given_ids=st.lists(st.integers(2, 7), max_size=5),
    sources=st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=3),
    beam_size=st.integers(1, 3),
)
def test_sources_give_what_a_memory_that_was_encoded_before_gives(
    given_ids, sources, beam_size
) -> None:
    engine, forward = make()
    options = replace(GREEDY, beam_size=beam_size)
    items = [item(*source) for source in sources]
    memory = FakeMemory(tuple(given_ids))
    found = engine.generate(memory, (0,), options, sources=items)
    for ids, is_document in items:
        memory = forward.encode(ids, memory, is_document)
    assert found.memory == memory
    alone = engine.generate(memory, (0,), options)
    assert found.hypotheses == alone.hypotheses
    assert alone.memory is None
    assert any(idx >= DOCUMENT for idx in memory.ids) == any(is_doc for _, is_doc in sources)


def test_the_memory_comes_once_before_the_first_ids_and_can_be_gone_on_from() -> None:
    engine, _ = make()
    progress = list(engine.stream(engine.add(EMPTY, (0,), GREEDY, sources=[item(3)])))
    assert progress[0].memory is not None
    assert progress[0].committed_ids == ()
    assert [one.memory for one in progress[1:]] == [None] * 5
    finished = progress[-1].finished
    assert finished is not None
    assert finished.memory is progress[0].memory
    longer = engine.generate(finished.memory, (0,), GREEDY, sources=[item(2)])
    assert longer.memory is not None
    assert longer.memory.num_tokens == 5


def test_a_late_stream_gets_the_memory_too() -> None:
    engine, _ = make()
    request_id = engine.add(EMPTY, (0,), GREEDY, sources=[item(3)])
    engine.step()
    first, *rest = engine.stream(request_id)
    assert first.memory is not None
    assert len(first.committed_ids) == 1
    assert all(one.memory is None for one in rest)


def test_a_stream_that_begins_while_a_step_runs_gets_the_memory_once(monkeypatch) -> None:
    engine, forward = make()
    request_id = engine.add(EMPTY, (0,), GREEDY, sources=[item(3)])
    streams = []
    decode_step = forward.decode_step

    def subscribe_and_decode(states, ids):
        if not streams:
            streams.append(engine.stream(request_id))  # as another thread might
        return decode_step(states, ids)

    monkeypatch.setattr(forward, "decode_step", subscribe_and_decode)
    engine.step()
    progress = list(streams[0])
    assert [one.memory is not None for one in progress] == [True] + [False] * 5


def test_prompts_are_encoded_between_the_steps_of_a_running_stream_within_the_gap() -> None:
    engine, forward = make(EngineOptions(max_gap_ms=25), chunk_s=0.01, step_s=0.002)
    engine.add(EMPTY, (0,), replace(GREEDY, max_tokens=20))
    engine.step()
    engine.add(EMPTY, (0,), GREEDY, sources=[item(20)])
    forward.log.clear()
    for _ in range(5):
        engine.step()
        engine.check()
    # Chunks begin 0, 10 and 20 ms after the tokens went out; the prompt has ten.
    per_step = [("chunk", 3), ("step", 1)] * 3
    assert runs(forward.log) == [*per_step, ("chunk", 1), ("step", 2)]
    assert forward.batch_sizes == [1, 1, 1, 1, 2, 2]


@settings(max_examples=60, deadline=None)
@given(
    adds=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=10),
    max_gap_ms=st.sampled_from([0, 5, 30, 100]),
    chunk_s=st.sampled_from([0.001, 0.007, 0.04]),
    step_s=st.sampled_from([0.001, 0.02]),
)
def test_running_streams_never_wait_longer_than_the_gap_a_chunk_and_a_step(
    adds, max_gap_ms, chunk_s, step_s
) -> None:
    engine, forward = make(EngineOptions(4, max_gap_ms), chunk_s=chunk_s, step_s=step_s)
    last_s: float | None = None

    def step() -> bool:
        nonlocal last_s
        was_running = bool(engine._scheduler.running)
        progress = engine.step()
        now_s = forward.clock.now_s
        if was_running and last_s is not None:
            assert now_s - last_s <= max_gap_ms / 1000 + chunk_s + step_s + 1e-9
        last_s = now_s
        return bool(progress) or bool(engine._live)

    for num_tokens, num_steps in adds:
        engine.add(EMPTY, (0,), GREEDY, sources=[item(num_tokens)] if num_tokens else [])
        for _ in range(num_steps):
            step()
    while step():
        pass
    assert forward.log.count("chunk") == sum(-(-num_tokens // 2) for num_tokens, _ in adds)


@pytest.mark.parametrize(("max_gap_ms", "read_s"), [(0, 0.0), (50, 9.0)])
def test_one_chunk_is_always_done_even_without_a_gap_or_with_a_slow_reader(
    max_gap_ms: float, read_s: float
) -> None:
    engine, forward = make(EngineOptions(max_gap_ms=max_gap_ms), chunk_s=0.01)
    engine.add(EMPTY, (0,), replace(GREEDY, max_tokens=9))
    engine.step()
    engine.add(EMPTY, (0,), GREEDY, sources=[item(6)])
    forward.log.clear()
    for _ in range(4):
        forward.clock.now_s += read_s
        engine.step()
    assert forward.log == ["chunk", "step"] * 3 + ["step"]


def test_with_nothing_running_encoding_goes_on_until_a_prompt_is_ready() -> None:
    engine, forward = make(EngineOptions(max_gap_ms=1), chunk_s=1.0)
    first = engine.add(EMPTY, (0,), GREEDY, sources=[item(6), item(4)])
    engine.add(EMPTY, (0,), GREEDY, sources=[item(6)])
    forward.clock.now_s += 60
    assert {one.request_id for one in engine.step()} == {first}
    assert forward.log == ["chunk"] * 5 + ["step"]


def test_prompts_are_encoded_in_order_and_ready_memories_do_not_wait_for_them() -> None:
    engine, _ = make(EngineOptions(max_gap_ms=0))
    long = engine.add(EMPTY, (0,), GREEDY, sources=[item(8)])
    short = engine.add(EMPTY, (0,), GREEDY, sources=[item(2)])
    ready = engine.add(EMPTY, (0,), GREEDY)
    order: dict[int, None] = {}
    while progress := engine.step():
        order |= dict.fromkeys(one.request_id for one in progress)
    assert list(order) == [ready, long, short]


@pytest.mark.parametrize("num_steps", [0, 1, 2, 5])
def test_an_aborted_request_frees_its_pages_by_the_next_step(num_steps: int) -> None:
    engine, forward = make(EngineOptions(max_gap_ms=0), pool_bytes=1000)
    other = engine.add(EMPTY, (0,), replace(GREEDY, max_tokens=30))
    engine.step()
    before = forward.pool.used_bytes
    options = Options(max_tokens=12, beam_size=3)
    request_id = engine.add(EMPTY, (0,), options, sources=[item(5), item(3)])
    for _ in range(num_steps):
        engine.step()
        engine.check(held_bytes=0)
    taken = forward.pool.used_bytes - before
    assert (taken > 0) == (num_steps > 0)
    engine.abort(request_id)
    engine.abort(request_id)
    ended = [one for one in engine.step() if one.request_id == request_id]
    assert [one.finished.best.finish_reason for one in ended] == ["abort"]  # type: ignore[union-attr]
    assert ended[0].finished.memory is None  # type: ignore[union-attr]
    engine.abort(other)
    engine.step()
    assert forward.pool.used_bytes == 0
    engine.check(held_bytes=0)


def test_a_request_that_is_aborted_while_it_is_encoded_is_not_encoded_further(monkeypatch) -> None:
    engine, forward = make()
    aborted = engine.add(EMPTY, (0,), GREEDY, sources=[item(20)])
    other = engine.add(EMPTY, (0,), GREEDY, sources=[item(4)])
    advance = FakeEncoding.advance

    def advance_and_abort(encoding: FakeEncoding) -> bool:
        engine.abort(aborted)  # as another thread might
        return advance(encoding)

    monkeypatch.setattr(FakeEncoding, "advance", advance_and_abort)
    assert {one.request_id for one in engine.step()} == {other}
    assert forward.log == ["chunk"] * 3 + ["step"]
    assert engine.step()[0].request_id == aborted


def test_what_the_encoder_refuses_ends_that_request_alone() -> None:
    engine, forward = make(pool_bytes=1000)
    running = engine.add(EMPTY, (0,), GREEDY)
    engine.step()
    broken = engine.add(EMPTY, (0,), GREEDY, sources=[item(4)])
    forward.problem = EngineError("no room for this")
    ended = {one.request_id: one.finished for one in engine.step() if one.finished}
    assert ended.keys() == {broken}
    assert ended[broken].best.finish_reason == "error"
    assert ended[broken].problem == "no room for this"
    assert ended[broken].memory is None
    engine.check(held_bytes=0)
    progress = list(engine.stream(running))
    assert progress[-1].finished is not None
    assert progress[-1].finished.best.finish_reason == "length"


def test_a_failing_encoder_ends_what_was_admitted_and_the_engine_goes_on() -> None:
    engine, forward = make(EngineOptions(max_rows=2), pool_bytes=1000)
    numbers = [engine.add(EMPTY, (0,), GREEDY)]
    engine.step()
    numbers.append(engine.add(EMPTY, (0,), GREEDY, sources=[item(4)]))
    waiting = engine.stream(engine.add(EMPTY, (0,), GREEDY, sources=[item(4)]))
    streams = [engine.stream(number) for number in numbers]
    forward.problem = RuntimeError("broken")
    with pytest.raises(RuntimeError, match="broken"):
        engine.step()
    engine.check()
    gc.collect()  # the exception held the frames of the step
    engine.check(held_bytes=0)
    assert forward.pool.used_bytes == 0
    for stream in streams:
        finished = list(stream)[-1].finished
        assert finished is not None
        assert finished.best.finish_reason == "error"
        assert finished.problem
    forward.problem = None
    assert len(list(waiting)[-1].finished.best.ids) == 5  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([EncodeItem([])], "source .* empty"),
        ([EncodeItem([2]), EncodeItem([VOCAB])], "source holds ids outside .* 8"),
        ([item(40), item(20)], "65 tokens, sources included, .* at most 64"),
    ],
)
def test_sources_that_can_never_be_encoded_are_refused_at_once(sources, message) -> None:
    engine, _ = make()
    with pytest.raises(EngineError, match=message):
        engine.add(FakeMemory((2, 3, 4, 5, 6)), (0,), GREEDY, sources=sources)
    engine.check()
    assert engine.step() == []


@pytest.mark.parametrize(
    ("mask", "lengths", "expected"),
    [
        ("block_causal", [5, 3], [5, 3]),
        ("block_causal", [], []),
        ("full", [5], [12]),  # everything is one new segment; what it replaces is held elsewhere
        ("full", [5, 3], [12, 15]),
        ("full", [5, 3, 4], [15, 19]),
        ("full", [], []),
    ],
)
def test_sources_reserve_what_they_take_at_most_at_any_time(mask, lengths, expected) -> None:
    engine, forward = make(pool_bytes=10_000)
    forward.config.encoder_mask = mask
    options = Options(max_tokens=6, beam_size=2)
    engine.add(FakeMemory((2,) * 7), (0, 3), options, sources=[item(n) for n in lengths])
    (queue,) = engine._scheduler.waiting.values()
    decoder = forward.request_bytes(0, 8, 2)
    assert queue[0].num_bytes == decoder + sum(forward.request_bytes(n, 0, 0) for n in expected)
