"""Queries on one open transaction, between rows and the values of records.py.

Whoever wants a message needs its conversation first, and owned() gives that to its owner alone.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, literal, select, update

from duologue.errors import InputError, NotFoundError
from duologue.storage.records import (
    MessageRole,
    StoredConversation,
    StoredMessage,
    chain_hash,
    chain_root,
)
from duologue.storage.tables import conversations, messages

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_MAX_HASHES = 500  # in one statement

# Made once: to make a query anew costs more than to run it.
_OWNED = select(conversations).where(
    conversations.c.id == bindparam("id"), conversations.c.owner == bindparam("owner")
)
_OWNED_LOCKED = _OWNED.with_for_update()
_MESSAGE = select(messages).where(
    messages.c.conversation == bindparam("conversation"), messages.c.id == bindparam("id")
)
_COUNT = select(func.count()).where(messages.c.conversation == bindparam("conversation"))


def is_name(text: str) -> bool:
    """Whether a text may be an id or an owner at all, which no database needs to be asked."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def new_id(kind: str) -> str:
    """An id that cannot be guessed: 128 random bits, URL-safe."""
    return f"{kind}_{secrets.token_urlsafe(16)}"


def storable(text: str, name: str) -> str:
    """The text, if it is one that UTF-8 can say; raises InputError."""
    if not isinstance(text, str):
        raise InputError(f"the {name} must be text, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"the {name} holds half of a character (a lone surrogate)") from None
    return text


# --- conversations ---------------------------------------------------------------------------


def owned(
    connection: Connection, owner: str, conversation: str, lock: bool = False
) -> StoredConversation:
    """The conversation; lock: its other writers wait until this transaction ends.

    Raises NotFoundError if the owner has no such conversation.
    """
    row = None
    if is_name(owner) and is_name(conversation):
        query, values = _OWNED_LOCKED if lock else _OWNED, {"id": conversation, "owner": owner}
        row = connection.execute(query, values).one_or_none()
    if row is None:
        raise NotFoundError("there is no such conversation")
    return to_conversation(row)


def changed(
    connection: Connection, conversation: StoredConversation, now_ms: int, **values: Any
) -> StoredConversation:
    """The conversation with some columns set, and when it was."""
    values["updated_ms"] = now_ms
    here = conversations.c.id == conversation.id
    connection.execute(update(conversations).where(here).values(values))
    return replace(conversation, **values)


def to_conversation(row: Row[Any]) -> StoredConversation:
    """A row of the table."""
    return StoredConversation(**row._mapping)


# --- messages --------------------------------------------------------------------------------


def message_of(
    connection: Connection, conversation: StoredConversation, message: str
) -> StoredMessage:
    """One of its messages. Raises NotFoundError if it has no such message."""
    row = None
    if is_name(message):
        values = {"conversation": conversation.id, "id": message}
        row = connection.execute(_MESSAGE, values).one_or_none()
    if row is None:
        raise NotFoundError("there is no such message in this conversation")
    return to_message(row)


def said(connection: Connection, conversation: StoredConversation, message: str) -> StoredMessage:
    """One of its messages that something can come after. Raises InputError for unfinished ones."""
    found = message_of(connection, conversation, message)
    if found.hash is None:
        raise InputError("this reply is unfinished: only a complete message can be gone on from")
    return found


def all_messages(
    connection: Connection, conversation: StoredConversation, *conditions: Any
) -> list[StoredMessage]:
    """Its messages that meet the conditions, in the order in which they were said."""
    query = select(messages).where(messages.c.conversation == conversation.id, *conditions)
    return [to_message(row) for row in connection.execute(query.order_by(messages.c.number))]


def path_to(
    connection: Connection, conversation: StoredConversation, message: str
) -> list[StoredMessage]:
    """The messages from a first one to this one."""
    inside = messages.c.conversation == conversation.id
    columns = messages.c.number, messages.c.parent
    end = select(*columns, literal(0).label("above")).where(inside, messages.c.id == message)
    found = end.cte("found", recursive=True)
    step = select(*columns, found.c.above + 1).where(inside, messages.c.id == found.c.parent)
    found = found.union_all(step)
    query = select(messages).join(found, messages.c.number == found.c.number)
    return [to_message(row) for row in connection.execute(query.order_by(found.c.above.desc()))]


def count(connection: Connection, conversation: StoredConversation) -> int:
    """How many messages it has, all branches together."""
    return connection.execute(_COUNT, {"conversation": conversation.id}).scalar_one()


def made(
    conversation: StoredConversation, parent: StoredMessage | None, **values: Any
) -> StoredMessage:
    """A message after `parent`, not stored yet; unfinished if `text` is not among the values."""
    return StoredMessage(
        id=new_id("msg"),
        conversation=conversation.id,
        parent=None if parent is None else parent.id,
        hash=hash_after(conversation, parent, values["role"], values["text"])
        if "text" in values
        else None,
        status="complete" if "text" in values else "unfinished",
        **{"text": "", "finish_reason": None, "result": None, "options": None, **values},
    )


def put(connection: Connection, new: Iterable[StoredMessage]) -> None:
    """Store messages, parents first."""
    rows = [
        {**vars(message), "result": _dump(message.result), "options": _dump(message.options)}
        for message in new
    ]
    connection.execute(insert(messages), rows)


def finish(connection: Connection, message: StoredMessage) -> None:
    """Store what has become of an unfinished reply."""
    here = (messages.c.conversation == message.conversation) & (messages.c.id == message.id)
    values = {
        "text": message.text,
        "hash": message.hash,
        "status": message.status,
        "finish_reason": message.finish_reason,
        "result": _dump(message.result),
    }
    connection.execute(update(messages).where(here).values(values))


def hash_after(
    conversation: StoredConversation, parent: StoredMessage | None, role: MessageRole, text: str
) -> str:
    """The hash of a message that comes after a complete one, or first."""
    before = chain_root(conversation.owner) if parent is None else parent.hash
    assert before is not None  # nothing comes after an unfinished reply
    return chain_hash(before, role, text)


def to_message(row: Row[Any]) -> StoredMessage:
    """A row of the table."""
    values = dict(row._mapping)
    del values["number"]
    values |= {"result": _load(values["result"]), "options": _load(values["options"])}
    return StoredMessage(**values)


def known_hashes(connection: Connection, hashes: Iterable[str]) -> set[str]:
    """Those that some message has."""
    asked = list(hashes)
    known: set[str] = set()
    for first in range(0, len(asked), _MAX_HASHES):
        some = messages.c.hash.in_(asked[first : first + _MAX_HASHES])
        known.update(connection.execute(select(messages.c.hash).where(some)).scalars())
    return known


def dump_json(value: dict[str, Any]) -> str:
    """Compact JSON. Raises ValueError or TypeError for what JSON cannot say."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def load_json(text: str) -> dict[str, Any]:
    """What dump_json wrote."""
    return dict(json.loads(text))


def _dump(value: dict[str, Any] | None) -> str | None:
    return None if value is None else dump_json(value)


def _load(text: str | None) -> dict[str, Any] | None:
    return None if text is None else load_json(text)
