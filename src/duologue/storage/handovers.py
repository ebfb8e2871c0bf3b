"""Questions that people take over from the model: a queue, at most one open in a conversation.

Handovers   open, list, take, close; says nothing of who may do that
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from duologue.errors import InputError, NotFoundError
from duologue.storage import rows
from duologue.storage.database import Database
from duologue.storage.records import StoredHandOver, StoredMessage
from duologue.storage.tables import conversations, handovers, messages

MAX_LISTED = 200

_COLUMNS = handovers.c
_OPEN = _COLUMNS.closed_ms.is_(None)
_ALL = (
    select(handovers, conversations.c.owner, messages.c.text.label("question"))
    .join(conversations, conversations.c.id == _COLUMNS.conversation)
    .join(
        messages,
        (messages.c.conversation == _COLUMNS.conversation) & (messages.c.id == _COLUMNS.message),
    )
)


class Handovers:
    """The queue in a database. Threads and processes may share it.

    clock  seconds since 1970-01-01 UTC
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def open(
        self,
        question: StoredMessage,
        language: str,
        confidence: float,
        citations: list[dict[str, Any]],
    ) -> str | None:
        """Put a question into the queue; its id, or None if its conversation has an open one."""
        values = {
            "id": rows.new_id("hand"),
            "conversation": question.conversation,
            "message": question.id,
            "language": language,
            "confidence": confidence,
            "citations": json.dumps(citations, ensure_ascii=False),
            "created_ms": self._now_ms(),
        }
        try:
            with self._database.writing() as connection:
                connection.execute(insert(handovers).values(values))
        except IntegrityError:
            return None
        return str(values["id"])

    def listed(self) -> list[StoredHandOver]:
        """Those that are open, oldest first; MAX_LISTED at most."""
        query = _ALL.where(_OPEN).order_by(_COLUMNS.created_ms, _COLUMNS.id).limit(MAX_LISTED)
        with self._database.reading() as connection:
            return [_to_handover(row) for row in connection.execute(query)]

    def get(self, handover: str) -> StoredHandOver:
        """One of them. Raises NotFoundError."""
        with self._database.reading() as connection:
            return _found(connection, handover)

    def states(self, conversation_ids: list[str]) -> dict[str, bool]:
        """Those of the conversations with an open hand-over, and whether somebody took it."""
        query = select(_COLUMNS.conversation, _COLUMNS.taken_by.is_not(None))
        query = query.where(_OPEN, _COLUMNS.conversation.in_(conversation_ids))
        with self._database.reading() as connection:
            return {name: bool(is_taken) for name, is_taken in connection.execute(query)}

    def taken(self) -> set[str]:
        """The conversations in which a person answers."""
        query = select(_COLUMNS.conversation).where(_OPEN, _COLUMNS.taken_by.is_not(None))
        with self._database.reading() as connection:
            return set(connection.execute(query).scalars())

    def take(self, handover: str, person: str) -> StoredHandOver:
        """Let a person answer from now on. Raises InputError if another does, or it is closed."""
        with self._database.writing() as connection:
            free = _OPEN & (_COLUMNS.taken_by.is_(None) | (_COLUMNS.taken_by == person))
            change = update(handovers).where(_COLUMNS.id == handover, free)
            values = {"taken_by": person, "taken_ms": self._now_ms()}
            is_done = connection.execute(change.values(values)).rowcount > 0
            found = _found(connection, handover)
        if not is_done:
            raise InputError(
                "it was given back already"
                if found.closed_ms is not None
                else "another person answers there"
            )
        return found

    def close(self, handover: str) -> StoredHandOver:
        """Take it out of the queue. Raises InputError if that was done before."""
        with self._database.writing() as connection:
            change = update(handovers).where(_COLUMNS.id == handover, _OPEN)
            is_done = connection.execute(change.values(closed_ms=self._now_ms())).rowcount > 0
            found = _found(connection, handover)
        if not is_done:
            raise InputError("it was given back already")
        return found

    def _now_ms(self) -> int:
        return int(1000 * self._clock())


def _found(connection: Connection, handover: str) -> StoredHandOver:
    row = None
    if rows.is_name(handover):
        row = connection.execute(_ALL.where(_COLUMNS.id == handover)).one_or_none()
    if row is None:
        raise NotFoundError("there is no such hand-over")
    return _to_handover(row)


def _to_handover(row: Row[Any]) -> StoredHandOver:
    values = dict(row._mapping)
    values["citations"] = json.loads(values["citations"])
    return StoredHandOver(**values)
