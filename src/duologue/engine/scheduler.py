"""Who is encoded and who decodes at the next step, within a budget of rows and bytes.

Scheduler   requests wait, are admitted, encode, run and leave, between any two steps
Pace        how fast requests have ended, for those that are refused

Decides, and computes nothing. The rule of admission:

- Clients take turns, one request each; a client that comes, or comes again, has its turn last.
  The requests of one client are admitted in the order they were added.
- A request is admitted when all that it can ever need is free, and keeps that to its end: it can
  never run out of rows or bytes half way.
- Whose turn it is, is waited for: nobody overtakes a request because it is large. So the order of
  admission depends on clients and arrival alone, never on sizes, and nobody starves: what runs
  ends, and the place of a request that is k-th of its client comes after at most k rounds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from duologue.engine.request import Request, Status
from duologue.errors import EngineError, OverloadedError
from duologue.types import EngineOptions

if TYPE_CHECKING:
    from duologue.engine.forward import Pool


class Pace:
    """How much of the engine's time a request has taken lately; older requests count less.

    Begins as if one request had taken a second.
    """

    NUM_REMEMBERED = 64

    def __init__(self) -> None:
        self._busy_s = 1.0
        self._num_ended = 1.0

    def record(self, busy_s: float, num_ended: int) -> None:
        """Add the time of a step and how many requests ended in it."""
        self._busy_s += busy_s
        self._num_ended += num_ended
        if self._num_ended > 2 * self.NUM_REMEMBERED:
            self._busy_s /= 2
            self._num_ended /= 2

    @property
    def s_per_request(self) -> float:
        """Seconds of work between one end and the next."""
        return self._busy_s / self._num_ended


class Scheduler:
    """Queues and budgets. Not thread-safe: the engine holds the lock.

    options  see types.EngineOptions
    pool     what bytes are taken from

    Any thread may add and abort (under the lock); all else is for the thread that runs a step.
    """

    def __init__(self, options: EngineOptions, pool: Pool) -> None:
        self.options = options
        self.pace = Pace()
        self.waiting: dict[str, deque[Request]] = {}  # clients in the order of their turns
        self.encoding: list[Request] = []  # in the order of admission, as the next
        self.running: list[Request] = []
        self._pool = pool
        self._aborted: list[Request] = []
        self._reserved_rows = 0
        self._reserved_bytes = 0

    @property
    def num_waiting(self) -> int:
        """Requests that have not been admitted yet, of all clients."""
        return sum(map(len, self.waiting.values()))

    # --- in ----------------------------------------------------------------------------------

    def add(self, request: Request) -> None:
        """Queue a request.

        Raises EngineError if it could never run, OverloadedError if too many wait already.
        """
        max_rows = self.options.max_rows
        if request.num_rows > max_rows:
            raise EngineError(
                f"the request needs {request.num_rows} rows (beam_size or num_hypotheses), "
                f"the engine has {max_rows}"
            )
        if request.num_bytes > self._pool.limit_bytes:
            raise EngineError(
                f"the request needs up to {request.num_bytes:,} bytes (sources, rows and "
                f"max_tokens), the pool has {self._pool.limit_bytes:,}"
            )
        self._require_place(request.client)
        self.waiting.setdefault(request.client, deque()).append(request)

    def _require_place(self, client: str) -> None:
        num_waiting = self.num_waiting
        num_own = len(self.waiting.get(client, ()))
        retry_after_s = num_waiting * self.pace.s_per_request
        if num_own >= self.options.max_client_waiting:
            problem = f"{num_own} requests of this client wait already (max_client_waiting)"
            raise OverloadedError(problem, retry_after_s)
        if num_waiting >= self.options.max_waiting:
            problem = f"{num_waiting} requests wait already (max_waiting)"
            raise OverloadedError(problem, retry_after_s)

    def admit(self, now_s: float) -> list[Request]:
        """Move requests from the queues to the encoding ones while they fit, see above.

        Returns those that were taken out because they cannot be served: nothing is running, and
        yet memories that are held elsewhere leave them too few bytes.
        """
        stuck: list[Request] = []
        while self.waiting:
            client, queue = next(iter(self.waiting.items()))
            request = queue[0]
            if self._fits(request):
                self._reserved_rows += request.num_rows
                self._reserved_bytes += request.num_bytes
                self.encoding.append(request)
                request.status = Status.ENCODING
                request.admitted_s = now_s
            elif self.encoding or self.running:
                break
            else:
                stuck.append(request)
                request.status = Status.FINISHED
            del self.waiting[client]
            queue.popleft()
            if queue:
                self.waiting[client] = queue  # its next turn is after everybody else's
        return stuck

    def _fits(self, request: Request) -> bool:
        if self._reserved_rows + request.num_rows > self.options.max_rows:
            return False
        return request.num_bytes <= self._free_bytes()

    def _free_bytes(self) -> int:
        """Bytes that nobody has or may claim.

        Memories that no request reserved for are what the pool holds beyond that. Decoder states
        are not known here and counted twice, as reserved and as held: too few is safe.
        """
        claimed = sum(request.claimed_bytes for request in (*self.encoding, *self.running))
        held = max(0, self._pool.used_bytes - claimed)
        return self._pool.limit_bytes - held - self._reserved_bytes

    def run(self, request: Request) -> None:
        """Its sources are encoded and its search is set up: it takes part in the next steps."""
        self.encoding.remove(request)
        self.running.append(request)
        request.status = Status.RUNNING

    # --- out ---------------------------------------------------------------------------------

    def abort(self, request: Request) -> None:
        """Mark a request to be dropped."""
        if not request.is_aborted:
            request.is_aborted = True
            self._aborted.append(request)

    def drop_aborted(self) -> list[Request]:
        """Take out the requests that were aborted since the last step."""
        dropped = [r for r in self._aborted if r.status is not Status.FINISHED]
        self._aborted = []
        for request in dropped:
            if request.status is not Status.WAITING:
                self.finish(request)
                continue
            queue = self.waiting[request.client]
            queue.remove(request)
            if not queue:
                del self.waiting[request.client]
            request.status = Status.FINISHED
        return dropped

    def finish(self, request: Request) -> None:
        """Take out a request that was admitted, and what was reserved for it."""
        (self.running if request.status is Status.RUNNING else self.encoding).remove(request)
        self._reserved_rows -= request.num_rows
        self._reserved_bytes -= request.num_bytes
        request.status = Status.FINISHED

    def clear(self, requests: Iterable[Request]) -> list[Request]:
        """Take out all that do not wait, wherever an exception left them; those of `requests`."""
        self.encoding, self.running = [], []
        self._reserved_rows = self._reserved_bytes = 0
        queued = {id(request) for queue in self.waiting.values() for request in queue}
        cleared = [request for request in requests if id(request) not in queued]
        for request in cleared:
            request.status = Status.FINISHED
        return cleared

    # --- invariants --------------------------------------------------------------------------

    def check(self, held_bytes: int | None = None) -> None:
        """Raise AssertionError if an invariant is broken; for tests, and when debugging.

        held_bytes  bytes of memories that are held outside of requests, if that is known
        """
        admitted = [*self.encoding, *self.running]
        queued = [request for queue in self.waiting.values() for request in queue]
        numbers = [request.request_id for request in (*admitted, *queued)]
        assert len(set(numbers)) == len(numbers), "a request is in two places"
        assert sum(request.num_rows for request in admitted) == self._reserved_rows
        assert sum(request.num_bytes for request in admitted) == self._reserved_bytes
        assert self._reserved_rows <= self.options.max_rows, f"{self._reserved_rows} rows reserved"
        self._check_queues()
        for request in self.encoding:
            assert request.status is Status.ENCODING
            assert request.search is None, "decodes while it is encoded"
        for request in self.running:
            assert request.status is Status.RUNNING
            assert not request.sources, "decodes half a prompt"
            assert request.encoding is None
            assert request.search is not None
            rows = len(request.search.states)
            assert rows == len(request.search.next_ids), "a row without a next id"
            assert 1 <= rows <= request.num_rows, f"{rows} rows, {request.num_rows} reserved"
        self._check_bytes(admitted, held_bytes)

    def _check_queues(self) -> None:
        assert self.num_waiting <= self.options.max_waiting
        for client, queue in self.waiting.items():
            assert 1 <= len(queue) <= self.options.max_client_waiting
            numbers = [request.request_id for request in queue]
            assert numbers == sorted(numbers), "a request was overtaken by one of its client"
            for request in queue:
                assert request.client == client
                assert request.status is Status.WAITING
                assert request.search is None
                assert request.encoding is None

    def _check_bytes(self, admitted: list[Request], held_bytes: int | None) -> None:
        pool = self._pool
        pool.check()
        assert pool.used_bytes <= pool.limit_bytes, f"{pool.used_bytes} of {pool.limit_bytes} used"
        assert self._reserved_bytes <= pool.limit_bytes, "more is reserved than there is"
        for request in admitted:
            assert request.claimed_bytes <= request.num_bytes, "takes more than it reserved"
        if held_bytes is not None:
            most = held_bytes + self._reserved_bytes
            assert pool.used_bytes <= most, f"{pool.used_bytes} used, {most} held or reserved"
