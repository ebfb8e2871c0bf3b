"""What routes call: the models, the store, and who may have how much of them.

ServedModel   a model with what the service needs of it
Service       runs work on threads, and replies on the engines, within the limits

Methods are for the thread of the event loop; whatever may block is done on other threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar, cast

from duologue.api import Model
from duologue.apps.support import KnowledgeBase
from duologue.conversation import Reply
from duologue.engine.engine import Engine
from duologue.errors import (
    EngineError,
    InputError,
    NotFoundError,
    OverloadedError,
    StorageError,
)
from duologue.runtime import Runtime
from duologue.server.bridge import Bridge
from duologue.server.errors import LOG, ApiError, report
from duologue.server.glossaries import Glossaries
from duologue.server.limits import Limits, Places, RateLimiter
from duologue.server.memories import Memories
from duologue.server.metrics import Metrics
from duologue.server.replies import Ending, Running, RunningReply, RunningSearch
from duologue.storage.conversations import Conversations
from duologue.storage.database import Database
from duologue.storage.handovers import Handovers
from duologue.storage.interrupted import note_interrupted
from duologue.storage.keys import Keys
from duologue.storage.memory_cache import MemoryCache
from duologue.types import Result

T = TypeVar("T")
P = ParamSpec("P")
MakeBridge = Callable[[str, Engine, asyncio.AbstractEventLoop], Bridge]
KEY_LOOK_S = 1.0
_STORE_THREADS, _WORK_THREADS = 8, 16


@dataclass(frozen=True)
class ServedModel:
    """One loaded model."""

    name: str
    model: Model
    runtime: Runtime
    bridge: Bridge
    memories: Memories

    @property
    def num_bytes(self) -> int:
        """What it takes now: weights, and the keys and values of all that was read and is said."""
        forward = self.runtime.forward
        return forward.weight_bytes + forward.pool.used_bytes


@dataclass(frozen=True)
class Begun:
    """A reply that is ready to be made: by which model, or on a thread by a function."""

    served: ServedModel
    reply: Reply | Callable[[], Result]

    def running(self, ending: Ending) -> Running:
        """It, not started yet."""
        if isinstance(self.reply, Reply):
            return RunningReply(self.reply, self.served.bridge, ending)
        return RunningSearch(self.reply, ending)


class Service:
    """Made before the event loop runs; start() joins them.

    runtimes   by name; the first is used where a request names none
    cache      of encoded memories on disk; None: there is none
    needs_key  whether requests must bring a key from the start on; see demands_key
    base       documents, read by one of the models; None: there are none
    glossaries  terms for translations whose request has none; None: there are none
    """

    def __init__(
        self,
        runtimes: dict[str, Runtime],
        database: Database,
        cache: MemoryCache | None = None,
        limits: Limits | None = None,
        needs_key: bool = False,
        base: KnowledgeBase | None = None,
        glossaries: Glossaries | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.base = base
        self.glossaries = glossaries or Glossaries()
        self._needs_key = needs_key
        self._next_look_s = 0.0
        self.conversations = Conversations(database)
        self.handovers = Handovers(database)
        self.keys = Keys(database)
        self.cache = cache
        self.metrics = Metrics()
        self.places = Places(self.limits)
        self.rates = RateLimiter(self.limits.max_requests_per_minute)
        self.models: dict[str, ServedModel] = {}
        self.is_stopping = False
        self._runtimes = runtimes
        self._database = database
        self._replies: set[Running] = set()
        self._scopes: set[asyncio.Timeout] = set()  # of what else is worked on
        self._num_working = 0
        self._idle = asyncio.Event()
        self._ends_s = math.inf  # when all work has to be over, as the loop counts
        self._store = ThreadPoolExecutor(_STORE_THREADS, "store")
        self._workers = ThreadPoolExecutor(_WORK_THREADS, "work")
        self._saver = ThreadPoolExecutor(1, "save")

    # --- life --------------------------------------------------------------------------------

    def start(self, make_bridge: MakeBridge | None = None) -> None:
        """Begin to work, in the running event loop.

        make_bridge  is given the name of a model, its engine, and the loop; None: a plain Bridge
        """
        loop = asyncio.get_running_loop()
        for name, runtime in self._runtimes.items():
            model = Model(runtime)
            memories = Memories(model, runtime, self.cache)
            engine = runtime.engine
            bridge = make_bridge(name, engine, loop) if make_bridge else Bridge(engine, loop)
            self.models[name] = ServedModel(name, model, runtime, bridge, memories)
        self.later(note_interrupted, self._database, int(1000 * time.time()))
        if self.cache is not None:
            self.later(self.cache.sweep, self.conversations.known_hashes)
        self.metrics.watch(self)

    async def drain(self, grace_s: float) -> None:
        """Take nothing new; let what is worked on end, and stop what takes longer."""
        self.is_stopping = True
        self._ends_s = asyncio.get_running_loop().time() + grace_s
        for scope in self._scopes:
            if not scope.expired():
                scope.reschedule(min(scope.when() or math.inf, self._ends_s))
        if self._num_working:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._ends_s):
                    await self._idle.wait()
            for reply in list(self._replies):
                reply.stop()
            await self._idle.wait()

    async def close(self) -> None:
        """End everything; what is known by then is written."""
        await self.drain(0)
        for served in self.models.values():
            await asyncio.to_thread(served.bridge.close)
        for executor in (self._workers, self._store, self._saver):  # a later one is for the former
            await asyncio.to_thread(executor.shutdown)
        self._database.close()
        if self.base is not None:
            self.base.store.close()

    async def demands_key(self) -> bool:
        """Whether a request must bring a key.

        Where there was none yet, it is looked for at most once in KEY_LOOK_S. A server that has
        seen one stays closed, even if all are revoked.
        """
        if not self._needs_key and (now_s := time.monotonic()) >= self._next_look_s:
            self._next_look_s = now_s + KEY_LOOK_S
            self._needs_key = await self.stored(self.keys.has_any)
        return self._needs_key

    # --- work --------------------------------------------------------------------------------

    def model(self, name: str | None = None) -> ServedModel:
        """A model by its name; None: the first. Raises NotFoundError, which lists them."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise NotFoundError(f"there is no such model; this server has {', '.join(self.models)}")
        return self.models[name]

    def name_of(self, runtime: Runtime) -> str:
        """The name of a model."""
        return next(name for name, own in self._runtimes.items() if own is runtime)

    def reader(self, name: str | None = None) -> ServedModel:
        """The same, of a model that reads texts. Raises ApiError for one that hears."""
        served = self.model(name)
        if served.runtime.config.front_end == "mel":
            problem = f"the model {served.name!r} hears speech and reads no texts; ask another one"
            raise ApiError("invalid_input", problem, "model")
        return served

    async def stored(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a method of the store returns, which may have to wait for the disk."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._store, partial(call, *args, **kwargs))

    async def work(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a function returns that computes for a while, such as a translation.

        Raises OverloadedError if too much is worked on already, and what timed raises.
        """
        loop = asyncio.get_running_loop()
        with self.place():
            async with self.timed():
                return await loop.run_in_executor(self._workers, partial(call, *args, **kwargs))

    async def in_pieces(self, pieces: Generator[None, None, T]) -> T:
        """What a generator returns that yields between pieces of its work; raises as work does.

        When nobody waits for it any more, it ends before its next piece.
        """
        is_over = threading.Event()

        def run() -> T:
            try:
                while not is_over.is_set():
                    next(pieces)
            except StopIteration as end:
                return cast(T, end.value)
            finally:
                pieces.close()
            raise ApiError("stopped", "nobody waits for this any more")

        try:
            return await self.work(run)
        finally:
            is_over.set()

    @asynccontextmanager
    async def timed(self) -> AsyncIterator[None]:
        """The time that a request may take.

        Raises ApiError: timeout after it, stopped where the server has to go down before.
        """
        now_s = asyncio.get_running_loop().time()
        scope = asyncio.timeout_at(min(now_s + self.limits.max_request_s, self._ends_s))
        self._scopes.add(scope)
        try:
            with self._working():
                async with scope:
                    yield
        except TimeoutError:
            if not scope.expired():
                raise
            if asyncio.get_running_loop().time() >= self._ends_s:
                raise ApiError("stopped", "the server is going down") from None
            raise ApiError("timeout", "it took too long (max_request_s)") from None
        finally:
            self._scopes.discard(scope)

    def storing(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begin to call a method of the store; any thread may wait for the end."""
        return self._store.submit(call, *args, **kwargs)

    def later(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call what is for the disk alone, one after another, from any thread."""
        future = self._saver.submit(call, *args, **kwargs)
        future.add_done_callback(_report)
        return future

    # --- replies -----------------------------------------------------------------------------

    async def reply(
        self,
        owner: str,
        begin: Callable[[], Begun],
        keep: Callable[[Result | None], object] = lambda _: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> Running:
        """Start a reply. No other code of the event loop runs between its start and the return.

        begin   prepares it, on a thread that may block
        keep    called on such a thread with the result, before Done; None: there is none to keep
        on_end  called when all is over, also if this raises

        Raises what begin raises, InputError for what can never be served, and OverloadedError.
        """
        loop = asyncio.get_running_loop()

        def ended(running: Running) -> None:
            self._replies.discard(running)
            self._count(begun.served.name, running)
            rest.close()

        with ExitStack() as ends:
            ends.callback(on_end)
            ends.enter_context(self._working())
            ends.enter_context(self.place())
            begun = await loop.run_in_executor(self._store, begin)
            on_thread = partial(loop.run_in_executor, self._workers)
            running = begun.running(Ending(on_thread, keep, ended))
            timer = loop.call_later(self.limits.max_request_s, running.stop, "timeout")
            ends.callback(timer.cancel)
            if self.is_stopping:
                ends.callback(loop.call_at(self._ends_s, running.stop).cancel)
            servable(running.start, owner)
            self._replies.add(running)
            rest = ends.pop_all()
        return running

    def place(self) -> AbstractContextManager[None]:
        """A place among what is worked on. Raises OverloadedError if there is none."""
        return self.places.active()

    @contextmanager
    def _working(self) -> Iterator[None]:
        """What drain waits for."""
        self._num_working += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._num_working -= 1
            if not self._num_working:
                self._idle.set()

    def _count(self, model: str, running: Running) -> None:
        if running.result is not None:
            self.metrics.used(model, running.result.usage)
        if running.first_token_s is not None:
            self.metrics.first_token(model, running.first_token_s)


def _report(future: Future[T]) -> None:
    error = future.exception()
    if isinstance(error, StorageError):
        LOG.warning("%s", error)
    elif error is not None:
        report(error)


def servable(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a call returns; an EngineError is one of the request, which can never be served."""
    try:
        return call(*args, **kwargs)
    except OverloadedError:
        raise
    except EngineError as error:
        raise InputError(str(error)) from None
