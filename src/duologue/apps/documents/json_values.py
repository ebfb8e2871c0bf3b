"""JSON: strings that are values are translated; keys, numbers, order and blanks stay."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from duologue.apps.documents.document import Segment
from duologue.apps.documents.tokens import Token, segment_of
from duologue.apps.translate.parts import Parts, text_of
from duologue.errors import InputError

_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"')
_KEY = re.compile(r"\s*+:")


def segments(text: str) -> Iterator[Segment]:
    """The values that say something. Raises InputError for what is no JSON."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"it is no JSON: line {error.lineno}: {error.msg}") from None
    except (RecursionError, ValueError) as error:
        raise InputError(f"it is no JSON that can be read: {error}") from None
    for string in _STRING.finditer(text):
        if _KEY.match(text, string.end()) is None:
            segment = _value(string)
            if segment is not None:
                yield segment


def _value(string: re.Match[str]) -> Segment | None:
    """A string between its quotes; blanks around its words stay, however they are spelled."""
    said = json.loads(string[0])
    raw = string[0][1:-1]
    words = said.strip()
    segment = segment_of([Token(string.start() + 1, words, words)])
    if segment is None:
        return None
    before, after = said[: said.index(words)], said[said.index(words) + len(words) :]
    is_ascii = "\\u" in raw and raw.isascii()

    def render(parts: Parts) -> str:
        return json.dumps(before + text_of(parts) + after, ensure_ascii=is_ascii)[1:-1]

    return Segment(string.start() + 1, string.end() - 1, segment.parts, render)
