"""A conversation as a file: what Conversations.export gives as Markdown, plain text or JSON.

Markdown and text are to be read: they show the path to the head, and that a reply to it was
interrupted, if it was. JSON holds everything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

INTERRUPTED = "(interrupted)"
_NAMES = {"system": "System", "user": "You", "agent": "Agent", "document": "Document"}


def to_json(exported: dict[str, Any]) -> str:
    """Everything, indented."""
    return json.dumps(exported, ensure_ascii=False, indent=2) + "\n"


def to_markdown(exported: dict[str, Any]) -> str:
    """A heading for the conversation and one for each message; texts stay as they are."""
    parts = [f"# {_title(exported)}", f"{_when(exported['created_ms'])}, {exported['model']}"]
    for message in _path(exported):
        parts += [f"## {_NAMES[message['role']]}", message["text"]]
    return "\n\n".join(parts) + "\n"


def to_text(exported: dict[str, Any]) -> str:
    """The title, then one paragraph for each message."""
    said = (f"{_NAMES[message['role']]}: {message['text']}" for message in _path(exported))
    return "\n\n".join([_title(exported), *said]) + "\n"


WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "json": to_json,
    "md": to_markdown,
    "txt": to_text,
}


def _title(exported: dict[str, Any]) -> str:
    return exported["title"] or "Untitled"


def _when(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _path(exported: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages to the head, the first one first."""
    by_id = {message["id"]: message for message in exported["messages"]}
    path: list[dict[str, Any]] = []
    here = exported["head"]
    while here is not None:
        path.append(by_id[here])
        here = by_id[here]["parent"]
    path.reverse()
    for message in exported["messages"]:
        if message["parent"] == exported["head"] is not None and _is_interrupted(message):
            return [*path, {**message, "text": INTERRUPTED}]
    return path


def _is_interrupted(message: dict[str, Any]) -> bool:
    return bool(message["status"] == "unfinished" and message["finish_reason"] == "abort")
