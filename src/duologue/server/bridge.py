"""From the engine's steps to asyncio: one thread steps while there is work, and sleeps otherwise.

Job      what the engine is asked
Bridge   submit, abort; what comes of a step reaches the event loop in one call, for all jobs

The thread computes nothing but steps: ids become text in the event loop, while the next step runs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from duologue.engine.engine import Constraints, EncodeItem, Engine, Finished, Progress
from duologue.engine.memory import Memory
from duologue.engine.rules import FREE
from duologue.errors import OverloadedError
from duologue.server.errors import report
from duologue.types import Options

Receive = Callable[[Progress], None]


@dataclass(frozen=True)
class Job:
    """One request to the engine; see Engine.add."""

    memory: Memory
    prefix_ids: tuple[int, ...]
    options: Options
    sources: tuple[EncodeItem, ...] = ()
    record_attention: bool = False
    constraints: Constraints = FREE
    client: str = ""


class Bridge:
    """Runs one engine for one event loop.

    Other threads may use the engine as well, whoever runs a step: nothing is lost.
    """

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._loop = loop
        self._inbox = engine.inbox()
        self._changed = threading.Condition()  # guards the following
        self._live: dict[int, Receive] = {}
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def num_live(self) -> int:
        """Jobs that wait or run."""
        return len(self._live)

    def submit(self, job: Job, receive: Receive) -> int:
        """Queue a job, from any thread; returns its number.

        receive  is called in the event loop with each progress; the last one has `finished`

        Raises what Engine.add raises, and OverloadedError once the bridge is closed.
        """
        with self._changed:
            if self._is_closed:
                raise OverloadedError("the server is going down", 1.0)
            number = self._engine.add(
                job.memory,
                job.prefix_ids,
                job.options,
                job.record_attention,
                job.sources,
                job.client,
                job.constraints,
                self._inbox,
            )
            self._live[number] = receive
            self._changed.notify()
        return number

    def abort(self, number: int) -> None:
        """End a job at the next step; its last progress comes. What is over is left alone."""
        self._engine.abort(number)

    async def finish(self, job: Job, receive: Receive | None = None) -> Finished:
        """Run a job to its end, which is "abort" or "error" if it was ended from outside.

        receive  gets all progress before the end. Cancelling aborts the job.
        """
        ended: asyncio.Future[Finished] = self._loop.create_future()

        def digest(progress: Progress) -> None:
            if receive is not None:
                receive(progress)
            if progress.finished is not None and not ended.done():
                ended.set_result(progress.finished)

        number = self.submit(job, digest)
        try:
            return await ended
        except asyncio.CancelledError:
            self.abort(number)
            raise

    def close(self) -> None:
        """End all jobs and the thread, and wait for it."""
        with self._changed:
            self._is_closed = True
            for number in self._live:
                self.abort(number)
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._has_work():
            try:
                # No name for the progress: this frame would hold its memory while it sleeps.
                self._hand_over(self._engine.collect(self._inbox))
            except Exception as error:
                report(error)  # whose end it was is told in the next progress

    def _has_work(self) -> bool:
        """Sleep until there is something to do; False when there never will be again."""
        with self._changed:
            while not self._live and not self._is_closed:
                self._changed.wait()
            return bool(self._live)

    def _hand_over(self, progress: Sequence[Progress]) -> None:
        with self._changed:
            calls = [(self._live[item.request_id], item) for item in progress]
            for item in progress:
                if item.finished is not None:
                    del self._live[item.request_id]
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_call_all, calls)


def _call_all(calls: list[tuple[Receive, Progress]]) -> None:
    for receive, progress in calls:
        try:
            receive(progress)
        except Exception as error:  # of one job; the others know nothing of it
            report(error)
