"""Many requests at once, of every kind: each ends once, with what it would get alone."""

from __future__ import annotations

import gc
import random
import sys
import threading
from collections import Counter
from weakref import WeakSet

from fake_forward import PAGE_BYTES
from hypothesis import given, settings
from hypothesis import strategies as st
from many_requests import ACTIONS, EMPTY, VOCAB, Ends, make, without_memory

from duologue.engine.engine import EncodeItem, Engine, Progress
from duologue.engine.request import Request
from duologue.errors import OverloadedError
from duologue.types import EngineOptions, Options


def checked_step(engine: Engine) -> list[Progress]:
    """One step, in which something was done if there was anything to do."""
    log = engine._forward.log  # type: ignore[attr-defined]
    num_done, has_work = len(log), bool(engine._live)
    progress = without_memory(engine.step())
    engine.check(held_bytes=0)
    assert not has_work or progress or len(log) > num_done, "a step in which nothing was done"
    return progress


@settings(max_examples=100, deadline=None)
@given(
    actions=ACTIONS,
    max_rows=st.integers(4, 9),
    pool_pages=st.integers(14, 40),
    max_gap_ms=st.sampled_from([0, 3, 1000]),
)
def test_every_request_ends_once_with_what_it_would_get_alone(
    actions, max_rows, pool_pages, max_gap_ms
) -> None:
    limits = EngineOptions(max_rows, max_gap_ms)
    engine, forward = make(limits, pool_bytes=PAGE_BYTES * pool_pages, chunk_s=0.001)
    requests: dict[int, tuple] = {}
    aborted: set[int] = set()
    ends = Ends()
    for action in actions:
        if action == "step":
            ends.take(checked_step(engine))
        elif isinstance(action, int):
            engine.abort(action)
            aborted |= {action} & requests.keys() - ends.found.keys()
        else:
            prefix, options, sources, client = action
            requests[engine.add(EMPTY, prefix, options, False, sources, client)] = action
    while engine._live:
        ends.take(checked_step(engine))
    assert requests.keys() == ends.found.keys()
    assert forward.pool.used_bytes == 0
    assert engine.step() == []
    for request_id, (prefix, options, sources, _) in requests.items():
        found = ends.found[request_id]
        if request_id in aborted:
            assert found.best.finish_reason == "abort"
        else:
            alone = make()[0].generate(EMPTY, prefix, options, sources=sources)
            assert found.hypotheses == alone.hypotheses


def add_random(engine: Engine, draw: random.Random) -> int:
    """Add a request of random size, kind and client."""
    num_rows = draw.choice([1, 1, 1, 2, 4, 6])
    options = draw.choice(
        [
            Options(draw.randint(1, 8), beam_size=num_rows),
            Options(draw.randint(1, 8), temperature=1.0, num_hypotheses=num_rows, seed=3),
        ]
    )
    sources = [
        EncodeItem([draw.randrange(VOCAB)] * draw.randint(1, 12), draw.random() < 0.3)
        for _ in range(draw.randrange(3))
    ]
    client = f"client {draw.choice([0, 0, 0, 1, 2])}"
    return engine.add(EMPTY, (0,), options, draw.random() < 0.2, sources, client)


def test_two_thousand_requests_with_cancels_leave_nothing_behind() -> None:
    draw = random.Random(5)
    limits = EngineOptions(max_rows=12, max_gap_ms=2, max_waiting=40, max_client_waiting=25)
    engine, forward = make(limits, pool_bytes=PAGE_BYTES * 26, chunk_s=0.001, step_s=0.001)
    is_over = bytearray(9999)  # takes no more memory as requests come and go
    reasons: Counter[str] = Counter()
    requests: WeakSet[Request] = WeakSet()
    num_added = num_refused = 0
    blocks: list[int] = []
    for until in (500, 1000, 1500, 2000):
        while num_added < until or engine._live:
            for _ in range(min(draw.randrange(4), until - num_added)):
                try:
                    requests.add(engine._live[add_random(engine, draw)])
                    num_added += 1
                except OverloadedError:
                    num_refused += 1
            if draw.random() < 0.2:
                engine.abort(num_added + num_refused - draw.randint(1, 40))
            for one in checked_step(engine):
                assert not is_over[one.request_id], "something came after the end"
                if one.finished is not None:
                    is_over[one.request_id] = True
                    reasons[one.finished.best.finish_reason] += 1
        del one
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    assert reasons.total() == num_added == 2000
    assert reasons.keys() == {"stop", "length", "abort"}
    assert min(reasons.values()) > 50
    assert num_refused > 50
    assert forward.pool.used_bytes == 0
    assert forward.pool.most_used_bytes > 18 * PAGE_BYTES
    assert engine._mailboxes == engine._scheduler.waiting == {}
    assert len(requests) == 0
    assert max(blocks[1:]) - blocks[1] < 250, "memory grows by the request"


def test_threads_with_sources_clients_and_cancels_all_come_to_an_end() -> None:
    engine, forward = make(EngineOptions(max_rows=6, max_gap_ms=0), pool_bytes=PAGE_BYTES * 40)
    ends: dict[int, str] = {}

    def work(number: int) -> None:
        sources = [EncodeItem([number % VOCAB] * (1 + number % 7))]
        options = Options(max_tokens=6, beam_size=1 + number % 3)
        request_id = engine.add(EMPTY, (0, 2), options, False, sources, f"client {number % 3}")
        for count, progress in enumerate(engine.stream(request_id)):
            if number % 4 == 0 and count == number % 3:
                engine.abort(request_id)
            if progress.finished is not None:
                assert number not in ends
                ends[number] = progress.finished.best.finish_reason

    threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert ends.keys() == set(range(24))
    assert {ends[number] for number in range(24) if number % 4} <= {"stop", "length"}
    engine.check(held_bytes=0)
    assert forward.pool.used_bytes == 0
