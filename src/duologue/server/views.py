"""What is stored, as it is sent: conversations and messages as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from duologue.storage.records import StoredConversation, StoredHandOver, StoredMessage


def time_of(time_ms: int) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    when = datetime.fromtimestamp(time_ms / 1000, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def conversation(
    found: StoredConversation, replying: bool, is_taken: bool | None = None
) -> dict[str, Any]:
    """A conversation without its messages.

    is_taken  whether a person answers there; False: it waits for one, None: neither
    """
    return {
        "id": found.id,
        "title": found.title,
        "model": found.model,
        "created_at": time_of(found.created_ms),
        "updated_at": time_of(found.updated_ms),
        "head": found.head,
        "source": found.source,
        "handover": None if is_taken is None else "taken" if is_taken else "waiting",
        "replying": replying,
    }


def message(found: StoredMessage, same_parent: Iterable[StoredMessage]) -> dict[str, Any]:
    """One message; same_parent: all messages with its parent, oldest first."""
    siblings = [
        other.id
        for other in same_parent
        if other.id == found.id or (other.role == found.role and other.status == "complete")
    ]
    return {
        "id": found.id,
        "parent": found.parent,
        "role": found.role,
        "text": found.text,
        "created_at": time_of(found.created_ms),
        "status": found.status,
        "finish_reason": found.finish_reason,
        "siblings": siblings,
        "index": siblings.index(found.id),
        "by_person": found.by_person,
        "result": _result(found.result),
    }


def path(head: str | None, messages: Iterable[StoredMessage]) -> list[dict[str, Any]]:
    """The messages up to the head, the first one first; messages: all, oldest first."""
    by_id: dict[str, StoredMessage] = {}
    by_parent: dict[str | None, list[StoredMessage]] = {}
    for found in messages:
        by_id[found.id] = found
        by_parent.setdefault(found.parent, []).append(found)
    shown = []
    while head is not None:
        found = by_id[head]
        shown.append(message(found, by_parent[found.parent]))
        head = found.parent
    return shown[::-1]


def handover(found: StoredHandOver, person: str) -> dict[str, Any]:
    """A question that waits, or was taken over; person: who looks at it."""
    status = "waiting" if found.taken_by is None else "taken"
    return {
        "id": found.id,
        "conversation_id": found.conversation,
        "message_id": found.message,
        "status": status if found.closed_ms is None else "closed",
        "mine": found.taken_by == person,
        "question": found.question,
        "language": found.language,
        "confidence": found.confidence,
        "citations": found.citations,
        "created_at": time_of(found.created_ms),
        "taken_at": None if found.taken_ms is None else time_of(found.taken_ms),
    }


def newest_leaf(start: str, messages: Iterable[StoredMessage]) -> str:
    """Where one gets from a message by always going on to what was said after it last."""
    newest: dict[str | None, str] = {}
    for found in messages:
        if found.status == "complete":
            newest[found.parent] = found.id
    while start in newest:
        start = newest[start]
    return start


def _result(stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A stored result without the confidence of each piece, which /v1/explain tells."""
    if stored is None:
        return None
    return {name: value for name, value in stored.items() if name != "tokens"}
