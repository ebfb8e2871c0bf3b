"""What a stored reply would be less likely without."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict
from typing import Any

from duologue.explain.erasure import ErasureOptions
from duologue.server.service import ServedModel
from duologue.storage.records import StoredMessage
from duologue.types import Span

Spans = list[dict[str, Any]]


def needed(
    served: ServedModel, path: Sequence[StoredMessage], options: ErasureOptions
) -> Generator[None, None, dict[str, Spans]]:
    """`influence` and `turns` of Conversation.why, with the message of each span.

    path     from the first message to the reply
    options  how much it may cost

    Yields between pieces of its work; see Service.in_pieces. Raises InputError if the reply has
    left the memory of its own conversation.
    """
    conversation, unread = served.memories.restore(path)
    for turn in unread:
        conversation.add(turn.role, turn.text)
        yield
    found = yield from conversation.influencing(options)

    def told(spans: Sequence[Span]) -> Spans:
        places = found.turn_of_segment
        return [{**asdict(span), "message": path[places[span.segment]].id} for span in spans]

    return {"influence": told(found.spans), "turns": told(found.turns)}
