"""Plain text: each line is a segment, and lines stay lines."""

from __future__ import annotations

import re
from collections.abc import Iterator

from duologue.apps.documents.document import Segment
from duologue.apps.documents.tokens import Token, segment_of

_LINE = re.compile(r"[^\r\n]+")


def segments(text: str) -> Iterator[Segment]:
    """The lines that say something, without the blanks around them."""
    for line in _LINE.finditer(text):
        segment = segment_of([Token(line.start(), line[0], line[0])])
        if segment is not None:
            yield segment
