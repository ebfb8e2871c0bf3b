from __future__ import annotations

import threading

import pytest
from fake_forward import FakeForward, FakeMemory
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.engine.engine import Engine, Finished, SpecialIds
from duologue.errors import EngineError
from duologue.types import EngineOptions, Options

EOS = 1
VOCAB = 6

OPTIONS = st.sampled_from(
    [
        Options(max_tokens=6),
        Options(max_tokens=9, no_repeat_ngram_size=2, repetition_penalty=1.3),
        Options(max_tokens=6, beam_size=2, num_hypotheses=2),
        Options(max_tokens=5, beam_size=3, patience=2.0),
        Options(max_tokens=7, temperature=1.0, seed=3),
        Options(max_tokens=7, temperature=0.7, top_k=3, top_p=0.9, seed=4),
        Options(max_tokens=7, temperature=1.5, num_hypotheses=3, seed=5),
    ]
)
SOURCES = st.lists(st.integers(0, 9), max_size=3).map(lambda ids: FakeMemory(tuple(ids)))
PREFIXES = st.sampled_from([(0,), (0, 2), (4, 3, 2)])
ADD = st.tuples(SOURCES, PREFIXES, OPTIONS)


def make_engine(max_rows: int = 8) -> Engine:
    options = EngineOptions(max_rows)
    return Engine(FakeForward(VOCAB), SpecialIds((EOS,), (0,)), options)  # type: ignore[arg-type]


def alone(request) -> Finished:
    return make_engine().generate(*request)


def gather(engine: Engine, found: dict, committed: dict) -> int:
    progress = engine.step()
    for item in progress:
        committed[item.request_id] = committed.get(item.request_id, ()) + item.committed_ids
        if item.finished is not None:
            assert item.request_id not in found, "finished twice"
            found[item.request_id] = item.finished
    engine.check()
    return len(progress)


@settings(max_examples=60, deadline=None)
@given(
    actions=st.lists(st.one_of(ADD, st.just("step"), st.integers(0, 5)), max_size=25),
    max_rows=st.integers(3, 8),
)
def test_batched_requests_equal_requests_alone(actions, max_rows) -> None:
    engine = make_engine(max_rows)
    requests: dict[int, tuple] = {}
    aborted: set[int] = set()
    found: dict[int, Finished] = {}
    committed: dict[int, tuple] = {}
    for action in actions:
        if action == "step":
            gather(engine, found, committed)
        elif isinstance(action, int):
            engine.abort(action)
            aborted |= {action} & requests.keys() - found.keys()
        else:
            requests[engine.add(*action)] = action
    while gather(engine, found, committed):
        pass
    assert found.keys() == requests.keys()
    for request_id, request in requests.items():
        best = found[request_id].best
        assert committed[request_id] == best.ids
        expected = alone(request)
        if request_id in aborted:
            assert best.finish_reason == "abort"
        else:
            assert found[request_id].hypotheses == expected.hypotheses
    assert engine.step() == []


def test_greedy_progress_comes_token_by_token() -> None:
    engine = make_engine()
    progress = list(engine.stream(engine.add(FakeMemory((2,)), (0,), Options(max_tokens=4))))
    assert [len(item.committed_ids) for item in progress[:-1]] == [1] * (len(progress) - 1)
    assert progress[-1].finished is not None


def test_absent_ids_are_never_produced() -> None:
    engine = Engine(FakeForward(4), SpecialIds((EOS,), (0, EOS, 3)))  # type: ignore[arg-type]
    for source in range(10):
        for options in (
            Options(max_tokens=5),
            Options(max_tokens=5, temperature=2.0, seed=source),
            Options(max_tokens=5, beam_size=3),
        ):
            assert set(engine.generate(FakeMemory((source,)), (0,), options).best.ids) <= {2}


def test_a_seed_decides_a_sample_and_no_seed_means_a_fresh_one() -> None:
    engine = make_engine()

    def draw(seed: int | None) -> tuple[int, ...]:
        options = Options(max_tokens=30, temperature=3.0, seed=seed)
        return engine.generate(FakeMemory(), (0,), options).best.ids

    assert draw(1) == draw(1)
    assert len({draw(None) for _ in range(8)}) > 1


def test_requests_run_together_in_one_step() -> None:
    forward = FakeForward(VOCAB)
    engine = Engine(forward, SpecialIds((EOS,), (EOS,)), EngineOptions(3))  # type: ignore[arg-type]
    for source in range(4):
        engine.add(FakeMemory((source,)), (0,), Options(max_tokens=2))
    while engine.step():
        engine.check()
    assert forward.batch_sizes == [3, 3, 1, 1]


def test_first_in_the_queue_is_never_overtaken() -> None:
    engine = make_engine(max_rows=4)
    options = Options(max_tokens=3)
    engine.add(FakeMemory(), (0, 2, 3, 4), options)
    wide = engine.add(FakeMemory(), (0,), Options(max_tokens=3, beam_size=4))
    narrow = engine.add(FakeMemory(), (0,), options)
    order = []
    while progress := engine.step():
        order += [item.request_id for item in progress if item.request_id in (wide, narrow)]
    assert order[0] == wide


@pytest.mark.parametrize(
    ("memory", "prefix", "options", "message"),
    [
        (
            FakeMemory(),
            (0,),
            Options(max_tokens=1, beam_size=9),
            "needs 9 rows .* the engine has 8",
        ),
        (FakeMemory(), (0, 2), Options(max_tokens=63), "prefix of 2 .* max_tokens 63 .* 64"),
        (FakeMemory(tuple(range(65))), (0,), Options(max_tokens=1), "65 tokens.* at most 64"),
        (FakeMemory(), (), Options(max_tokens=1), "prefix is empty"),
    ],
)
def test_a_request_that_can_never_fit_is_refused_at_once(memory, prefix, options, message) -> None:
    engine = make_engine()
    with pytest.raises(EngineError, match=message):
        engine.add(memory, prefix, options)
    engine.check()
    assert engine.step() == []


def test_a_request_of_the_largest_size_is_served() -> None:
    engine = make_engine()
    options = Options(max_tokens=63, beam_size=8)
    assert engine.generate(FakeMemory(tuple(range(64))), (0,), options).hypotheses


def test_closing_a_stream_frees_its_rows_at_the_next_step() -> None:
    engine = make_engine(max_rows=1)
    stream = engine.stream(engine.add(FakeMemory(), (0, 2, 3), Options(max_tokens=9)))
    next(stream)
    waiting = engine.add(FakeMemory((3,)), (0,), Options(max_tokens=2))
    stream.close()
    progress = engine.step()
    ended = next(item.finished for item in progress if item.finished)
    assert ended.best.finish_reason == "abort"
    assert waiting in {item.request_id for item in progress}
    engine.check()


def test_a_late_stream_gets_what_was_committed_before() -> None:
    engine = Engine(FakeForward(VOCAB), SpecialIds((EOS,), (EOS,)))  # type: ignore[arg-type]
    request_id = engine.add(FakeMemory((5,)), (0,), Options(max_tokens=6))
    engine.step()
    engine.step()
    progress = list(engine.stream(request_id))
    assert len(progress[0].committed_ids) == 2
    assert progress[-1].finished is not None
    ids = [idx for item in progress for idx in item.committed_ids]
    assert tuple(ids) == progress[-1].finished.best.ids


def test_streaming_twice_or_after_the_end_is_refused() -> None:
    engine = make_engine()
    request_id = engine.add(FakeMemory(), (0,), Options(max_tokens=2))
    stream = engine.stream(request_id)
    with pytest.raises(EngineError, match="streamed already"):
        engine.stream(request_id)
    list(stream)
    with pytest.raises(EngineError, match="over"):
        engine.stream(request_id)


def test_interleaved_streams_each_get_their_own_progress() -> None:
    engine = make_engine()
    requests = [(FakeMemory((n,)), (0,), Options(max_tokens=5)) for n in range(3)]
    streams = [engine.stream(engine.add(*request)) for request in requests]
    found: list[tuple[int, ...]] = [(), (), ()]
    pending = {0, 1, 2}
    while pending:
        for number in sorted(pending):
            item = next(streams[number])
            found[number] += item.committed_ids
            pending -= {number} if item.finished else set()
    assert found == [alone(request).best.ids for request in requests]


def test_generate_batch_keeps_the_order_and_draws_sources_as_rows_come_free() -> None:
    engine = make_engine(max_rows=4)
    options = Options(max_tokens=5, beam_size=2)
    outstanding: list[int] = []

    def sources():
        for number in range(7):
            outstanding.append(len(engine._live))
            yield FakeMemory((number,)), (0,)

    found = engine.generate_batch(sources(), options)
    expected = [alone((FakeMemory((n,)), (0,), options)) for n in range(7)]
    assert [item.hypotheses for item in found] == [item.hypotheses for item in expected]
    assert outstanding[:2] == [0, 1]
    assert max(outstanding) == 1
    engine.check()
    assert engine.generate_batch([], options) == []


def test_a_source_that_fails_leaves_no_request_behind() -> None:
    engine = make_engine(max_rows=2)

    def sources():
        yield FakeMemory(), (0,)
        raise ValueError("broken source")

    with pytest.raises(ValueError, match="broken source"):
        engine.generate_batch(sources(), Options(max_tokens=5))
    engine.step()
    engine.check()
    assert engine._live == {}


def test_a_failing_step_ends_what_runs_and_the_engine_goes_on() -> None:
    forward = FakeForward(VOCAB)
    engine = Engine(forward, SpecialIds((EOS,), (EOS,)), EngineOptions(1))  # type: ignore[arg-type]
    running = engine.stream(engine.add(FakeMemory((1,)), (0,), Options(max_tokens=5)))
    waiting = engine.stream(engine.add(FakeMemory((2,)), (0,), Options(max_tokens=5)))
    first = next(running)
    forward.fails_at_step = 2
    with pytest.raises(RuntimeError):
        engine.step()
    last = list(running)[-1].finished
    assert last is not None
    assert last.best.finish_reason == "error"
    assert last.best.ids == first.committed_ids
    engine.check()
    assert len(list(waiting)[-1].finished.best.ids) == 5  # type: ignore[union-attr]


def test_threads_share_the_steps_and_get_what_they_would_get_alone() -> None:
    engine = make_engine(max_rows=4)
    requests = [
        (FakeMemory((n, 7)), (0, 2), Options(max_tokens=8, beam_size=1 + n % 2)) for n in range(8)
    ]
    found: dict[int, Finished] = {}

    def work(number: int) -> None:
        found[number] = engine.generate(*requests[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    for number, request in enumerate(requests):
        assert found[number].hypotheses == alone(request).hypotheses
    engine.check()
