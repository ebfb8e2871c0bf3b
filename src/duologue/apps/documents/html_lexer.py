"""The text of an HTML document, and the document with other text in its place.

cut        markup and text, in order; joined they are the document, byte for byte
to_text, to_html   the text of a text node without and with character references

Takes time in proportion to the document, whatever it holds.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

_TAG = re.compile(r"""</?([A-Za-z][^\s/>]*+)(?:"[^"]*+"|'[^']*+'|[^'">])*+>""")
_DECLARATION = re.compile(r"<[!?/][^>]*+>")
# What is between the tags of these is not said to anybody.
_SILENT = frozenset(("script", "style", "textarea", "template", "code", "pre"))


@dataclass(frozen=True)
class Node:
    """A stretch of the document."""

    content: str
    is_text: bool


def cut(document: str) -> Iterator[Node]:
    """Markup and text in turn. What begins as markup and never ends is markup to the end."""
    start = place = 0
    while (place := document.find("<", place)) >= 0:
        end = _markup_end(document, place)
        if end is None:
            place += 1
            continue
        if start < place:
            yield Node(document[start:place], True)
        yield Node(document[place:end], False)
        start = place = end
    if start < len(document):
        yield Node(document[start:], True)


def _markup_end(document: str, place: int) -> int | None:
    """Where the markup that begins here ends; None if it is a mere sign."""
    if document.startswith("<!--", place):
        return _after(document, "-->", place + 4)
    follower = document[place + 1 : place + 2]
    if follower in ("!", "?"):
        return _matched_end(document, _DECLARATION.match(document, place))
    name = document[place + 2 : place + 3] if follower == "/" else follower
    if not (name.isascii() and name.isalpha()):
        return None
    tag = _TAG.match(document, place)
    end = _matched_end(document, tag)
    if tag is None or follower == "/" or tag[1].lower() not in _SILENT or tag[0].endswith("/>"):
        return end
    closing = re.compile(rf"</{re.escape(tag[1])}(?=[\s/>])", re.IGNORECASE).search(document, end)
    return len(document) if closing is None else closing.start()


def _after(document: str, sign: str, place: int) -> int:
    found = document.find(sign, place)
    return len(document) if found < 0 else found + len(sign)


def _matched_end(document: str, match: re.Match[str] | None) -> int:
    return len(document) if match is None else match.end()


def to_text(content: str) -> str:
    """The text that a text node shows."""
    return html.unescape(content)


def to_html(text: str) -> str:
    """A text node that shows this text."""
    return html.escape(text, quote=False)
