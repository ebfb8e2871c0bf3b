"""Java .properties: values are translated; keys, comments, separators and order stay.

A file of ASCII alone gets other letters as \\uXXXX, as Java before version 9 needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from duologue.apps.documents.document import Segment
from duologue.apps.documents.tokens import Token, segment_of
from duologue.apps.translate.parts import Parts

# A line and all that it goes on with: a line break after an odd number of backslashes is none.
_ENTRY = re.compile(
    r"[ \t\f]*+(?P<key>(?:\\(?:\r\n|.)|[^\\:=\s])*+)(?:[ \t\f]*+[:=])?[ \t\f]*+", re.S
)
_LINE = re.compile(r"(?:\\(?:\r\n|[\s\S])|[^\\\r\n])*+")
_BREAK = re.compile(r"\r\n|[\r\n]")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(\r\n[ \t\f]*+|[\r\n][ \t\f]*+)|(.))", re.S)
_LETTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ALWAYS = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f"}


def segments(text: str) -> Iterator[Segment]:
    """The values that say something."""
    place = 0
    is_ascii = text.isascii()
    while place < len(text):
        line = _LINE.match(text, place)
        assert line is not None  # it may be empty
        end = line.end()
        first = line[0].lstrip(" \t\f")[:1]
        if first and first not in "#!":
            entry = _ENTRY.match(text, place, end)
            if entry is not None and entry.end() < end:
                yield from _value(text, entry.end(), end, is_ascii)
        elif first:
            end = _comment_end(text, place)
        found = _BREAK.match(text, end)
        place = found.end() if found else max(end, place + 1)


def _comment_end(text: str, place: int) -> int:
    """Comments do not go on in the next line."""
    found = _BREAK.search(text, place)
    return found.start() if found else len(text)


def _value(text: str, start: int, end: int, is_ascii: bool) -> Iterator[Segment]:
    tokens: list[Token] = []
    place = start
    for escape in _ESCAPE.finditer(text, start, end):
        tokens.append(Token(place, text[place : escape.start()], text[place : escape.start()]))
        if escape[1]:
            said = chr(int(escape[1], 16))
        else:
            said = "" if escape[2] else _LETTERS.get(escape[3], escape[3])
        tokens.append(Token(escape.start(), escape[0], said))
        place = escape.end()
    tokens.append(Token(place, text[place:end], text[place:end]))
    segment = segment_of([token for token in _whole(tokens) if token.raw], _ALWAYS)
    if segment is not None:
        yield _ascii(segment) if is_ascii else segment


def _whole(tokens: list[Token]) -> Iterator[Token]:
    """The tokens, with two halves of a character (surrogates) made one."""
    pending: Token | None = None
    for token in tokens:
        is_low = "\udc00" <= token.said <= "\udfff"
        if pending is not None and is_low and token.raw != token.said:
            pair = (pending.said + token.said).encode("utf-16", "surrogatepass").decode("utf-16")
            yield Token(pending.start, pending.raw + token.raw, pair)
            pending = None
        elif token.said and "\ud800" <= token.said <= "\udbff":
            pending = token
        elif token.raw:
            if pending is not None:
                yield pending
                pending = None
            yield token
    if pending is not None:
        yield pending


def _ascii(segment: Segment) -> Segment:
    def render(parts: Parts) -> str:
        spelled = segment.render(parts)
        units = (char if char.isascii() else _escaped(char) for char in spelled)
        return "".join(units)

    return Segment(segment.start, segment.end, segment.parts, render)


def _escaped(char: str) -> str:
    data = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[i]:02x}{data[i + 1]:02x}" for i in range(0, len(data), 2))
