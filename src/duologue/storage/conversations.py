"""Conversations and their messages, each conversation a tree.

A message names its parent. Saying something else at an earlier place makes a sibling there; the
conversation's head tells which path is shown. A message never changes once it is complete: a reply
is stored as unfinished before its first token and completed once, so that a process that dies loses
at most the replies it was making. Unfinished ones are never the head, and nothing comes after them.

A fork copies the messages of its path. Texts are small, and what is large, the encoded memory,
is kept by hash (memory_cache.py), which the copies share; so no conversation needs another one,
and deleting is deleting.

Every method that takes an owner raises NotFoundError for what is not there or is not theirs. When
a method returns, what it wrote is safe; StorageError means that nothing was written.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, exists, insert, or_, select, tuple_

from duologue.errors import InputError
from duologue.storage import rows
from duologue.storage.database import Database
from duologue.storage.records import (
    MESSAGE_ROLES,
    ConversationLimits,
    MessageRole,
    Page,
    Source,
    StoredConversation,
    StoredMessage,
)
from duologue.storage.tables import conversations, messages
from duologue.types import FinishReason

HEAD = ""  # in place of a parent: the head, whatever it is by then
_CURSOR = re.compile(r"([0-9]{1,18})\.([A-Za-z0-9_-]{1,64})", re.ASCII)


class Conversations:
    """The conversations in a database. Threads and processes may share it.

    clock  seconds since 1970-01-01 UTC
    """

    def __init__(
        self,
        database: Database,
        limits: ConversationLimits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._limits = limits or ConversationLimits()
        self._clock = clock

    # --- conversations -----------------------------------------------------------------------

    def create(
        self, owner: str, model: str, title: str = "", source: Source = "model"
    ) -> StoredConversation:
        """A new conversation without messages.

        owner   id of a key, or "local"
        source  see StoredConversation
        Raises InputError for an owner or title that cannot be.
        """
        if not rows.is_name(owner):
            raise InputError("an owner is up to 64 letters, digits, - and _")
        now = self._now_ms()
        conversation = StoredConversation(
            id=rows.new_id("conv"),
            owner=owner,
            title=self._title(title),
            model=rows.storable(model, "name"),
            created_ms=now,
            updated_ms=now,
            head=None,
            source=source,
        )
        with self._database.writing() as connection:
            connection.execute(insert(conversations).values(vars(conversation)))
        return conversation

    def get(self, owner: str, conversation: str) -> StoredConversation:
        """One conversation."""
        with self._database.reading() as connection:
            return rows.owned(connection, owner, conversation)

    def page(
        self, owner: str, search: str = "", cursor: str | None = None, limit: int = 50
    ) -> Page:
        """The owner's conversations, last changed first.

        search  only those whose title or messages, of any branch, hold this text in any case
        cursor  of the page before
        Raises InputError for a limit, cursor or search that cannot be.
        """
        limits = self._limits
        if not 1 <= limit <= limits.max_page:
            raise InputError(f"limit must be between 1 and {limits.max_page}, not {limit}")
        if len(rows.storable(search, "search")) > limits.max_search_chars:
            raise InputError(f"a search has at most {limits.max_search_chars} characters")
        columns = conversations.c
        query = select(conversations).where(columns.owner == owner)
        if search:
            said = exists().where(
                messages.c.conversation == columns.id,
                messages.c.text.icontains(search, autoescape=True),
            )
            query = query.where(or_(columns.title.icontains(search, autoescape=True), said))
        if cursor is not None:
            matched = _CURSOR.fullmatch(cursor)
            if matched is None:
                raise InputError("this cursor is not one that a page gave")
            place = tuple_(columns.updated_ms, columns.id)
            query = query.where(place < tuple_(int(matched[1]), matched[2]))
        query = query.order_by(columns.updated_ms.desc(), columns.id.desc()).limit(limit + 1)
        if not rows.is_name(owner):
            return Page((), None)
        with self._database.reading() as connection:
            found = [rows.to_conversation(row) for row in connection.execute(query)]
        shown = tuple(found[:limit])
        has_more = len(found) > limit
        return Page(shown, f"{shown[-1].updated_ms}.{shown[-1].id}" if has_more else None)

    def rename(self, owner: str, conversation: str, title: str) -> StoredConversation:
        """Give it another title. Raises InputError for one that is too long."""
        title = self._title(title)
        with self._database.writing() as connection:
            found = rows.owned(connection, owner, conversation, lock=True)
            return rows.changed(connection, found, self._now_ms(), title=title)

    def set_head(self, owner: str, conversation: str, message: str) -> StoredConversation:
        """Show the path that ends with this message. Raises InputError for an unfinished one."""
        with self._database.writing() as connection:
            found = rows.owned(connection, owner, conversation, lock=True)
            head = rows.said(connection, found, message).id
            return rows.changed(connection, found, self._now_ms(), head=head)

    def fork(self, owner: str, conversation: str, message: str) -> StoredConversation:
        """A new conversation with a copy of the path to this message; title and model are the same.

        Raises InputError for an unfinished message.
        """
        now = self._now_ms()
        with self._database.writing() as connection:
            found = rows.owned(connection, owner, conversation)
            path = rows.path_to(connection, found, rows.said(connection, found, message).id)
            ids = [rows.new_id("msg") for _ in path]
            fork = replace(
                found, id=rows.new_id("conv"), created_ms=now, updated_ms=now, head=ids[-1]
            )
            connection.execute(insert(conversations).values(vars(fork)))
            rows.put(
                connection,
                (
                    replace(copied, id=own, conversation=fork.id, parent=parent)
                    for copied, own, parent in zip(path, ids, [None, *ids[:-1]], strict=True)
                ),
            )
        return fork

    def delete(self, owner: str, conversation: str) -> list[str]:
        """Delete a conversation with everything in it.

        Returns the hashes that no message has any more: what is kept by them is to be erased too,
        see MemoryCache.erase.
        """
        with self._database.writing() as connection:
            found = rows.owned(connection, owner, conversation, lock=True)
            inside = messages.c.conversation == found.id, messages.c.hash.is_not(None)
            hashes = set(connection.execute(select(messages.c.hash).where(*inside)).scalars())
            connection.execute(delete(conversations).where(conversations.c.id == found.id))
            gone = hashes - rows.known_hashes(connection, hashes)
        self._database.scrub()
        return sorted(gone)

    def export(self, owner: str, conversation: str) -> dict[str, Any]:
        """Everything there is of a conversation as plain values; see export.py for files."""
        with self._database.reading() as connection:
            found = rows.owned(connection, owner, conversation)
            everything = rows.all_messages(connection, found)
        return {**vars(found), "messages": [dict(vars(message)) for message in everything]}

    def known_hashes(self, hashes: Iterable[str]) -> set[str]:
        """Those of the hashes that some message has, whoever said it; see MemoryCache.sweep."""
        with self._database.reading() as connection:
            return rows.known_hashes(connection, hashes)

    # --- messages ----------------------------------------------------------------------------

    def message(self, owner: str, conversation: str, message: str) -> StoredMessage:
        """One message."""
        with self._database.reading() as connection:
            return rows.message_of(connection, rows.owned(connection, owner, conversation), message)

    def path(
        self, owner: str, conversation: str, message: str | None = None
    ) -> list[StoredMessage]:
        """The messages up to this one, the first one first. None: up to the head."""
        with self._database.reading() as connection:
            found = rows.owned(connection, owner, conversation)
            if message is not None:
                message = rows.message_of(connection, found, message).id
            end = message or found.head
            return [] if end is None else rows.path_to(connection, found, end)

    def siblings(self, owner: str, conversation: str, message: str) -> list[StoredMessage]:
        """All messages with the same parent, itself and unfinished ones too, oldest first."""
        with self._database.reading() as connection:
            found = rows.owned(connection, owner, conversation)
            parent = rows.message_of(connection, found, message).parent
            return rows.all_messages(
                connection, found, messages.c.parent.is_not_distinct_from(parent)
            )

    def append(
        self,
        owner: str,
        conversation: str,
        parent: str | None,
        role: MessageRole,
        text: str,
        by_person: bool = False,
    ) -> StoredMessage:
        """Store a message, which becomes the head.

        parent     the message that it comes after, or HEAD; None: it is a first one
        by_person  see StoredMessage

        Raises InputError for an unknown role, an unfinished parent, or more than the limits allow.
        """
        if role not in MESSAGE_ROLES:
            raise InputError(f"unknown role {role!r}; roles are {', '.join(MESSAGE_ROLES)}")
        self._check_text(text)
        with self._database.writing() as connection:
            found = rows.owned(connection, owner, conversation, lock=True)
            parent = found.head if parent == HEAD else parent
            before = None if parent is None else rows.said(connection, found, parent)
            self._require_room(connection, found)
            now_ms = self._now_ms()
            said = {"role": role, "text": text, "by_person": by_person, "created_ms": now_ms}
            message = rows.made(found, before, **said)
            rows.put(connection, [message])
            rows.changed(connection, found, now_ms, head=message.id)
        return message

    def edit(self, owner: str, conversation: str, message: str, text: str) -> StoredMessage:
        """Say something else in place of a message: its new sibling becomes the head.

        Raises what append raises.
        """
        earlier = self.message(owner, conversation, message)
        return self.append(owner, conversation, earlier.parent, earlier.role, text)

    def begin_reply(
        self, owner: str, conversation: str, parent: str, options: dict[str, Any] | None = None
    ) -> StoredMessage:
        """Store that a reply to a message is being made; the message becomes the head.

        options  that the reply is asked for with

        Raises InputError for an unfinished parent, or more than the limits allow.
        """
        options = self._plain(options, "options")
        with self._database.writing() as connection:
            found = rows.owned(connection, owner, conversation, lock=True)
            before = rows.said(connection, found, parent)
            self._require_room(connection, found)
            now_ms = self._now_ms()
            reply = rows.made(found, before, role="agent", options=options, created_ms=now_ms)
            rows.put(connection, [reply])
            rows.changed(connection, found, now_ms, head=before.id)
        return reply

    def ask(
        self,
        owner: str,
        conversation: str,
        parent: str | None,
        text: str,
        options: dict[str, Any] | None = None,
    ) -> tuple[StoredMessage, StoredMessage]:
        """append for the user and begin_reply in one: the question, and the unfinished reply."""
        self._check_text(text)
        options = self._plain(options, "options")
        with self._database.writing() as connection:
            found = rows.owned(connection, owner, conversation, lock=True)
            before = None if parent is None else rows.said(connection, found, parent)
            self._require_room(connection, found, 2)
            now_ms = self._now_ms()
            question = rows.made(found, before, role="user", text=text, created_ms=now_ms)
            reply = rows.made(found, question, role="agent", options=options, created_ms=now_ms)
            rows.put(connection, [question, reply])
            rows.changed(connection, found, now_ms, head=question.id)
        return question, reply

    def complete(
        self,
        owner: str,
        conversation: str,
        message: str,
        text: str,
        finish_reason: FinishReason,
        result: dict[str, Any] | None = None,
    ) -> StoredMessage:
        """Store a reply that was begun. It becomes the head, unless another path is shown by now.

        result  what Result.to_dict gives

        Raises InputError for a message that is complete already, or more than the limits allow.
        """
        self._check_text(text)
        result = self._plain(result, "result")
        with self._database.writing() as connection:
            found = rows.owned(connection, owner, conversation, lock=True)
            begun = _unfinished(connection, found, message)
            assert begun.parent is not None  # begin_reply demands one
            parent = rows.said(connection, found, begun.parent)
            done = replace(
                begun,
                text=text,
                hash=rows.hash_after(found, parent, begun.role, text),
                status="complete",
                finish_reason=finish_reason,
                result=result,
            )
            rows.finish(connection, done)
            head = done.id if found.head == parent.id else found.head
            rows.changed(connection, found, self._now_ms(), head=head)
        return done

    def discard(self, owner: str, conversation: str, message: str) -> None:
        """Delete an unfinished reply, of which there is nothing to keep.

        Raises InputError for a message that is complete.
        """
        with self._database.writing() as connection:
            found = rows.owned(connection, owner, conversation, lock=True)
            begun = _unfinished(connection, found, message)
            here = messages.c.conversation == found.id, messages.c.id == begun.id
            connection.execute(delete(messages).where(*here))

    # --- parts of these ----------------------------------------------------------------------

    def _now_ms(self) -> int:
        return int(1000 * self._clock())

    def _require_room(
        self, connection: Connection, conversation: StoredConversation, num_new: int = 1
    ) -> None:
        most = self._limits.max_messages
        if rows.count(connection, conversation) + num_new > most:
            raise InputError(
                f"a conversation has at most {most:,} messages, all branches together: begin a new "
                "one, or fork this one"
            )

    def _title(self, title: str) -> str:
        title = " ".join(rows.storable(title, "title").split())
        most = self._limits.max_title_chars
        if len(title) > most:
            raise InputError(f"the title has {len(title):,} characters; at most {most:,} are kept")
        return title

    def _check_text(self, text: str) -> None:
        size, most = len(rows.storable(text, "text").encode()), self._limits.max_text_bytes
        if size > most:
            raise InputError(f"the text has {size:,} bytes; at most {most:,} are kept")

    def _plain(self, value: dict[str, Any] | None, name: str) -> dict[str, Any] | None:
        """The value as it will be read again."""
        if value is None:
            return None
        try:
            written = rows.dump_json(value)
            size = len(written.encode())
        except (TypeError, ValueError, RecursionError):
            raise InputError(f"the {name} cannot be written as JSON") from None
        most = self._limits.max_json_bytes
        if size > most:
            raise InputError(f"the {name} has {size:,} bytes as JSON; at most {most:,} are kept")
        return rows.load_json(written)


def _unfinished(
    connection: Connection, conversation: StoredConversation, message: str
) -> StoredMessage:
    found = rows.message_of(connection, conversation, message)
    if found.status != "unfinished":
        raise InputError("this message is complete, and complete messages do not change")
    return found
