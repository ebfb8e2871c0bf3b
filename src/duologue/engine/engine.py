"""Ids in, ids out: many requests decode together, one call of decode_step per step.

    add      queue a request             step     one decoding step for all that run
    abort    end it at the next step     stream   the progress of one request as it comes
    generate, generate_batch             run to the end

Any thread may call anything. There is no thread of the engine's own: whoever waits for progress
runs the step that makes it, for all requests; the others wait for that step and find theirs done.
Knows no text, and not whether the decoder is recurrent or a transformer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np

from duologue.engine.beam import BeamSearch
from duologue.engine.sampling import Scores
from duologue.engine.scheduler import Request, Scheduler
from duologue.engine.search import Finished, Hypothesis, SingleSearch
from duologue.errors import EngineError
from duologue.types import FinishReason, Options

if TYPE_CHECKING:
    from duologue.engine.forward import Forward
    from duologue.engine.memory import Memory

__all__ = ["Engine", "Finished", "Hypothesis", "Progress"]

MAX_ROWS = 64


@dataclass(frozen=True)
class Progress:
    """What one step brought one request.

    committed_ids  new ids that will not change
    tail_ids       beam search: the current guess of what follows all committed ids
    finished       set in the last progress of a request
    """

    request_id: int
    committed_ids: tuple[int, ...] = ()
    tail_ids: tuple[int, ...] = ()
    finished: Finished | None = None


class Engine:
    """Decodes requests together; see the module docstring.

    forward          encoder-decoder arithmetic
    eos_id           ends a hypothesis
    max_rows         most rows (hypotheses of all requests) in one decoding step
    suppressed_ids   ids that are never produced, such as padding and roles
    """

    def __init__(
        self,
        forward: Forward,
        eos_id: int,
        max_rows: int = MAX_ROWS,
        suppressed_ids: Sequence[int] = (),
    ) -> None:
        self._forward = forward
        self._eos_id = eos_id
        self._suppressed = np.array([i for i in suppressed_ids if i != eos_id], dtype=np.int64)
        self._scheduler = Scheduler(max_rows)
        self._ids = count()
        self._live: dict[int, Request] = {}
        self._mailboxes: dict[int, deque[Progress]] = {}
        self._stepping_thread: int | None = None
        self._changed = threading.Condition()  # guards all of the above

    # --- requests --------------------------------------------------------------------------

    def add(
        self,
        memory: Memory,
        prefix_ids: Sequence[int],
        options: Options,
        record_attention: bool = False,
    ) -> int:
        """Queue a request and return its id.

        prefix_ids  what the decoder is told first; at least one id

        Raises EngineError, with the sizes, if the request could never be served, for ids that do
        not exist, and for the memory of another model.
        """
        self._require_fit(memory, prefix_ids, options)
        state = self._forward.start(memory, record_attention=record_attention)
        kind = BeamSearch if options.beam_size > 1 else SingleSearch
        search = kind(state, prefix_ids, self._eos_id, options, record_attention)
        with self._changed:
            request = Request(next(self._ids), search, options.num_rows)
            self._scheduler.add(request)
            self._live[request.request_id] = request
        return request.request_id

    def _require_fit(self, memory: Memory, prefix_ids: Sequence[int], options: Options) -> None:
        limit = self._forward.config.max_positions
        if not prefix_ids:
            raise EngineError("the decoder's prefix is empty")
        vocab_size = self._forward.config.vocab_size
        if not all(0 <= idx < vocab_size for idx in prefix_ids):
            raise EngineError(f"the prefix holds ids outside of the vocabulary of {vocab_size}")
        if len(prefix_ids) + options.max_tokens > limit:
            raise EngineError(
                f"a prefix of {len(prefix_ids)} tokens and max_tokens {options.max_tokens} "
                f"are more than the model's {limit} positions"
            )
        if memory.num_tokens > limit:
            raise EngineError(
                f"the memory has {memory.num_tokens} tokens, the model reads at most {limit}"
            )

    def abort(self, request_id: int) -> None:
        """End a request at the next step, which frees its rows; unknown ids are ignored."""
        with self._changed:
            request = self._live.get(request_id)
            if request is not None:
                request.is_aborted = True
            self._changed.notify_all()

    # --- one step ----------------------------------------------------------------------------

    def step(self) -> list[Progress]:
        """One decoding step for all running requests; empty when there is nothing to do.

        A failure inside ends every running request with finish_reason "error" and is raised here.
        """
        return self._take_turn(None)

    def _take_turn(self, mailbox: deque[Progress] | None) -> list[Progress]:
        """Run one step, once no other thread runs one, unless that has filled the mailbox."""
        try:
            with self._changed:
                while self._stepping_thread is not None and not mailbox:
                    self._changed.wait()
                if mailbox:
                    return []
                self._stepping_thread = threading.get_ident()
            return self._step()
        finally:
            with self._changed:
                if self._stepping_thread == threading.get_ident():
                    self._stepping_thread = None
                    self._changed.notify_all()

    def _step(self) -> list[Progress]:
        """One step by the thread whose turn it is."""
        progress: list[Progress] = []
        try:
            progress = [*self._join_and_leave(), *self._decode()]
        except BaseException:
            # Searches may be half way through this step (Ctrl-C comes anywhere): none goes on.
            progress = [self._ended(request, "error") for request in self._clear()]
            raise
        finally:
            with self._changed:
                self._deliver(progress)
        return progress

    def _join_and_leave(self) -> list[Progress]:
        with self._changed:
            dropped = self._scheduler.drop_aborted()
            self._scheduler.admit()
        return [self._ended(request, "abort") for request in dropped]

    def _decode(self) -> list[Progress]:
        running = list(self._scheduler.running)
        if not running:
            return []
        next_ids = [idx for request in running for idx in request.search.next_ids]
        num_rows = [len(request.search.states) for request in running]
        # The list of states is gone before the searches let go of some of them.
        logits = self._forward.decode_step(
            [state for request in running for state in request.search.states], next_ids
        )
        scores = Scores.of(logits, self._suppressed)
        progress: list[Progress] = []
        first = 0
        for request, rows in zip(running, num_rows, strict=True):
            step = request.search.advance(scores, first)
            first += rows
            progress.append(Progress(request.request_id, *step))
            if step.finished is not None:
                self._scheduler.finish(request)
        return progress

    def _clear(self) -> list[Request]:
        """Take out everything but the waiting requests."""
        with self._changed:
            self._scheduler.clear_running()
            return [r for r in self._live.values() if r not in self._scheduler.waiting]

    def _ended(self, request: Request, reason: FinishReason) -> Progress:
        """The last progress of a request that is ended from outside, with what there is so far."""
        best = request.search.best_so_far(reason)
        rest = best.ids[len(request.committed_ids) :]
        return Progress(request.request_id, rest, finished=Finished((best,)))

    def _deliver(self, progress: list[Progress]) -> None:
        for item in progress:
            self._live[item.request_id].committed_ids += item.committed_ids
            if item.request_id in self._mailboxes:
                self._mailboxes[item.request_id].append(item)
            if item.finished is not None:
                del self._live[item.request_id]

    # --- to the end --------------------------------------------------------------------------

    def stream(self, request_id: int) -> Generator[Progress, None, None]:
        """The progress of one request until it is finished, what it has committed so far first.

        Closing the iterator early aborts the request. Raises EngineError for a request that is
        unknown, over, or streamed already.
        """
        mailbox = deque[Progress]()
        self._subscribe(request_id, mailbox)
        return self._stream(request_id, mailbox)

    def _stream(self, request_id: int, mailbox: deque[Progress]) -> Generator[Progress, None, None]:
        try:
            while True:
                self._wait(mailbox)
                progress = mailbox.popleft()
                yield progress
                if progress.finished is not None:
                    return
        finally:
            self._unsubscribe(request_id)

    def _subscribe(self, request_id: int, mailbox: deque[Progress]) -> None:
        with self._changed:
            request = self._live.get(request_id)
            if request is None or request_id in self._mailboxes:
                raise EngineError(f"request {request_id} is unknown, over, or streamed already")
            self._mailboxes[request_id] = mailbox
            if request.committed_ids:
                mailbox.append(Progress(request_id, tuple(request.committed_ids)))

    def _unsubscribe(self, request_id: int) -> None:
        """Nobody waits for this request any more: whatever is left of it is not needed."""
        with self._changed:
            self._mailboxes.pop(request_id, None)
            self.abort(request_id)

    def _wait(self, mailbox: deque[Progress]) -> None:
        """Until there is progress in a mailbox; runs steps as long as no other thread does."""
        while not mailbox:
            self._take_turn(mailbox)

    def generate(
        self,
        memory: Memory,
        prefix_ids: Sequence[int],
        options: Options,
        record_attention: bool = False,
    ) -> Finished:
        """Decode one request to its end; what it returns always has a best hypothesis."""
        request_id = self.add(memory, prefix_ids, options, record_attention)
        finished = [progress.finished for progress in self.stream(request_id)][-1]
        assert finished is not None  # the last progress of a stream says so
        return finished

    def generate_batch(
        self, sources: Iterable[tuple[Memory, Sequence[int]]], options: Options
    ) -> list[Finished]:
        """Decode many (memory, prefix) pairs together; results in their order.

        Sources are drawn only when there is room for them, so that a generator of them can encode
        as it goes and a long list never has all of its memories at once.
        """
        finished: dict[int, Finished] = {}
        order: list[int] = []
        mailbox = deque[Progress]()
        room = max(1, self._scheduler.max_rows // options.num_rows)
        remaining = iter(sources)
        try:
            while True:
                for memory, prefix_ids in islice(remaining, room + len(finished) - len(order)):
                    order.append(self.add(memory, prefix_ids, options))
                    self._subscribe(order[-1], mailbox)
                if len(finished) == len(order):
                    return [finished[request_id] for request_id in order]
                self._wait(mailbox)
                while mailbox:
                    progress = mailbox.popleft()
                    if progress.finished is not None:
                        finished[progress.request_id] = progress.finished
                        self._unsubscribe(progress.request_id)
        finally:
            for request_id in set(order) - set(finished):
                self._unsubscribe(request_id)

    # --- invariants --------------------------------------------------------------------------

    def check(self) -> None:
        """Raise AssertionError if an invariant is broken; call it between steps."""
        with self._changed:
            self._scheduler.check()
            queued = {r.request_id for r in (*self._scheduler.running, *self._scheduler.waiting)}
            assert queued == set(self._live), "a request is queued and not known, or reverse"
            assert self._stepping_thread is None
