"""Server-sent events, as the HTML standard has them (9.2.6), in whatever pieces they come.

events   pieces of bytes to events
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from duologue.errors import RemoteError

MAX_EVENT_BYTES = 16 << 20  # the longest text there may be, with its result, as JSON
_LINE_END = re.compile(rb"\r\n|\n|\r")


class ServerEvent(NamedTuple):
    """data  the lines of data, joined by line breaks"""

    name: str
    data: bytes


def events(pieces: Iterable[bytes], max_bytes: int = MAX_EVENT_BYTES) -> Iterator[ServerEvent]:
    """The events of a stream; each comes as soon as its end has come, an unended one never.

    Comments and unknown fields are left out. Raises RemoteError for an event beyond max_bytes.
    """
    name, data = b"", []
    num_bytes = 0
    for line in _lines(pieces, max_bytes):
        num_bytes += len(line)
        if num_bytes > max_bytes:
            raise RemoteError(f"the server sent an event of more than {max_bytes:,} bytes")
        if line:
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                name = value
            elif field == b"data":
                data.append(value)
            continue
        if data:
            yield ServerEvent(name.decode(errors="replace") or "message", b"\n".join(data))
        name, data = b"", []
        num_bytes = 0


def _lines(pieces: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """The lines without their ends. Of an overlong one the first max_bytes + 1 bytes come."""
    pending = bytearray()
    ended_in_cr = False
    for piece in pieces:
        if not piece:
            continue
        begun = piece[1:] if ended_in_cr and piece.startswith(b"\n") else piece
        ended_in_cr = piece.endswith(b"\r")
        first, *others = _LINE_END.split(begun)
        pending += first
        if others:
            yield bytes(pending)
            yield from others[:-1]
            pending[:] = others[-1]
        if len(pending) > max_bytes:
            yield bytes(pending)
