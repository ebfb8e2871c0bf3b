"""A reply on its way: from the engine to its reader, and into the store.

Outbox         events for one reader, who may be slow
Running        one reply from its request to its end, whether anybody reads it or not
RunningReply   one that a model decodes; RunningSearch: one that is found as a whole
Silence        what stands for a reply where a person answers instead
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from duologue.conversation import Reply
from duologue.engine.engine import Progress
from duologue.errors import DuologueError, EngineError
from duologue.server.bridge import Bridge, Job
from duologue.server.errors import ApiError, report
from duologue.types import Commit, Done, Event, Result, Revise

Run = Callable[[Callable[[], Result | None]], asyncio.Future[Result | None]]


# A model may make hundreds of tokens a second; nobody can see that many events.
JOIN_S = 0.025


class Outbox:
    """Events for one reader. What waits is joined, so a slow reader costs no more than the text.

    For the thread of the event loop alone.

    join_s  after some events were taken, those of so many seconds come together; the last one and
            the first one come at once
    """

    def __init__(self, join_s: float = JOIN_S) -> None:
        self._join_s = join_s
        self._next_s = 0.0  # when the next events may be taken
        self._timer: asyncio.TimerHandle | None = None
        self._committed: list[str] = []
        self._guess: str | None = None
        self._done: Done | None = None
        self._error: DuologueError | None = None
        self._is_over = False
        self._changed = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether the last event was taken."""
        return self._is_over

    def put(self, event: Event) -> None:
        """Add an event; Done is the last one."""
        match event:
            case Commit(text=text):
                self._committed.append(text)
            case Revise(text=text):
                self._guess = text
            case Done():
                self._done = event
                self._wake()
        if self._timer is None and not self._changed.is_set():
            loop = asyncio.get_running_loop()
            if loop.time() >= self._next_s:
                self._changed.set()
            else:
                self._timer = loop.call_at(self._next_s, self._wake)

    def fail(self, error: DuologueError) -> None:
        """End with an error instead of Done."""
        self._error = error
        self._wake()

    async def get(self) -> list[Event | DuologueError]:
        """Wait for events and take all of them; the last one ever is Done or an error."""
        await self._changed.wait()
        self._changed.clear()
        events: list[Event | DuologueError] = []
        if self._committed:
            events.append(Commit("".join(self._committed)))
        if self._guess is not None:
            events.append(Revise(self._guess))
        last = self._error or self._done
        if last is not None:
            events.append(last)
            self._is_over = True
        self._committed, self._guess = [], None
        self._next_s = asyncio.get_running_loop().time() + self._join_s
        return events

    def _wake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._changed.set()


@dataclass(frozen=True)
class Ending:
    """What becomes of a reply.

    run      runs a function on a thread that may block
    keep     called there with the result, before Done; None: there is nothing to keep
    on_end   called in the event loop when all is over
    """

    run: Run
    keep: Callable[[Result | None], Any]
    on_end: Callable[[Running], None]


class Running(ABC):
    """One reply, which goes on to its end, or until it is stopped. Start it from any thread.

    outbox         (attribute) its events, for one reader
    first_token_s  (attribute) from the start to the first text; None before
    result, error  (attributes) how it ended, when all is over
    kept           (attribute) what Ending.keep returned
    """

    def __init__(self, ending: Ending) -> None:
        self.outbox = Outbox()
        self.first_token_s: float | None = None
        self.error: DuologueError | None = None
        self.result: Result | None = None
        self.kept: Any = None
        self._ending = ending
        self._stopped_by: str | None = None  # the code of the error, if there is nothing to keep
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    def start(self, client: str) -> None:
        """Begin. Raises what Bridge.submit raises."""

    @abstractmethod
    def stop(self, code: str = "stopped") -> None:
        """End it soon; what was committed is its text. Harmless when it is over.

        code  of the error if there is no text yet
        """

    @abstractmethod
    def _finish(self) -> Result | None:
        """On a thread that may block: the end of the reply, which is kept before it is told."""

    async def wait(self) -> None:
        """Until all is over: `result` or `error` is set."""
        await self._over.wait()

    async def whole(self) -> Result:
        """The result. Raises the error that ended the reply instead."""
        await self.wait()
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result

    def _begin_end(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        try:
            self.result = await self._ending.run(self._finish)
        except DuologueError as error:
            self.error = error
        except Exception as error:
            report(error)
            self.error = ApiError("internal_error", "the reply could not be finished")
        self._ending.on_end(self)
        if self.result is not None:
            self._tell(self.result)
        else:
            self.error = self.error or self._nothing()
            self.outbox.fail(self.error)
        self._over.set()

    def _tell(self, result: Result) -> None:
        """Put the end into the outbox, and before it what was not told yet."""
        self.outbox.put(Done(result))

    def _nothing(self) -> DuologueError:
        code = self._stopped_by or "stopped"
        reason = "it took too long (max_request_s)" if code == "timeout" else "it was stopped"
        return ApiError(code, f"the reply was ended before its first word: {reason}")


class RunningReply(Running):
    """A reply that an engine decodes; it ends within one step when it is stopped."""

    def __init__(self, reply: Reply, bridge: Bridge, ending: Ending) -> None:
        super().__init__(ending)
        self._reply = reply
        self._bridge = bridge
        self._number: int | None = None
        self._begun_s = self._last_s = time.perf_counter()

    def start(self, client: str) -> None:
        """See Running."""
        reply = self._reply
        self._number = self._bridge.submit(
            Job(
                memory=reply.memory,
                prefix_ids=reply.prefix_ids,
                options=reply.options,
                sources=reply.sources,
                record_attention=True,
                client=client,
            ),
            self._receive,
        )

    def stop(self, code: str = "stopped") -> None:
        """See Running."""
        if self._number is not None and not self._reply.is_finished:
            self._stopped_by = self._stopped_by or code
            self._bridge.abort(self._number)

    def _receive(self, progress: Progress) -> None:
        now_s = time.perf_counter()
        waited_s, self._last_s = now_s - self._last_s, now_s
        for event in self._reply.digest(progress, waited_s):
            if self.first_token_s is None:
                self.first_token_s = now_s - self._begun_s
            self.outbox.put(event)
        if self._reply.is_finished:
            self._begin_end()

    def _finish(self) -> Result | None:
        try:
            stopped = self._stopped_by is not None and self._reply.is_aborted
            result = self._reply.stop() if stopped else self._reply.finish().result
        except EngineError:
            self._ending.keep(None)
            raise
        self.kept = self._ending.keep(result)
        return result


class RunningSearch(Running):
    """A reply that is found as a whole, on a thread; one that is stopped meanwhile is not kept."""

    def __init__(self, find: Callable[[], Result], ending: Ending) -> None:
        super().__init__(ending)
        self._find = find

    def start(self, client: str) -> None:
        """See Running."""
        self._begin_end()

    def stop(self, code: str = "stopped") -> None:
        """See Running."""
        self._stopped_by = self._stopped_by or code

    def _finish(self) -> Result | None:
        try:
            result = self._find()
        except DuologueError:
            self._ending.keep(None)
            raise
        self.kept = self._ending.keep(None if self._stopped_by else result)
        return None if self._stopped_by else result

    def _tell(self, result: Result) -> None:
        self.outbox.put(Commit(result.text))
        super()._tell(result)


class Silence(Running):
    """No reply at all: a person has taken over, and what they say comes when they say it."""

    def __init__(self) -> None:
        super().__init__(Ending(_nowhere, _nothing_kept, _nothing_kept))
        self.result = Result("", "stop")
        self.outbox.put(Done(self.result))
        self._over.set()

    def start(self, client: str) -> None:
        """See Running."""

    def stop(self, code: str = "stopped") -> None:
        """See Running."""

    def _finish(self) -> Result | None:
        return self.result


def _nowhere(_call: Callable[[], Result | None]) -> asyncio.Future[Result | None]:
    raise AssertionError("nothing runs for a silence")


def _nothing_kept(_of: Any) -> None:
    """Nothing is kept of a silence."""
