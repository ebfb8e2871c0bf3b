"""Ids in, ids out: many requests decode together, one call of decode_step per step.

    add      queue a request             step     encode some, then one decoding step for all
    abort    end it at the next step     stream   the progress of one request as it comes
    generate, generate_batch, finish_all run to the end
    inbox, collect                       the progress of many requests together

Any thread may call anything. There is no thread of the engine's own: whoever waits for progress
runs the step that makes it, for all requests; the others sleep until there is something for them
(turns.py). Who takes part in a step is decided in scheduler.py.
Knows no text, and not whether the decoder is recurrent or a transformer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from duologue.engine.request import (
    EncodeItem,
    Progress,
    Request,
    Status,
    most_bytes,
    require_possible,
)
from duologue.engine.rules import FREE, Constraints, SpecialIds
from duologue.engine.scheduler import Scheduler
from duologue.engine.search import Finished, Hypothesis, Prompt
from duologue.engine.turns import Mailbox, Turns
from duologue.errors import EngineError
from duologue.types import EngineOptions, FinishReason, Options

if TYPE_CHECKING:
    from duologue.engine.forward import Forward
    from duologue.engine.memory import Memory

__all__ = [
    "Constraints",
    "EncodeItem",
    "Engine",
    "Finished",
    "Hypothesis",
    "Progress",
    "SpecialIds",
]


class Engine:
    """Decodes requests together; see the module docstring.

    forward  encoder-decoder arithmetic
    special  what ends a hypothesis, and what is never produced
    options  how much is done at the same time; None: types.EngineOptions()
    clock    seconds, from any beginning
    """

    def __init__(
        self,
        forward: Forward,
        special: SpecialIds,
        options: EngineOptions | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._forward = forward
        self._special = special
        self._options = options or EngineOptions()
        self._absent = [idx for idx in special.absent_ids if idx not in special.eos_ids]
        self._clock = clock
        self._delivered_s = clock()  # when the tokens of the last decoding step went out
        self._turns = Turns()  # its lock guards all of the following
        self._scheduler = Scheduler(self._options, forward.pool)
        self._ids = count()
        self._live: dict[int, Request] = {}
        self._mailboxes: dict[int, Mailbox] = {}

    # --- requests --------------------------------------------------------------------------

    def add(
        self,
        memory: Memory,
        prefix_ids: Sequence[int],
        options: Options,
        record_attention: bool = False,
        sources: Sequence[EncodeItem] = (),
        client: str = "",
        constraints: Constraints = FREE,
        inbox: Mailbox | None = None,
    ) -> int:
        """Queue a request and return its id.

        prefix_ids   what the decoder is told first; at least one id
        sources      segments to be encoded after `memory` before decoding starts, between the steps
                     of others; Finished.memory then holds them
        client       whom it is for: clients get their turns one after another
        constraints  forced ids and a rule of the caller's
        inbox        where its progress goes; None: to who calls stream, or step

        Raises EngineError, with the sizes, if the request could never be served, for ids that do
        not exist, and for the memory of another model; OverloadedError if too many wait already.
        """
        prompt = Prompt(tuple(prefix_ids), options, record_attention, constraints)
        items = [EncodeItem(tuple(ids), is_document) for ids, is_document in sources]
        require_possible(self._forward.config, memory, prompt, items)
        if memory.num_tokens:
            self._forward.start(memory)  # refuses the memory of another model
        num_bytes = most_bytes(self._forward, memory, prompt, items)
        with self._turns.lock:
            number = next(self._ids)
            request = Request(number, client, prompt, memory, deque(items), num_bytes)
            self._scheduler.add(request)
            self._live[number] = request
            if inbox is not None:
                self._mailboxes[number] = inbox
        return number

    def abort(self, request_id: int) -> None:
        """End a request at the next step, which frees its memory; unknown ids are ignored."""
        with self._turns.lock:
            request = self._live.get(request_id)
            if request is not None:
                self._scheduler.abort(request)

    # --- one step ----------------------------------------------------------------------------

    def step(self) -> list[Progress]:
        """One step for all; empty when there is nothing to do, or nothing came of it yet.

        Requests leave and join; prompts are encoded in chunks; the running requests decode one
        token. Between two steps' tokens lie at most max_gap_ms of encoding, one chunk more, and the
        decoding step itself; with nothing running, encoding goes on until a prompt is ready.

        A failure inside ends every admitted request with finish_reason "error" and is raised here.
        Only what the encoder refuses ends that request alone, and is told in Finished.problem.
        """
        return self._take_turn(self._turns.mailbox())

    def _take_turn(self, mailbox: Mailbox) -> list[Progress]:
        """Run one step, once no other thread runs one, unless that has filled the mailbox."""
        return self._turns.run(self._step, mailbox)

    def _step(self) -> list[Progress]:
        """One step by the thread whose turn it is."""
        begun_s = self._clock()
        left: list[Progress] = []
        progress: list[Progress] = []
        try:
            left = self._leave_and_join(begun_s)
            progress += self._encode()
            progress += self._decode()
        except BaseException:
            # Searches may be half way through this step (Ctrl-C comes anywhere): none goes on.
            with self._turns.lock:
                cleared = self._scheduler.clear(self._live.values())
            progress = [self._ended(request, "error", "the step failed") for request in cleared]
            raise
        finally:
            with self._turns.lock:
                self._deliver(progress)
                num_ended = sum(item.finished is not None for item in (*left, *progress))
                self._delivered_s = self._clock()
                self._scheduler.pace.record(self._delivered_s - begun_s, num_ended)
        return left + progress

    def _leave_and_join(self, now_s: float) -> list[Progress]:
        """Who leaves is told at once, so that its memory is free for those that join."""
        with self._turns.lock:
            left = [self._ended(r, "abort") for r in self._scheduler.drop_aborted()]
            self._deliver(left)
            stuck = [
                self._ended(
                    request,
                    "error",
                    f"the request needs up to {request.num_bytes:,} bytes: memories that are held "
                    "elsewhere leave too few in the pool",
                )
                for request in self._scheduler.admit(now_s)
            ]
            self._deliver(stuck)
        return left + stuck

    def _encode(self) -> list[Progress]:
        """Chunks of prompts, first admitted first, until the gap between tokens is used up."""
        progress: list[Progress] = []
        scheduler = self._scheduler
        for request in list(scheduler.encoding):
            if not request.sources:
                progress += self._try(request, self._start)
        must_stop_s = self._delivered_s + self._options.max_gap_ms / 1000
        has_begun = False
        for request in list(scheduler.encoding):
            while request.status is Status.ENCODING and not request.is_aborted:
                if has_begun and scheduler.running and self._clock() >= must_stop_s:
                    return progress
                has_begun = True
                progress += self._try(request, self._encode_chunk)
        return progress

    def _try(self, request: Request, work: Callable[[Request], list[Progress]]) -> list[Progress]:
        """Work on one request; what is wrong with it ends it alone."""
        try:
            return work(request)
        except EngineError as error:
            self._scheduler.finish(request)
            return [self._ended(request, "error", str(error))]

    def _encode_chunk(self, request: Request) -> list[Progress]:
        request.encode_chunk(self._forward)
        return [] if request.sources else self._start(request)

    def _start(self, request: Request) -> list[Progress]:
        request.start(self._forward, self._special)
        self._scheduler.run(request)
        if request.reached_memory is None:
            return []
        return [request.progress(memory=request.reached_memory)]

    def _decode(self) -> list[Progress]:
        running = [(request, request.search) for request in self._scheduler.running]
        searches = [search for _, search in running if search is not None]
        if not searches:
            return []
        next_ids = [idx for search in searches for idx in search.next_ids]
        num_rows = [len(search.states) for search in searches]
        # The list of states is gone before the searches let go of some of them.
        logits = self._forward.decode_step(
            [state for search in searches for state in search.states], next_ids
        )
        scores = self._forward.score(logits, self._absent).without(self._special.suppressed_ids)
        progress: list[Progress] = []
        first = 0
        for (request, _), search, rows in zip(running, searches, num_rows, strict=True):
            ids, tail, finished = search.advance(scores, first)
            first += rows
            if finished is not None:
                self._scheduler.finish(request)
                finished = replace(finished, memory=request.reached_memory)
            progress.append(request.progress(ids, tail, finished))
        return progress

    def _ended(self, request: Request, reason: FinishReason, problem: str = "") -> Progress:
        """The last progress of a request that is ended from outside, with what there is so far."""
        best = request.best_so_far(reason)
        rest = best.ids[len(request.committed_ids) :]
        return request.progress(rest, finished=Finished((best,), problem=problem))

    def _deliver(self, progress: list[Progress]) -> None:
        for item in progress:
            request = self._live[item.request_id]
            request.committed_ids += item.committed_ids
            request.delivered_memory = item.memory or request.delivered_memory
            if item.request_id in self._mailboxes:
                self._mailboxes[item.request_id].put(item)
            if item.finished is not None:
                del self._live[item.request_id]
                self._mailboxes.pop(item.request_id, None)
                request.release()

    # --- to the end --------------------------------------------------------------------------

    def stream(self, request_id: int) -> Generator[Progress, None, None]:
        """The progress of one request until it is finished, what it has committed so far first.

        Closing the iterator early aborts the request. Raises EngineError for a request that is
        unknown, over, or streamed already.
        """
        mailbox = self._turns.mailbox()
        self._subscribe(request_id, mailbox)
        return self._stream(request_id, mailbox)

    def open_stream(
        self,
        memory: Memory,
        prefix_ids: Sequence[int],
        options: Options,
        record_attention: bool = False,
        sources: Sequence[EncodeItem] = (),
        client: str = "",
        constraints: Constraints = FREE,
    ) -> Generator[Progress, None, None]:
        """Add and stream in one: no other thread's step can end the request in between."""
        inbox = self.inbox()
        job = memory, prefix_ids, options, record_attention, sources, client, constraints
        return self._stream(self.add(*job, inbox), inbox)

    def _stream(self, request_id: int, mailbox: Mailbox) -> Generator[Progress, None, None]:
        try:
            while True:
                self._wait(mailbox)
                progress = mailbox.items.popleft()
                yield progress
                if progress.finished is not None:
                    return
        finally:
            self._unsubscribe(request_id)

    def _subscribe(self, request_id: int, mailbox: Mailbox) -> None:
        with self._turns.lock:
            request = self._live.get(request_id)
            if request is None or request_id in self._mailboxes:
                raise EngineError(f"request {request_id} is unknown, over, or streamed already")
            self._mailboxes[request_id] = mailbox
            ids, memory = tuple(request.committed_ids), request.delivered_memory
            if ids or memory is not None:
                mailbox.put(Progress(request_id, ids, memory=memory))

    def _unsubscribe(self, request_id: int) -> None:
        """Nobody waits for this request any more: whatever is left of it is not needed."""
        with self._turns.lock:
            self._mailboxes.pop(request_id, None)
            self.abort(request_id)

    def inbox(self) -> Mailbox:
        """A place where the progress of many requests arrives together; see add and collect."""
        return self._turns.mailbox()

    def collect(self, inbox: Mailbox) -> list[Progress]:
        """Wait for progress in an inbox, one of whose requests must live; raises as step does."""
        self._wait(inbox)
        with self._turns.lock:
            items = list(inbox.items)
            inbox.items.clear()
            return items

    def _wait(self, mailbox: Mailbox) -> None:
        """Until there is progress in a mailbox; runs steps as long as no other thread does.

        Does not spin: as long as a request lives, each step computes something or ends something.
        """
        while not mailbox.items:
            self._take_turn(mailbox)

    def generate(
        self,
        memory: Memory,
        prefix_ids: Sequence[int],
        options: Options,
        record_attention: bool = False,
        sources: Sequence[EncodeItem] = (),
        client: str = "",
        constraints: Constraints = FREE,
    ) -> Finished:
        """Decode one request to its end; what it returns always has a best hypothesis."""
        job = memory, prefix_ids, options, record_attention, sources, client, constraints
        *_, last = self.open_stream(*job)
        assert last.finished is not None
        return last.finished

    def generate_batch(
        self,
        sources: Iterable[tuple[Memory, Sequence[int]]],
        options: Options,
        constraints: Constraints = FREE,
    ) -> list[Finished]:
        """Decode many (memory, prefix) pairs in the same way; see finish_all."""
        way = options, False, constraints
        return self.finish_all((memory, Prompt(tuple(ids), *way)) for memory, ids in sources)

    def finish_all(self, prompts: Iterable[tuple[Memory, Prompt]]) -> list[Finished]:
        """Decode many prompts together; results in their order.

        Prompts are drawn only when there is room for them, so that a generator of them can encode
        as it goes and a long list never has all of its memories at once.
        """
        finished, rows = dict[int, Finished](), dict[int, int]()  # rows of those that live
        inbox, remaining, room = self.inbox(), iter(prompts), self._options.max_rows
        try:
            while True:
                while sum(rows.values()) < room and (drawn := next(remaining, None)):
                    memory, prompt = drawn
                    number = self.add(memory, *prompt[:3], constraints=prompt[3], inbox=inbox)
                    rows[number] = prompt.options.num_rows
                if not rows:
                    return [finished[number] for number in sorted(finished)]
                for progress in self.collect(inbox):
                    if progress.finished is not None:
                        finished[progress.request_id] = progress.finished
                        del rows[progress.request_id]
        finally:
            for number in rows:
                self._unsubscribe(number)

    # --- invariants --------------------------------------------------------------------------

    def check(self, held_bytes: int | None = None) -> None:
        """Raise AssertionError if an invariant is broken; call it between steps.

        held_bytes  bytes of memories that are held outside of requests, if that is known
        """
        with self._turns.lock:
            assert not self._turns.is_taken, "a step is running"
            scheduler = self._scheduler
            scheduler.check(held_bytes)
            queued = [request for queue in scheduler.waiting.values() for request in queue]
            known = {r.request_id for r in (*scheduler.encoding, *scheduler.running, *queued)}
            assert known == set(self._live), "a request is queued and not known, or reverse"
