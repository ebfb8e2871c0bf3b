"""Who is admitted when, and within which budget."""

from __future__ import annotations

from collections import deque
from weakref import WeakSet

import pytest
from fake_forward import PAGE_BYTES, FakeMemory, FakeState
from hypothesis import given, settings
from hypothesis import strategies as st
from many_requests import ACTIONS, EMPTY, EOS, Ends, make, without_memory

from duologue.engine.engine import EncodeItem, Engine
from duologue.engine.request import Request, Status
from duologue.engine.scheduler import Pace
from duologue.errors import DuologueError, EngineError, OverloadedError
from duologue.types import EngineOptions, Options


def add(engine: Engine, client: str = "", options: Options | None = None, **settings) -> int:
    return engine.add(EMPTY, (0,), options or Options(max_tokens=3), client=client, **settings)


def waiting(engine: Engine) -> list[Request]:
    return [request for queue in engine._scheduler.waiting.values() for request in queue]


def admitted(engine: Engine) -> list[Request]:
    return [*engine._scheduler.encoding, *engine._scheduler.running]


def test_progress_tells_when_a_request_left_the_queue() -> None:
    engine, forward = make(EngineOptions(max_rows=1), step_s=1.0)
    first, second, dropped = add(engine), add(engine), add(engine)
    engine.abort(dropped)
    begun_s = forward.clock.now_s
    told: dict[int, set[float | None]] = {}
    while progress := engine.step():
        for item in progress:
            told.setdefault(item.request_id, set()).add(item.admitted_s)
    # The first one decodes three tokens.
    assert told == {first: {begun_s}, second: {begun_s + 3.0}, dropped: {None}}


# --- the order of admission --------------------------------------------------------------------


class Rounds:
    """The rule, written again: clients take turns; within a client, first come, first served."""

    def __init__(self) -> None:
        self.queues: dict[str, deque[Request]] = {}
        self.turns: deque[str] = deque()

    def add(self, request: Request) -> None:
        queue = self.queues.setdefault(request.client, deque())
        queue.append(request)
        if len(queue) == 1:
            self.turns.append(request.client)

    def drop(self, request: Request) -> None:
        queue = self.queues[request.client]
        queue.remove(request)
        if not queue:
            self.turns.remove(request.client)

    def take(self) -> Request:
        client = self.turns.popleft()
        request = self.queues[client].popleft()
        if self.queues[client]:
            self.turns.append(client)
        return request


@settings(max_examples=80, deadline=None)
@given(actions=ACTIONS, max_rows=st.integers(4, 6))
def test_admission_follows_clients_and_arrival_whatever_the_sizes(actions, max_rows) -> None:
    engine, _ = make(EngineOptions(max_rows))
    rounds = Rounds()

    def step() -> None:
        before = {id(request) for request in waiting(engine)}
        dropped = [r for r in waiting(engine) if r.is_aborted]
        engine.step()
        for request in dropped:
            rounds.drop(request)
        left = before - {id(request) for request in waiting(engine)} - {id(r) for r in dropped}
        for _ in range(len(left)):
            assert id(rounds.take()) in left, "somebody was overtaken"

    for action in actions:
        if action == "step":
            step()
        elif isinstance(action, int):
            engine.abort(action)
        else:
            prefix, options, sources, client = action
            number = engine.add(EMPTY, prefix, options, False, sources, client)
            rounds.add(engine._live[number])
    while engine._live:
        step()
    assert not rounds.turns


def test_rows_are_given_out_as_long_as_the_next_request_fits() -> None:
    engine, _ = make(EngineOptions(max_rows=5))
    for beam_size in (2, 3, 1):
        add(engine, options=Options(max_tokens=9, beam_size=beam_size))
    engine.step()
    assert [request.num_rows for request in admitted(engine)] == [2, 3]
    assert [request.num_rows for request in waiting(engine)] == [1]


def test_a_client_with_a_thousand_requests_does_not_hold_up_another() -> None:
    engine, _ = make(EngineOptions(max_rows=1))
    crowd = [add(engine, "crowd") for _ in range(1000)]
    ends = Ends()
    ends.take(engine.step())
    alone = [add(engine, "alone") for _ in range(2)]
    while not ends.found.keys() >= set(alone):
        ends.take(engine.step())
    assert list(ends.found) == [crowd[0], crowd[1], alone[0], crowd[2], alone[1]]


def test_a_wide_request_is_admitted_however_many_narrow_ones_keep_coming() -> None:
    engine, _ = make(EngineOptions(max_rows=4), unlikely_id=EOS)
    for _ in range(4):
        add(engine, "narrow", Options(max_tokens=5))
    engine.step()
    wide = engine._live[add(engine, "wide", Options(max_tokens=2, beam_size=4))]
    num_steps = 0
    while wide.status is Status.WAITING:
        for _ in range(4):
            add(engine, "narrow", Options(max_tokens=5))
        engine.step()
        num_steps += 1
    assert num_steps <= 2 * 5  # one narrow request may have its turn before


def test_a_large_request_of_a_client_is_not_overtaken_by_its_small_ones() -> None:
    engine, _ = make(EngineOptions(max_rows=4), unlikely_id=EOS)
    add(engine, options=Options(max_tokens=6))
    engine.step()
    wide = engine._live[add(engine, options=Options(max_tokens=2, beam_size=4))]
    small = engine._live[add(engine, options=Options(max_tokens=2))]
    for _ in range(4):
        engine.step()
    assert small.status is wide.status is Status.WAITING
    while wide.status is Status.WAITING:
        engine.step()
    assert small.status is Status.WAITING


# --- budgets -----------------------------------------------------------------------------------


def test_a_request_that_is_larger_than_the_pool_is_refused_with_both_sizes() -> None:
    engine, _ = make(pool_bytes=PAGE_BYTES * 10)
    options = Options(max_tokens=15, beam_size=2)  # 2 rows of 4 pages, and 2 pages of source
    assert add(engine, options=options, sources=[EncodeItem((2,) * 8)]) == 0
    with pytest.raises(EngineError, match=r"up to 110 bytes .* the pool has 100") as error:
        add(engine, options=options, sources=[EncodeItem((2,) * 9)])
    assert not isinstance(error.value, OverloadedError)
    engine.check()


def test_requests_that_do_not_fit_together_run_one_after_another() -> None:
    engine, forward = make(pool_bytes=PAGE_BYTES * 10, unlikely_id=EOS)
    for _ in range(3):
        add(engine, options=Options(max_tokens=15), sources=[EncodeItem((2,) * 4)])
    ends = Ends()
    while len(ends.found) < 3:
        ends.take(without_memory(engine.step()))
        engine.check(held_bytes=0)
    assert max(forward.batch_sizes) == 2  # 5 pages each
    assert forward.pool.most_used_bytes == PAGE_BYTES * 10


def test_what_a_request_has_taken_of_its_reservation_is_not_counted_as_held() -> None:
    engine, _ = make(pool_bytes=PAGE_BYTES * 11, unlikely_id=EOS)
    for _ in range(2):  # 5 pages each, 4 of them for the source; that of a state counts twice
        add(engine, sources=[EncodeItem((2,) * 16)])
        engine.step()
    assert len(admitted(engine)) == 2


@pytest.mark.parametrize(
    "options",
    [
        Options(max_tokens=9, beam_size=4, patience=3.0),
        Options(max_tokens=9, temperature=1.5, num_hypotheses=4, seed=1),
    ],
)
def test_a_request_never_has_more_states_than_the_rows_it_reserved(options, monkeypatch) -> None:
    states: WeakSet[FakeState] = WeakSet()
    counts: list[int] = []
    begin = FakeState.__init__

    def counted(self: FakeState, *args, **settings) -> None:
        begin(self, *args, **settings)
        states.add(self)
        counts.append(len(states))

    monkeypatch.setattr(FakeState, "__init__", counted)
    for source in range(20):
        make()[0].generate(FakeMemory((source,)), (0,), options)
        assert len(states) == 0
    assert max(counts) == 4
    assert len(counts) > 4 * 20


def test_memories_that_are_held_elsewhere_count_against_the_pool() -> None:
    engine, forward = make(pool_bytes=PAGE_BYTES * 10, unlikely_id=EOS)
    held = forward.encode((2,) * 12, EMPTY)
    for _ in range(2):
        engine.add(held, (0,), Options(max_tokens=15))  # 4 pages each, 7 are free
    while engine._live:
        engine.step()
        engine.check(held_bytes=held.num_bytes)
    assert max(forward.batch_sizes) == 1
    assert len(forward.batch_sizes) == 30


def test_a_request_that_held_memories_leave_no_room_for_ends_and_says_so() -> None:
    engine, forward = make(pool_bytes=PAGE_BYTES * 10)
    held = forward.encode((2,) * 28, EMPTY)
    large = add(engine, options=Options(max_tokens=15))
    small = add(engine, "other", Options(max_tokens=3))
    ended = {one.request_id: one.finished for one in engine.step() if one.finished}
    assert ended[large].best.finish_reason == "error"
    assert "needs up to 40 bytes" in ended[large].problem
    assert engine._live.keys() <= {small}
    while engine._live:
        engine.step()
    engine.check(held_bytes=held.num_bytes)
    del held
    found = engine.generate(EMPTY, (0,), Options(max_tokens=15))
    assert found.best.finish_reason in ("stop", "length")


def test_too_many_waiting_requests_are_refused_and_told_when_to_come_again() -> None:
    limits = EngineOptions(max_rows=1, max_waiting=3, max_client_waiting=2)
    engine, _ = make(limits, step_s=0.5, unlikely_id=EOS)
    for _ in range(200):
        engine.generate(EMPTY, (0,), Options(max_tokens=4))  # two seconds each
    for client in ("anna", "anna", "ben"):
        add(engine, client)
    with pytest.raises(OverloadedError, match=r"2 requests of this client .* in about 6.0 s"):
        add(engine, "anna")
    with pytest.raises(OverloadedError, match="3 requests wait already") as error:
        add(engine, "ben")
    assert error.value.retry_after_s == pytest.approx(6, abs=0.1)
    assert isinstance(error.value, DuologueError)
    assert error.value.code == "overloaded"
    engine.check()
    assert len(engine._live) == 3
    engine.step()
    add(engine, "ben")  # one was admitted
    while engine._live:
        engine.step()
        engine.check()


def test_the_pace_is_that_of_the_last_requests() -> None:
    pace = Pace()
    assert pace.s_per_request == 1
    for seconds in (0.1, 3.0):
        for _ in range(1000):
            pace.record(seconds / 2, 0)
            pace.record(seconds / 2, 1)
        assert pace.s_per_request == pytest.approx(seconds, rel=0.05)
    pace.record(1000, 0)
    assert pace.s_per_request > 9, "a step that takes long counts before anything ends"


# --- the check itself --------------------------------------------------------------------------


def broken_rows(engine: Engine) -> None:
    engine._scheduler._reserved_rows += 1


def broken_bytes(engine: Engine) -> None:
    engine._scheduler._reserved_bytes -= 1


def broken_pool(engine: Engine) -> None:
    engine._forward.pool.is_broken = True


def lost_request(engine: Engine) -> None:
    engine._live.popitem()


def twice(engine: Engine) -> None:
    engine._scheduler.encoding.append(engine._scheduler.running[0])


def overtaken(engine: Engine) -> None:
    next(iter(engine._scheduler.waiting.values())).rotate()


def decodes_early(engine: Engine) -> None:
    engine._scheduler.running[0].sources.append(EncodeItem((2,)))


def empty_queue(engine: Engine) -> None:
    engine._scheduler.waiting["nobody"] = deque()


def surplus_row(engine: Engine) -> None:
    search = engine._scheduler.running[0].search
    assert search is not None
    search.states.append(search.states[0])
    search.next_ids.append(0)


def leaked_pages(engine: Engine) -> None:
    pool = engine._forward.pool
    engine.leak = [pool.page() for _ in range(9)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "damage",
    [
        broken_rows,
        broken_bytes,
        broken_pool,
        lost_request,
        twice,
        overtaken,
        decodes_early,
        empty_queue,
        surplus_row,
        leaked_pages,
    ],
)
def test_check_notices_what_is_broken(damage) -> None:
    engine, _ = make(EngineOptions(max_rows=1), pool_bytes=PAGE_BYTES * 20, unlikely_id=EOS)
    for _ in range(3):
        add(engine, options=Options(max_tokens=9), sources=[EncodeItem((2, 3))])
    engine.step()
    engine.check(held_bytes=0)
    damage(engine)
    with pytest.raises(AssertionError):
        engine.check(held_bytes=0)
