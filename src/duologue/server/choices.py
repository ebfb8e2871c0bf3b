"""Answers to a dialogue that is not stored: several at once, stop texts, and log-probabilities.

Question   what is asked, ready for the engine
Choice     one answer on its way
answers    runs all choices; the dialogue is encoded once
question_of  from turns, for a model that replies or one that goes on with a text
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from duologue.conversation import Conversation
from duologue.conversation.reply import Writer
from duologue.engine.engine import Constraints, EncodeItem, Finished, Progress
from duologue.engine.memory import Memory
from duologue.explain import token_confidences
from duologue.runtime import check_text
from duologue.server.bridge import Job
from duologue.server.errors import ApiError
from duologue.server.jobs import made, submitted
from duologue.server.memories import names_of
from duologue.server.replies import JOIN_S
from duologue.server.service import ServedModel, Service, servable
from duologue.types import Checks, Commit, Options, Turn

_NAMES = {"system": "System", "user": "User", "agent": "Assistant", "document": "Document"}


@dataclass(frozen=True)
class Question:
    """job         what the engine is asked
    num_tokens  of the dialogue
    num_reused  of these, those that were read before
    on_read     is called with the progress that tells that all of it is read
    """

    job: Job
    num_tokens: int
    num_reused: int = 0
    on_read: Callable[[Progress], None] = lambda _: None


class Choice:
    """One answer on its way.

    on_text        is called with text that is final; pieces that come soon after others are joined
    with_logprobs  of what was said; then the model goes on after a stop text, unseen

    text           what is final, up to a stop text
    finish_reason  stop or length; None before the end
    """

    def __init__(
        self,
        index: int,
        served: ServedModel,
        stops: Sequence[str],
        on_text: Callable[[str], None],
        with_logprobs: bool = False,
    ) -> None:
        self.index = index
        self.text = ""
        self.finish_reason: str | None = None
        self.num_tokens = 0
        self.logprobs: tuple[tuple[str, float], ...] = ()
        self.is_cut: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._served = served
        self._stops = tuple(stops)
        self._longest = max(map(len, stops), default=1)
        self._writer = Writer(served.runtime.tokenizer)
        self._on_text = on_text
        self._with_logprobs = with_logprobs
        self._num_told = 0  # characters that were passed on
        self._next_s = 0.0  # when more may be
        self._timer: asyncio.TimerHandle | None = None

    def receive(self, progress: Progress) -> None:
        """Digest a progress; a stop text ends the choice at once."""
        if self.finish_reason is not None:
            return
        self.num_tokens += len(progress.committed_ids)
        for event in self._writer.events(progress):
            if isinstance(event, Commit):
                self._take()

    def end(self, finished: Finished) -> None:
        """The engine is done with it."""
        best = finished.best
        if self.finish_reason is None:
            self.text = self._writer.delivered
            self.finish_reason = best.finish_reason
        self._pass_on()
        if self._with_logprobs:
            pieces = token_confidences(self._served.runtime.tokenizer, best)
            ends = accumulate(len(piece) for piece, _ in pieces)
            self.logprobs = tuple(
                piece for piece, end in zip(pieces, ends, strict=True) if end <= len(self.text)
            )

    def _take(self) -> None:
        """Pass on what cannot be part of a stop text any more."""
        said = self._writer.delivered
        first = max(0, len(self.text) - self._longest)
        found = [place for stop in self._stops if (place := said.find(stop, first)) >= 0]
        if found:
            self.text = said[: max(min(found), len(self.text))]
            self.finish_reason = "stop"
            self._pass_on()
            if not self._with_logprobs:
                self.is_cut.set_result(None)
            return
        held = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(said)), held, -1):
                if said.endswith(stop[:length]):
                    held = length
                    break
        self._tell(said[: len(said) - held])

    def _tell(self, text: str) -> None:
        self.text = text
        if self._timer is None and len(text) > self._num_told:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._next_s:
                self._pass_on()
            else:
                self._timer = loop.call_at(self._next_s, self._pass_on)

    def _pass_on(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        new = self.text[self._num_told :]
        if new:
            self._num_told = len(self.text)
            self._next_s = asyncio.get_running_loop().time() + JOIN_S
            self._on_text(new)


def question_of(
    service: Service, served: ServedModel, turns: Sequence[Turn], options: Options, owner: str
) -> Question:
    """Ready for the engine; blocks for as long as the tokenizer takes.

    Raises ApiError for a model that neither replies nor goes on with texts, and InputError.
    """
    runtime = served.runtime
    service.limits.check_texts(runtime, ["\n".join(turn.text for turn in turns)], "messages")
    tasks = runtime.config.tasks
    if "reply" in tasks:
        return _reply_to(served, turns, options, owner)
    if "generate" in tasks:
        source = runtime.source(check_text(rendered(turns)), "generate")
        if len(source.ids) > runtime.config.max_positions:
            most = runtime.config.max_positions
            problem = f"the text has {len(source.ids)} tokens, this model reads at most {most}"
            raise ApiError("invalid_input", problem, "messages")
        start = runtime.template.prefix("generate")
        job = Job(
            memory=Memory.empty(),
            prefix_ids=start.ids,
            options=runtime.fit(options, start),
            sources=(EncodeItem(source.ids),),
            constraints=Constraints(start.forced),
            client=owner,
        )
        return Question(job, len(source.ids))
    known = ", ".join(tasks) or "nothing"
    raise ApiError("invalid_input", f"this model does not chat; it can {known}", "model")


def _reply_to(served: ServedModel, turns: Sequence[Turn], options: Options, owner: str) -> Question:
    """The question of a dialogue, as much of which as was read before is not read again."""
    names = names_of(owner, [Turn(turn.role, check_text(turn.text)) for turn in turns])
    talk, unread = served.memories.recall(names, turns)
    reply = servable(talk.begin, unread, options)
    if reply.checks != Checks():  # what has to leave depends on where the reading begins
        talk = Conversation(served.runtime)
        reply = servable(talk.begin, turns, options)

    def keep(progress: Progress) -> None:
        if reply.checks == Checks():
            for _ in reply.digest(replace(progress, finished=None)):
                pass
            reply.keep_question()
            served.memories.keep(names, talk)

    job = Job(reply.memory, reply.prefix_ids, reply.options, reply.sources, client=owner)
    num_reused = reply.memory.num_tokens
    num_new = sum(len(item.ids) for item in reply.sources)
    return Question(job, num_reused + num_new, num_reused, keep)


def rendered(turns: Sequence[Turn]) -> str:
    """A dialogue as one text, for a model that knows no turns; a single turn as it is."""
    if len(turns) == 1:
        return turns[0].text
    lines = [f"{_NAMES[turn.role]}: {turn.text}" for turn in turns]
    return "\n".join([*lines, f"{_NAMES['agent']}:"])


async def answers(
    service: Service, served: ServedModel, question: Question, choices: Sequence[Choice]
) -> None:
    """Run all choices to their ends; each draws with a seed of its own.

    Raises what jobs.run_job raises, and ApiError (timeout).
    """
    first, *others = choices
    read: asyncio.Future[Memory] = asyncio.get_running_loop().create_future()

    if not question.job.sources:  # all of it was read before
        read.set_result(question.job.memory)

    def receive(progress: Progress) -> None:
        if progress.memory is not None and not read.done():
            read.set_result(progress.memory)
            question.on_read(progress)
        first.receive(progress)

    async def other(choice: Choice) -> None:
        job = replace(_seeded(question.job, choice.index), memory=await read, sources=())
        await _run(served, job, choice, choice.receive)

    with service.place():
        async with service.timed():
            if not others:  # begun at once
                await _run(served, question.job, first, receive)
                return
            tasks = [asyncio.create_task(_run(served, question.job, first, receive))]
            tasks += [asyncio.create_task(other(choice)) for choice in others]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()


async def _run(
    served: ServedModel, job: Job, choice: Choice, receive: Callable[[Progress], None]
) -> None:
    """One choice until the model ends it, or a stop text does."""
    running = submitted(served, job, receive)
    try:
        ends: set[asyncio.Future[Any]] = {running, choice.is_cut}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            choice.end(made(running.result()))
    finally:
        running.cancel()


def _seeded(job: Job, index: int) -> Job:
    seed = job.options.seed
    if seed is None:
        return job
    return replace(job, options=replace(job.options, seed=(seed + index) % 2**63))
