"""The thread that steps the engine, and the way from there to asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duologue.api import load
from duologue.engine.engine import Progress
from duologue.engine.memory import Memory
from duologue.errors import DuologueError, EngineError, OverloadedError
from duologue.runtime import Runtime
from duologue.server.bridge import Bridge, Job
from duologue.server.replies import Outbox
from duologue.types import Commit, Done, Options, Result, Revise

TEN = Options(max_tokens=10, min_tokens=10)


@pytest.fixture(scope="module")
def runtime(tiny_model_folder: Callable[..., Path]) -> Runtime:
    return load(tiny_model_folder("transformer"), threads=1)._runtime


@pytest.fixture
def memory(runtime: Runtime) -> Memory:
    return runtime.read(runtime.turn("user", "hello how are you")).memory


def job(runtime: Runtime, memory: Memory, options: Options = TEN, **changes: Any) -> Job:
    return Job(memory, runtime.reply_prefix(memory).ids, options, **changes)


def test_all_that_comes_of_a_step_reaches_the_loop_in_one_call(
    runtime: Runtime, memory: Memory
) -> None:
    async def main() -> tuple[list[list[Progress]], int]:
        loop = asyncio.get_running_loop()
        bridge = Bridge(runtime.engine, loop)
        got: list[list[Progress]] = [[] for _ in range(5)]
        ended = asyncio.Event()
        calls = []
        handed_over = loop.call_soon_threadsafe

        def counted(call: Any, *args: Any, **kwargs: Any) -> Any:
            if args and isinstance(args[0], list):
                calls.append(len(args[0]))
            return handed_over(call, *args, **kwargs)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign]

        def receive(number: int, progress: Progress) -> None:
            got[number].append(progress)
            if all(one and one[-1].finished for one in got):
                ended.set()

        with runtime.engine._turns.lock:  # all of them begin at the same step
            for number in range(5):
                bridge.submit(job(runtime, memory), lambda p, n=number: receive(n, p))
        await ended.wait()
        assert bridge.num_live == 0
        await asyncio.to_thread(bridge.close)
        return got, len(calls)

    got, num_calls = asyncio.run(main())
    alone = runtime.engine.generate(memory, runtime.reply_prefix(memory).ids, TEN)
    for one in got:
        assert tuple(idx for item in one for idx in item.committed_ids) == alone.best.ids
        assert [item.finished is not None for item in one] == [False] * (len(one) - 1) + [True]
    assert num_calls <= max(len(one) for one in got) + 1


def test_steps_of_other_threads_lose_nothing(runtime: Runtime, memory: Memory) -> None:
    prefix = runtime.reply_prefix(memory).ids
    expected = runtime.engine.generate(memory, prefix, TEN).best.ids
    elsewhere: list[tuple[int, ...]] = []

    def generate() -> None:
        for _ in range(10):
            elsewhere.append(runtime.engine.generate(memory, prefix, TEN).best.ids)

    async def main() -> list[tuple[int, ...]]:
        bridge = Bridge(runtime.engine, asyncio.get_running_loop())
        threads = [threading.Thread(target=generate) for _ in range(3)]
        for thread in threads:
            thread.start()
        finished = []
        for _ in range(10):
            some = await asyncio.gather(*(bridge.finish(job(runtime, memory)) for _ in range(3)))
            finished += [item.best.ids for item in some]
        for thread in threads:
            await asyncio.to_thread(thread.join)
        await asyncio.to_thread(bridge.close)
        return finished

    assert set(asyncio.run(main())) == set(elsewhere) == {expected}
    runtime.engine.check()


def test_a_job_that_is_cancelled_or_aborted_ends(runtime: Runtime, memory: Memory) -> None:
    async def main() -> None:
        bridge = Bridge(runtime.engine, asyncio.get_running_loop())
        seen = asyncio.Event()
        long = Options(max_tokens=60, min_tokens=60)
        task = asyncio.create_task(bridge.finish(job(runtime, memory, long), lambda _: seen.set()))
        await seen.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        number: list[int] = []
        ended: asyncio.Future[Progress] = asyncio.get_running_loop().create_future()

        def receive(progress: Progress) -> None:
            bridge.abort(number[0])
            if progress.finished is not None:
                ended.set_result(progress)

        number.append(bridge.submit(job(runtime, memory, long), receive))
        assert (await ended).finished.best.finish_reason == "abort"  # type: ignore[union-attr]
        await asyncio.to_thread(bridge.close)
        with pytest.raises(OverloadedError, match="going down"):
            bridge.submit(job(runtime, memory), receive)

    asyncio.run(main())
    runtime.engine.check()


def test_what_can_never_be_served_is_refused_at_once(runtime: Runtime, memory: Memory) -> None:
    async def main() -> None:
        bridge = Bridge(runtime.engine, asyncio.get_running_loop())
        with pytest.raises(EngineError, match="positions"):
            await bridge.finish(job(runtime, memory, Options(max_tokens=1000)))
        assert bridge.num_live == 0
        await asyncio.to_thread(bridge.close)

    asyncio.run(main())


def test_a_reader_that_fails_disturbs_no_other(
    runtime: Runtime, memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        bridge = Bridge(runtime.engine, asyncio.get_running_loop())

        def broken(_: Progress) -> None:
            raise RuntimeError("a secret")

        bridge.submit(job(runtime, memory), broken)
        finished = await bridge.finish(job(runtime, memory))
        assert len(finished.best.ids) == 10
        await asyncio.to_thread(bridge.close)

    asyncio.run(main())
    assert "RuntimeError at" in caplog.text
    assert "secret" not in caplog.text


def test_an_outbox_joins_what_waits() -> None:
    async def main() -> None:
        outbox, done = Outbox(), Done(Result("abc", "stop"))
        for event in (Commit("a"), Revise("x"), Commit("b"), Revise("y"), Revise("z")):
            outbox.put(event)
        assert await outbox.get() == [Commit("ab"), Revise("z")]
        outbox.put(Commit("c"))
        outbox.put(Revise(""))
        outbox.put(done)
        assert not outbox.is_over
        assert await outbox.get() == [Commit("c"), Revise(""), done]
        assert outbox.is_over

    asyncio.run(main())


def test_an_outbox_gives_an_error_after_what_came_before() -> None:
    async def main() -> None:
        outbox, error = Outbox(), DuologueError("no")
        waiting = asyncio.create_task(outbox.get())
        await asyncio.sleep(0)
        outbox.put(Commit("a"))
        outbox.fail(error)
        assert await waiting == [Commit("a"), error]

    asyncio.run(main())
