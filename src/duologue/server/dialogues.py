"""Turns in stored conversations, one at a time in each.

Answer      a reply in a conversation: what was asked, and what is on its way
Hold        what a conversation is held by while it is answered
Dialogues   say, make again, stop, delete

The engine begins while the question is being stored. Nobody is told of either before it is stored.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from duologue.conversation import Conversation, Reply
from duologue.errors import InputError
from duologue.server import views
from duologue.server.desk import Desk
from duologue.server.errors import ApiError
from duologue.server.paths import Paths
from duologue.server.replies import Running, Silence
from duologue.server.service import Begun, ServedModel, Service, servable
from duologue.storage.conversations import HEAD
from duologue.storage.records import StoredConversation, StoredMessage
from duologue.types import Options, Result, Turn

MAX_TITLE_CHARS = 60  # of a title that is made from what was said first
MAX_SAVES = 64  # memories that wait to be written to disk

Stored = tuple[StoredMessage, StoredMessage]
Recall = Callable[[ServedModel, list[StoredMessage]], Conversation | None]


@dataclass(frozen=True)
class Answer:
    """question  the user's message, which is stored, as it is sent
    running   the reply; its `kept` is the message that it has become, in the same way; None where
              a person answers
    """

    question: dict[str, Any]
    running: Running


@dataclass(frozen=True)
class _Asking:
    """A turn before it is stored.

    conversation  what the model has read; None: the reply comes from documents
    path    the messages before the question
    store   stores the question, if it is new, and the unfinished reply
    has_siblings  whether the question may not be the first one at its place
    head    what was shown before, if the question is not new
    """

    served: ServedModel
    conversation: Conversation | None
    reply: Reply | Callable[[], Result]
    path: list[StoredMessage]
    store: Callable[[], Stored]
    has_siblings: bool = True
    head: str | None = None


@dataclass(eq=False)
class Hold:
    """What holds a conversation; running: its reply, None while that is prepared."""

    running: Running | None = None
    is_stopped: bool = False

    def stop(self) -> None:
        """End the reply now, or as soon as it begins."""
        self.is_stopped = True
        if self.running is not None:
            self.running.stop()


class Dialogues:
    """Who asks for what is another's gets NotFoundError, as from the store."""

    def __init__(self, service: Service, desk: Desk) -> None:
        self._service = service
        self._desk = desk
        self._store = service.conversations
        self._paths = Paths(service.conversations)
        self._saves = threading.BoundedSemaphore(MAX_SAVES)
        self._running: dict[tuple[str, str], Hold] = {}

    async def say(
        self,
        owner: str,
        conversation: str,
        text: str,
        options: Options,
        recall: Recall | None = None,
        hold: Hold | None = None,
        /,
        **after: str | None,
    ) -> Answer:
        """Say something in a conversation.

        recall  may know a conversation that has read this text after the path already
        hold   by which the caller may stop the reply while it is prepared
        after  parent=: the message that it comes after, None before the first; without: the head

        Answers from documents have options of their own. Raises ApiError (busy) while another reply
        is made there, and what Service.reply raises.
        """
        if self._desk.is_taken(conversation):
            return await self._said(owner, conversation, text, **after)

        def prepare() -> _Asking:
            found = self._store.get(owner, conversation)
            served = self._service.model(found.model)
            self._service.limits.check_texts(served.runtime, [text])
            parent = after.get("parent", found.head)
            path = self._paths.to(owner, conversation, parent) if parent else []
            known: Conversation | None = None
            reply: Reply | Callable[[], Result]
            if found.source == "documents":
                reply = self._desk.asked(text)
            else:
                known = recall(served, path) if recall is not None else None
                turns: list[Turn] = []
                if known is None:
                    known, unread = served.memories.restore(path)
                    turns = [*unread, Turn("user", text)]
                reply = servable(known.begin, turns, options)

            def store() -> Stored:
                stored = self._store.ask(owner, conversation, parent, text, vars(options))
                if not found.title and not path:
                    self._store.rename(owner, conversation, _title(text))
                return stored

            # After the head nothing was said, unless a reply to it was begun and never came.
            is_first = parent == found.head and not (path and path[-1].role == "user")
            return _Asking(served, known, reply, path, store, not is_first)

        return await self._answer(owner, conversation, prepare, hold)

    async def regenerate(
        self, owner: str, conversation: str, message: str, options: Options
    ) -> Answer:
        """Another reply to a user's message; `message` is that one, or a reply to it.

        Raises what say raises, and ApiError (busy) where a person answers.
        """

        def prepare() -> _Asking:
            found = self._store.get(owner, conversation)
            if self._desk.is_taken(conversation):
                raise ApiError("busy", "a person answers here just now")
            served = self._service.model(found.model)
            path = self._store.path(owner, conversation, message)
            if path[-1].role == "agent":
                path.pop()
            if not path or path[-1].role != "user":
                raise InputError("only a reply to a user's message can be made again")
            known: Conversation | None = None
            reply: Reply | Callable[[], Result]
            if found.source == "documents":
                reply = self._desk.asked(path[-1].text)
            else:
                known, unread = served.memories.restore(path)
                reply = servable(known.begin, unread, options)
            *before, question = path

            def store() -> Stored:
                return question, self._store.begin_reply(
                    owner, conversation, question.id, vars(options)
                )

            return _Asking(served, known, reply, before, store, head=found.head)

        return await self._answer(owner, conversation, prepare)

    def path(self, owner: str, conversation: StoredConversation) -> list[StoredMessage]:
        """The messages up to its head, without results; the next turn finds them in memory."""
        if conversation.head is None:
            return []
        path = self._paths.to(owner, conversation.id, conversation.head)
        if all(message.status == "complete" for message in path):
            self._paths.keep(owner, path)
        return path

    def is_busy(self, owner: str, conversation: str) -> bool:
        """Whether a reply is being made in a conversation."""
        return (owner, conversation) in self._running

    def stop(self, owner: str, conversation: str) -> bool:
        """End the reply that is being made in a conversation; False if there is none."""
        hold = self._running.get((owner, conversation))
        if hold is None:
            return False
        hold.stop()
        return True

    async def delete(self, owner: str, conversation: str) -> None:
        """Delete a conversation, and what is kept of it in memory and on disk."""
        hold = self._running.get((owner, conversation))
        if hold is not None:
            hold.stop()
            if hold.running is not None:
                await hold.running.wait()
        gone = await self._service.stored(self._store.delete, owner, conversation)
        self._desk.forget(conversation)
        self._paths.forget(owner, conversation)
        # After the saves that were begun, so that none brings back what is deleted.
        await asyncio.wrap_future(self._service.later(self._forget, gone))

    async def _said(
        self, owner: str, conversation: str, text: str, parent: str | None = HEAD
    ) -> Answer:
        """Store what somebody says to a person, who answers in their own time."""
        append = self._store.append
        question = await self._service.stored(append, owner, conversation, parent, "user", text)
        return Answer(await self._service.stored(self._view, owner, question), Silence())

    async def _answer(
        self,
        owner: str,
        conversation: str,
        prepare: Callable[[], _Asking],
        hold: Hold | None = None,
    ) -> Answer:
        where = owner, conversation
        if where in self._running:
            raise ApiError("busy", "a reply is being made here already: stop it, or wait for it")
        self._running[where] = hold = hold or Hold()
        asking: _Asking
        stored: Future[Stored]

        def begin() -> Begun:
            nonlocal asking
            asking = prepare()
            return Begun(asking.served, asking.reply)

        def keep(result: Result | None) -> dict[str, Any] | None:
            return self._keep(owner, asking, stored.result(), result)

        def release() -> None:
            del self._running[where]

        hold.running = running = await self._service.reply(owner, begin, keep, release)
        if hold.is_stopped:
            running.stop()
        stored = self._service.storing(asking.store)
        try:
            question, _ = await asyncio.shield(asyncio.wrap_future(stored))
            if asking.has_siblings:
                return Answer(await self._service.stored(self._view, owner, question), running)
            return Answer(views.message(question, [question]), running)
        except BaseException:
            running.stop()
            raise

    def _keep(
        self, owner: str, asking: _Asking, stored: Stored, result: Result | None
    ) -> dict[str, Any] | None:
        """Complete a stored reply, and remember what was encoded; the message, as it is sent."""
        question, reply = stored
        where = owner, reply.conversation, reply.id
        if result is None:
            self._store.discard(*where)
            if asking.head is not None:
                self._store.set_head(owner, reply.conversation, asking.head)
            return None
        path = [*asking.path, question]
        if isinstance(asking.reply, Reply):
            values = _values(asking.reply, path, result)
        else:
            values = self._desk.shown(result)
        done = self._store.complete(*where, result.text, result.finish_reason, values)
        self._paths.keep(owner, [*path, done])
        if asking.conversation is not None:
            self._remember(asking.served, asking.conversation, [*path, done])
        else:
            self._desk.judge(question, result, values)
        is_again = asking.head is not None
        return self._view(owner, done) if is_again else views.message(done, [done])

    def _remember(
        self, served: ServedModel, conversation: Conversation, path: list[StoredMessage]
    ) -> None:
        """Keep what was encoded of a conversation, in memory and on disk."""
        hashes = [message.hash or "" for message in path]
        served.memories.keep(hashes, conversation)
        # A disk that is too slow loses some: they will be encoded again.
        if self._saves.acquire(blocking=False):
            saving = self._service.later(served.memories.save, hashes, conversation.fork())
            saving.add_done_callback(lambda _: self._saves.release())

    def _view(self, owner: str, message: StoredMessage) -> dict[str, Any]:
        family = self._store.siblings(owner, message.conversation, message.id)
        return views.message(message, family)

    def _forget(self, hashes: list[str]) -> None:
        for served in self._service.models.values():
            served.memories.forget(hashes)


def _values(reply: Reply, path: list[StoredMessage], result: Result) -> dict[str, Any]:
    """A result as it is stored: with the message of each evidence, and how sure each piece was."""
    values = result.to_dict()
    for span in values["evidence"]:
        span["message"] = path[reply.turn_of_segment[span["segment"]]].id
    values["tokens"] = reply.tokens
    return values


def _title(text: str) -> str:
    title = " ".join(text.split())
    return title if len(title) <= MAX_TITLE_CHARS else f"{title[: MAX_TITLE_CHARS - 1]}…"
