"""What happens on one connection of /v1/live: drafts are read along, and answered.

LiveSession   drafts, their translation and sentiment, and replies; knows no WebSocket
Draft         what stands there now, and what was encoded of it

A draft is encoded after its conversation, as the reply will need it, and by itself where its
translation and sentiment must not depend on what was said before. A new draft ends the work on
the last one within one step.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ParamSpec

from duologue.apps import translate as pieces
from duologue.apps.labels import probabilities_of
from duologue.apps.sentiment import choice
from duologue.conversation import Conversation, Reply
from duologue.conversation.reply import Writer
from duologue.engine.engine import Constraints, EncodeItem, Progress
from duologue.engine.memory import Memory
from duologue.errors import DuologueError, EngineError
from duologue.explain import Source
from duologue.server.bridge import Job
from duologue.server.dialogues import Answer, Dialogues, Hold
from duologue.server.errors import ApiError, report
from duologue.server.jobs import run_job
from duologue.server.live_frames import DraftFrame, SendFrame, failed
from duologue.server.service import ServedModel, Service, servable
from duologue.storage.records import StoredMessage
from duologue.text.imported_template import Prefix
from duologue.types import Checks, Commit, Done, Event, Options, Revise, Turn

P = ParamSpec("P")
Send = Callable[[dict[str, Any]], Awaitable[None]]
_READ_ONLY = Options(max_tokens=1)
_MAX_FAILURES = 16  # that wait for a client who does not read


@dataclass(eq=False)
class Draft:
    """conversation  has read the path and the draft; None: not yet, or there is no use in it
    path          ids of the messages that the draft comes after
    alone         the draft, or pieces of it, read by themselves; by what the encoder reads
    """

    frame: DraftFrame
    served: ServedModel | None = None
    path: tuple[str, ...] = ()
    conversation: Conversation | None = None
    alone: dict[tuple[int, ...], asyncio.Task[Memory]] = field(default_factory=dict)
    reading: asyncio.Task[None] | None = None
    telling: asyncio.Task[None] | None = None
    is_sent: bool = False

    def recall(self, served: ServedModel, path: list[StoredMessage]) -> Conversation | None:
        """See Dialogues.say."""
        if self.conversation is None or served is not self.served:
            return None
        is_same = self.path == tuple(message.id for message in path)
        return self.conversation.fork() if is_same else None

    def stop(self) -> list[asyncio.Task[Any]]:
        """End the work on it, but not the reading that a reply waits for; what has to end.

        Nothing is held on to: cancelled tasks lead back here, and memory must not wait for the
        collector of such circles.
        """
        tasks: list[asyncio.Task[Any] | None] = [self.telling, *self.alone.values()]
        self.telling, self.alone = None, {}
        if not self.is_sent:
            tasks.append(self.reading)
            self.reading = self.conversation = None
        ending = [task for task in tasks if task is not None]
        for task in ending:
            task.cancel()
        return ending


class LiveSession:
    """One connection. For the thread of the event loop alone.

    send  sends one event; what waits for it longer than the model takes is replaced by what is new
    """

    def __init__(self, service: Service, dialogues: Dialogues, owner: str, send: Send) -> None:
        self._service = service
        self._dialogues = dialogues
        self._owner = owner
        self._send = send
        self._draft: Draft | None = None
        self._known: tuple[ServedModel, tuple[str, ...], Conversation] | None = None
        self._translations: dict[tuple[str, tuple[int, ...]], str] = {}
        self._failures: deque[dict[str, Any]] = deque(maxlen=_MAX_FAILURES)
        self._latest: dict[str, dict[str, Any]] = {}  # what is to be told of the draft, by type
        self._changed = asyncio.Event()
        self._replying: asyncio.Task[None] | None = None
        self._is_replying = False  # until the end is told, or is about to be
        self._hold: Hold | None = None  # of the reply, from when it is asked for
        self._sent: Draft | None = None  # that the reply is prepared for
        self._teller: asyncio.Task[None] | None = asyncio.create_task(self._tell())

    # --- what the client does ----------------------------------------------------------------

    def draft(self, frame: DraftFrame) -> None:
        """Work on this draft and no more on the last one."""
        if self._draft is not None:
            self._draft.stop()
        self._latest.clear()
        self._draft = None
        if frame.text.strip():
            self._draft = draft = Draft(frame)
            draft.reading = asyncio.create_task(self._guarded("draft", self._read, draft))
            draft.telling = asyncio.create_task(self._work_on(draft))

    def send(self, frame: SendFrame) -> None:
        """Say the last draft. Raises ApiError if there is none, or a reply is being made."""
        draft = self._draft
        if draft is None:
            raise ApiError("invalid_input", "there is no draft to send", "type")
        if self._is_replying:
            raise ApiError("busy", "a reply is being made already: stop it, or wait for it")
        draft.is_sent = self._is_replying = True
        draft.stop()
        self._latest.clear()
        self._hold, self._sent = Hold(), draft
        work = self._guarded("send", self._reply, draft, frame, self._hold)
        self._replying = asyncio.create_task(work)

    def stop(self) -> None:
        """End the reply, also one that is still prepared."""
        if self._hold is not None:
            self._hold.stop()
        if self._sent is not None and self._sent.reading is not None:
            self._sent.reading.cancel()  # nothing is to be said after it

    def fail(self, error: DuologueError, of: str | None) -> None:
        """Tell of an error; of: the type of the frame that it came from, None: it has none."""
        self._failures.append(failed(error, of))
        self._changed.set()

    async def close(self) -> None:
        """End everything, and let go of it."""
        self.stop()
        ending = [self._teller, self._replying]
        for draft in (self._draft, self._sent):
            if draft is not None:
                draft.is_sent = False
                ending += draft.stop()
        self._teller = self._replying = self._known = None
        self._draft = self._sent = self._hold = None
        running = [task for task in ending if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    # --- a draft -----------------------------------------------------------------------------

    async def _read(self, draft: Draft) -> None:
        """Encode a draft after its conversation."""
        service = self._service
        begun = await service.stored(self._begin, draft)
        if begun is None:
            return
        served, talk, reply = begun
        job = Job(reply.memory, reply.prefix_ids, _READ_ONLY, reply.sources, client=self._owner)
        with service.place():
            async with service.timed():
                await run_job(served, job, partial(_digest, reply))
        reply.keep_question()
        if reply.checks == Checks():  # a reply could not tell of what was left out by now
            draft.conversation = talk
        if len(talk.memory.segments) == 1:
            draft.alone[talk.memory.segments[0].ids] = asyncio.create_task(_value(talk.memory))
        num_tokens = talk.memory.segments[-1].num_tokens
        if draft is self._draft and not draft.is_sent:
            self._post("encoded", {"tokens": num_tokens})

    def _begin(self, draft: Draft) -> tuple[ServedModel, Conversation, Reply] | None:
        """On a thread that may block: what a reply to the draft would be made from.

        None if there is nothing that can be read ahead.
        """
        service, frame = self._service, draft.frame
        path: list[StoredMessage] = []
        draft.served = served = service.reader()
        if frame.conversation_id is not None:
            where = self._owner, frame.conversation_id
            found = service.conversations.get(*where)
            draft.served = served = service.reader(found.model)
            path = self._dialogues.path(self._owner, found)
        service.limits.check_texts(served.runtime, [frame.text])
        draft.path = tuple(message.id for message in path)
        config = served.runtime.config
        is_whole = all(message.status == "complete" for message in path)
        # Where every turn encodes everything again, there is nothing to gain.
        if "reply" not in config.tasks or config.encoder_mask == "full" or not is_whole:
            return None
        talk = self._recall(served, path, draft.path).fork()
        return served, talk, servable(talk.begin, [Turn("user", frame.text)])

    def _recall(
        self, served: ServedModel, path: list[StoredMessage], ids: tuple[str, ...]
    ) -> Conversation:
        """A conversation that has read a path: the one of the last draft, if it is the same."""
        if self._known is not None and self._known[:2] == (served, ids):
            return self._known[2]
        talk, unread = served.memories.restore(path)
        for turn in unread:
            talk.add(turn.role, turn.text)
        self._known = served, ids, talk
        return talk

    async def _work_on(self, draft: Draft) -> None:
        """Tell what there is to be told of a draft, once it is read."""
        assert draft.reading is not None
        await asyncio.wait({draft.reading})  # cancelling this does not cancel the reading
        if draft.served is None:  # its reading failed, which was told
            return
        frame = draft.frame
        works = []
        if frame.sentiment:
            works.append(self._guarded("draft", self._judge, draft, draft.served))
        if frame.translate_to is not None:
            to = frame.translate_to
            works.append(self._guarded("draft", self._translate, draft, draft.served, to))
        await asyncio.gather(*works)

    async def _judge(self, draft: Draft, served: ServedModel) -> None:
        runtime = served.runtime
        prefix = runtime.template.prefix("sentiment")
        text = draft.frame.text.strip()
        source = runtime.source(text, "sentiment")
        kept, _ = runtime.cut(source, runtime.config.max_positions, 0)
        memory = await self._alone(draft, served, kept, prefix)
        found = await self._service.work(probabilities_of, runtime, text, memory, choice(runtime))
        self._post("sentiment", {"label": next(iter(found)), "probabilities": found})

    async def _translate(self, draft: Draft, served: ServedModel, to: str) -> None:
        runtime, text = served.runtime, draft.frame.text
        prefix = runtime.template.prefix("translate", to_language=to)
        plan = await self._service.work(pieces.split, runtime, text, to)
        known, self._translations = self._translations, {}
        done: list[str] = []

        def tell(committed: str, guess: str = "") -> None:
            texts = [*done, committed] if len(done) < len(plan) else done
            commit = pieces.joined(text, plan[: len(texts)], texts, to)
            self._post("translation", {"commit": commit, "revise": guess})

        for piece in plan:
            source = piece.source(runtime, text, to)
            translation = known.get((to, source.ids))
            if translation is None:
                translation = await self._translated(draft, served, source, prefix, tell)
            self._translations[to, source.ids] = translation
            done.append(translation)
        tell("")

    async def _translated(
        self,
        draft: Draft,
        served: ServedModel,
        source: Source,
        prefix: Prefix,
        tell: Callable[[str, str], None],
    ) -> str:
        """The translation of one piece, which is told as it is made."""
        runtime = served.runtime
        memory = await self._alone(draft, served, source, prefix)
        writer = Writer(runtime.tokenizer)

        def receive(progress: Progress) -> None:
            for event in writer.events(progress):
                tell(writer.delivered, event.text if isinstance(event, Revise) else "")

        job = Job(
            memory=memory,
            prefix_ids=prefix.ids,
            options=runtime.fit(served.model.options("translate"), prefix),
            constraints=Constraints(prefix.forced),
            client=self._owner,
        )
        with self._service.place():
            async with self._service.timed():
                finished = await run_job(served, job, receive)
        return runtime.tokenizer.decode(list(finished.best.ids))

    async def _alone(
        self, draft: Draft, served: ServedModel, source: Source, prefix: Prefix
    ) -> Memory:
        """A text read by itself, once for all that is to be made of it."""

        async def read() -> Memory:
            items = (EncodeItem(source.ids),)
            job = Job(Memory.empty(), prefix.ids, _READ_ONLY, items, client=self._owner)
            with self._service.place():
                async with self._service.timed():
                    finished = await run_job(served, job)
            if finished.memory is None:
                raise EngineError("the draft could not be read")
            return finished.memory

        if source.ids not in draft.alone:
            draft.alone[source.ids] = asyncio.create_task(read())
        return await asyncio.shield(draft.alone[source.ids])

    # --- a reply -----------------------------------------------------------------------------

    async def _reply(self, draft: Draft, frame: SendFrame, hold: Hold) -> None:
        try:
            answer = await self._said(draft, frame, hold)
            await self._send({"type": "message", **answer.question})
            outbox = answer.running.outbox
            while not outbox.is_over:
                events = await outbox.get()
                self._is_replying = not outbox.is_over
                for event in events:
                    await self._send(_shown(answer, event))
        finally:
            hold.stop()  # does nothing to a reply that is over
            if self._hold is hold:
                self._hold = None

    async def _said(self, draft: Draft, frame: SendFrame, hold: Hold) -> Answer:
        """The reply to a draft, which is on its way."""
        assert draft.reading is not None
        await asyncio.wait({draft.reading})  # cancelling this does not cancel the reading
        self._sent = None
        after = {"parent": frame.parent} if "parent" in frame.model_fields_set else {}
        options = self._service.limits.options({}, Conversation.REPLY_OPTIONS)
        where = self._owner, frame.conversation_id
        try:
            answer = await self._dialogues.say(
                *where, draft.frame.text, options, draft.recall, hold, **after
            )
        except Exception:
            draft.is_sent = self._is_replying = False
            raise
        if self._draft is draft:
            self._draft = None
        draft.conversation = None
        return answer

    # --- telling -----------------------------------------------------------------------------

    async def _guarded(
        self, of: str, work: Callable[P, Awaitable[None]], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Do some work; what is wrong with it is told, and ends nothing else. of: see fail."""
        try:
            await work(*args, **kwargs)
        except DuologueError as error:
            self.fail(error, of)
        except Exception as error:
            report(error)
            told = ApiError("internal_error", "this is a bug; the server's log says where")
            self.fail(told, of)

    def _post(self, kind: str, values: dict[str, Any]) -> None:
        self._latest.pop(kind, None)
        self._latest[kind] = {"type": kind, **values}
        self._changed.set()

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._failures or self._latest:
                if self._failures:
                    await self._send(self._failures.popleft())
                else:
                    await self._send(self._latest.pop(next(iter(self._latest))))


async def _value(memory: Memory) -> Memory:
    return memory


def _digest(reply: Reply, progress: Progress) -> None:
    """Let a reply know what was read; what is said is of no interest."""
    for _ in reply.digest(replace(progress, finished=None)):
        pass


def _shown(answer: Answer, event: Event | DuologueError) -> dict[str, Any]:
    match event:
        case Commit(text=text):
            return {"type": "commit", "text": text}
        case Revise(text=text):
            return {"type": "revise", "text": text}
        case Done():
            return {"type": "done", "message": answer.running.kept}
        case _:
            return failed(event, "send")
