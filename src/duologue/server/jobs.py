"""Work for the engine that is no turn of a stored conversation, within the limits.

run_job        one job to its end; submitted and made: the same, begun at once and waited for later
translate      texts, as apps.translate plans it
decode         one task of a memory
unless_gone    ends work as soon as nobody waits for it

All of it is for the event loop; cancelling it ends its jobs within one step.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from starlette.types import Receive

from duologue.apps.batch import Ask, Decoded, Ended, Plan, advance
from duologue.apps.translate import TranslateOptions, translation
from duologue.engine.engine import Constraints, EncodeItem, Finished, Progress
from duologue.engine.memory import Memory
from duologue.errors import EngineError
from duologue.explain import has_loop
from duologue.server.bridge import Job
from duologue.server.errors import ApiError
from duologue.server.service import ServedModel, Service, servable
from duologue.text.imported_template import Prefix
from duologue.types import Checks, Options, Result, Span, Usage

T = TypeVar("T")

# Of one request at the same time: a long text leaves room for others.
_MAX_JOBS = 16


async def run_job(
    served: ServedModel, job: Job, receive: Callable[[Progress], None] | None = None
) -> Finished:
    """Run a job to its end; receive gets its progress.

    Raises InputError for what can never be served, EngineError if it failed.
    """
    return made(await submitted(served, job, receive))


def made(finished: Finished) -> Finished:
    """What a job came to. Raises EngineError if it failed."""
    if finished.best.finish_reason in ("abort", "error"):
        raise EngineError(finished.problem or "the request was ended from outside")
    return finished


def submitted(
    served: ServedModel, job: Job, receive: Callable[[Progress], None] | None = None
) -> asyncio.Future[Finished]:
    """Queue a job at once; cancelling its end ends it. Raises InputError for what can never be."""
    ended: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()

    def digest(progress: Progress) -> None:
        if receive is not None and not ended.done():
            receive(progress)
        if progress.finished is not None and not ended.done():
            ended.set_result(progress.finished)

    number = servable(served.bridge.submit, job, digest)
    ended.add_done_callback(lambda end: served.bridge.abort(number) if end.cancelled() else None)
    return ended


async def translate(
    service: Service,
    served: ServedModel,
    texts: Sequence[str],
    how: TranslateOptions,
    owner: str,
) -> list[Result]:
    """What apps.translate.translate_batch gives; raises what it raises.

    how  where it has no glossary, the server's is used, if there is one for the languages
    """
    runtime = served.runtime

    def begin() -> tuple[Plan[list[Result]], Sequence[Ask] | Ended[list[Result]]]:
        service.limits.check_texts(runtime, texts, "texts")
        terms = how.glossary
        if terms is None:
            terms = service.glossaries.of(texts, how.to, how.from_, runtime.config.languages)
        plan = translation(runtime, texts, replace(how, glossary=terms))
        return plan, advance(plan)

    plan, asked = await service.work(begin)
    with service.place():
        async with service.timed():
            while not isinstance(asked, Ended):
                answers = await _answers(served, asked, owner)
                asked = await service.work(advance, plan, answers)
    return asked.value


async def _answers(served: ServedModel, asks: Sequence[Ask], owner: str) -> list[Decoded]:
    """What becomes of one round of a plan; a few of its asks at the same time."""
    places = asyncio.Semaphore(_MAX_JOBS)

    async def one(ask: Ask) -> Decoded:
        async with places:
            return await _decoded(served, ask, owner)

    tasks = [asyncio.create_task(one(ask)) for ask in asks]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _decoded(served: ServedModel, ask: Ask, owner: str) -> Decoded:
    runtime = served.runtime
    sources: tuple[EncodeItem, ...] = ()
    unread: tuple[Span, ...] = ()
    if ask.source is not None:
        kept, unread = runtime.cut(ask.source, runtime.config.max_positions, 0)
        sources = (EncodeItem(kept.ids),)
    begun_s = read_s = time.perf_counter()

    def note(progress: Progress) -> None:
        nonlocal read_s
        read_s = time.perf_counter() if progress.memory is not None else read_s

    prompt = ask.prompt(runtime)
    job = Job(
        memory=Memory.empty(),
        prefix_ids=prompt.prefix_ids,
        options=prompt.options,
        sources=sources,
        record_attention=prompt.record_attention,
        constraints=prompt.constraints,
        client=owner,
    )
    finished = await run_job(served, job, note)
    usage = Usage(
        encoded_tokens=sum(len(source.ids) for source in sources),
        produced_tokens=len(finished.best.ids),
        encode_ms=1000 * (read_s - begun_s),
        decode_ms=1000 * (time.perf_counter() - read_s),
    )
    return Decoded(finished, unread, usage)


async def decode(
    service: Service,
    served: ServedModel,
    memory: Memory,
    prefix: Prefix,
    options: Options,
    owner: str,
) -> Result:
    """What Model.decode gives; raises what run_job raises."""
    runtime = served.runtime
    begun_s = time.perf_counter()
    job = Job(
        memory=memory,
        prefix_ids=prefix.ids,
        options=runtime.fit(options, prefix),
        constraints=Constraints(prefix.forced),
        client=owner,
    )
    with service.place():
        async with service.timed():
            finished = await run_job(served, job)
    decode_ms = 1000 * (time.perf_counter() - begun_s)
    usage = Usage(reused_tokens=memory.num_tokens, decode_ms=decode_ms)
    result = runtime.result(finished, Checks(), (), usage)
    return replace(result, checks=Checks(repetition=has_loop(result.text)))


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What some work gives, which is cancelled as soon as the reader of a request goes away.

    receive  of the request, whose body was read
    """

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task, watcher = asyncio.ensure_future(work), asyncio.create_task(watch())
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError("stopped", "nobody waits for this any more")
        return task.result()
    finally:
        watcher.cancel()
        task.cancel()
