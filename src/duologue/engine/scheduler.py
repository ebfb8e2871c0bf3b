"""Who decodes at the next step: first come, first served, up to a number of rows.

Request     one thing to decode, from add to its end
Scheduler   the waiting and the running; requests join and leave between any two steps

Decides, and computes nothing. A request reserves one row per beam for as long as it runs, so that
it can never run out of rows half way; the first in the queue is never overtaken.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from duologue.engine.search import Search
from duologue.errors import EngineError


class Status(Enum):
    """Where a request is on its way."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(eq=False)
class Request:
    """One thing to decode.

    search         holds the rows and decides on them; it has done nothing while WAITING
    num_rows       most rows it may take while it runs
    committed_ids  every final id so far, for a reader that comes late
    is_aborted     set from any thread; the scheduler drops the request before the next step
    """

    request_id: int
    search: Search
    num_rows: int
    status: Status = Status.WAITING
    committed_ids: list[int] = field(default_factory=list)
    is_aborted: bool = False


class Scheduler:
    """Two queues and a row budget. Not thread-safe: the engine holds the lock."""

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []

    @property
    def free_rows(self) -> int:
        """Rows that no running request has reserved."""
        return self.max_rows - sum(request.num_rows for request in self.running)

    def add(self, request: Request) -> None:
        """Queue a request. Raises EngineError if it could never run."""
        if request.num_rows > self.max_rows:
            raise EngineError(
                f"the request needs {request.num_rows} rows (beam_size or num_hypotheses), "
                f"the engine has {self.max_rows}"
            )
        self.waiting.append(request)

    def admit(self) -> None:
        """Move requests from the head of the queue to the running ones while they fit."""
        while self.waiting and self.waiting[0].num_rows <= self.free_rows:
            request = self.waiting.popleft()
            request.status = Status.RUNNING
            self.running.append(request)

    def drop_aborted(self) -> list[Request]:
        """Remove the requests that were aborted since the last step."""
        dropped = [request for request in (*self.running, *self.waiting) if request.is_aborted]
        self.running = [request for request in self.running if not request.is_aborted]
        self.waiting = deque(request for request in self.waiting if not request.is_aborted)
        for request in dropped:
            request.status = Status.FINISHED
        return dropped

    def finish(self, request: Request) -> None:
        """Free the rows of a running request."""
        self.running.remove(request)
        request.status = Status.FINISHED

    def clear_running(self) -> None:
        """Free all rows; the waiting requests keep their places."""
        for request in list(self.running):
            self.finish(request)

    def check(self) -> None:
        """Raise AssertionError if an invariant is broken; for tests, and when debugging."""
        running = sum(request.num_rows for request in self.running)
        assert running <= self.max_rows, f"{running} rows run, {self.max_rows} exist"
        everyone = [*self.running, *self.waiting]
        assert len({request.request_id for request in everyone}) == len(everyone)
        for request in self.running:
            assert request.status is Status.RUNNING
            rows = len(request.search.states)
            assert rows == len(request.search.next_ids), "a row without a next id"
            assert 1 <= rows <= request.num_rows, f"{rows} rows, {request.num_rows} reserved"
        for request in self.waiting:
            assert request.status is Status.WAITING
            assert len(request.search.states) == 1
