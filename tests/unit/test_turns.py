"""One thread runs the step, the others sleep: nobody is woken for nothing."""

from __future__ import annotations

import threading
import time

import pytest
from fake_forward import FakeForward, FakeMemory

from duologue.engine.engine import Engine, SpecialIds
from duologue.engine.request import Progress
from duologue.engine.turns import Mailbox, Turns
from duologue.types import EngineOptions, Options

EOS = 1


def count_waits(mailbox: Mailbox, counts: list[int]) -> None:
    wait = mailbox.changed.wait

    def counted(timeout: float | None = None) -> bool:
        counts.append(1)
        assert timeout is None, "a wait that wakes up by itself"
        return wait()

    mailbox.changed.wait = counted  # type: ignore[method-assign]


def until(condition) -> None:
    limit_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit_s
        time.sleep(0.001)


def test_waiting_threads_are_not_woken_by_steps_that_bring_them_nothing() -> None:
    forward = FakeForward(6, unlikely_id=EOS)
    engine = Engine(forward, SpecialIds((EOS,)), EngineOptions(max_rows=1))  # type: ignore[arg-type]
    num_threads, num_steps = 20, 50
    counts: list[int] = []
    first = engine.stream(engine.add(FakeMemory(), (0,), Options(max_tokens=num_steps)))
    numbers = [engine.add(FakeMemory(), (0,), Options(max_tokens=1)) for _ in range(num_threads)]
    streams = [engine.stream(number) for number in numbers]
    for number in numbers:
        count_waits(engine._mailboxes[number], counts)
    with engine._turns.lock:  # they come while a step is running
        engine._turns._owner = 0
    threads = [threading.Thread(target=list, args=(stream,)) for stream in streams]
    for thread in threads:
        thread.start()
    until(lambda: len(counts) == num_threads)
    with engine._turns.lock:
        engine._turns._owner = None
    assert len(list(first)) == num_steps
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    # One thread is woken for each step at most; all of them at each step would be 1,000 and more.
    assert len(counts) <= num_threads + 3 * (num_steps + num_threads)
    engine.check()


def test_the_turn_is_passed_on_to_a_thread_that_waits_for_it() -> None:
    turns = Turns()
    inside, leave = threading.Event(), threading.Event()

    def slow_step() -> list[Progress]:
        inside.set()
        assert leave.wait(timeout=30)
        return []

    done: list[int] = []
    first = threading.Thread(target=turns.run, args=(slow_step, turns.mailbox()))
    first.start()
    assert inside.wait(timeout=30)
    assert turns.is_taken

    def step(number: int) -> list[Progress]:
        done.append(number)
        return []

    others = [
        threading.Thread(target=turns.run, args=(lambda n=n: step(n), turns.mailbox()))
        for n in range(5)
    ]
    for number, thread in enumerate(others, 1):
        thread.start()
        until(lambda number=number: len(turns._waiting) == number)
    leave.set()
    for thread in (first, *others):
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert done == [0, 1, 2, 3, 4]
    assert not turns.is_taken


def test_a_reader_with_mail_does_not_run_a_step() -> None:
    turns = Turns()
    mailbox = turns.mailbox()
    with turns.lock:
        mailbox.put(Progress(0))
    assert turns.run(lambda: pytest.fail("a step was run"), mailbox) == []


def test_the_turn_survives_a_step_that_fails_and_a_wait_that_is_interrupted() -> None:
    turns = Turns()

    def fail() -> list[Progress]:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        turns.run(fail, turns.mailbox())
    assert not turns.is_taken
    mailbox = turns.mailbox()

    def interrupted() -> bool:
        turns._owner = None  # the turn was passed on to this thread, which dies at that moment
        raise KeyboardInterrupt

    mailbox.changed.wait = interrupted  # type: ignore[method-assign, assignment]
    next_mailbox, woken = turns.mailbox(), []
    next_mailbox.changed.notify = lambda: woken.append(1)  # type: ignore[method-assign, assignment, misc]
    turns._owner = 0
    turns._waiting[next_mailbox] = None
    with pytest.raises(KeyboardInterrupt):
        turns.run(fail, mailbox)
    assert woken == [1]
    assert mailbox not in turns._waiting


def test_a_request_cannot_end_before_its_reader_is_there(monkeypatch) -> None:
    engine = Engine(FakeForward(6, unlikely_id=EOS), SpecialIds((EOS,)))  # type: ignore[arg-type]
    subscribe = engine._subscribe

    def after_a_step(request_id: int, mailbox: Mailbox) -> None:
        other = threading.Thread(target=engine.step)  # ends the request if it can
        other.start()
        other.join(timeout=0.05)
        assert other.is_alive(), "a step was made between adding and subscribing"
        others.append(other)
        subscribe(request_id, mailbox)

    others: list[threading.Thread] = []
    monkeypatch.setattr(engine, "_subscribe", after_a_step)
    one_token = Options(max_tokens=1)
    assert len(engine.generate(FakeMemory(), (0,), one_token).best.ids) == 1
    assert len(engine.generate_batch([(FakeMemory(), (0,))], one_token)[0].best.ids) == 1
    for other in others:
        other.join(timeout=30)
    engine.check()
