"""HTML: prose between tags, and the attributes that people read; mark-up stays.

What stands between the tags of blocks is a segment, with the inline mark-up in it. Scripts, styles,
code and whatever says translate="no" stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from duologue.apps.documents.document import Segment
from duologue.apps.documents.html_lexer import cut, to_text
from duologue.apps.documents.tokens import Token, segment_of
from duologue.errors import InputError

_INLINE = frozenset((
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn",
    "em", "font", "i", "img", "input", "ins", "kbd", "label", "mark", "q", "s", "samp",
    "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr",
))  # fmt: skip
_VOID = frozenset((
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param",
    "source", "track", "wbr",
))  # fmt: skip
_SHOWN_AS_IT_IS = frozenset(("code", "kbd", "samp", "var", "tt"))
_READ = frozenset(("alt", "title", "placeholder", "aria-label"))
_NAME = re.compile(r"<(/?)([A-Za-z][^\s/>]*)")
_ATTRIBUTE = re.compile(
    r"""[\s/]([^\s"'<>/=]+)\s*=\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s"'=<>`]+))"""
)
_ANY_TAG = re.compile("<[^>]*>")
_REFERENCE = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_BLANKS = re.compile(r"[ \t]*[\r\n][ \t\r\n]*|[ \t]{2,}")
_CHARSET = re.compile(r"""<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*["']?\s*([\w-]+)""", re.I)
_ALWAYS = {"&": "&amp;", "<": "&lt;"}
_UNICODE = ("utf-8", "utf8", "utf-16", "us-ascii", "ascii")


def segments(text: str) -> Iterator[Segment]:
    """What people read, in order. Raises InputError for a page that says it is not in Unicode."""
    charset = _CHARSET.search(text[:4096])
    if charset is not None and charset[1].lower() not in _UNICODE:
        raise InputError(f"it says that it is in {charset[1]}: save it as UTF-8, and say so in it")
    found = [*_Reader(text).segments()]
    yield from sorted(found, key=lambda segment: segment.start)


class _Reader:
    """Goes through a document once; tokens wait until the block that they are in ends."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[Token] = []
        self._kept: tuple[str, int, int] | None = None  # name, depth, start of what is not read

    def segments(self) -> Iterator[Segment]:
        place = 0
        for node in cut(self._text):
            start, place = place, place + len(node.content)
            if self._kept is not None:
                yield from self._keep(start, node.content, node.is_text)
            elif node.is_text:
                self._tokens += _prose(start, node.content)
            else:
                yield from self._markup(start, node.content)
        yield from self._flush()

    def _markup(self, start: int, raw: str) -> Iterator[Segment]:
        tag = _NAME.match(raw)
        if tag is None:  # a comment, or a declaration
            self._tokens.append(Token(start, raw, "", is_mark=True))
            return
        name, is_end = tag[2].lower(), bool(tag[1])
        if not is_end:
            yield from _attributes(start, raw)
        is_inline = name in _INLINE
        if not is_inline:
            yield from self._flush()
        is_alone = name in _VOID or raw.endswith("/>")
        if not is_end and not is_alone and (name in _SHOWN_AS_IT_IS or _is_kept(raw)):
            self._kept = name, 1, start
        elif is_inline:
            opens = "" if is_end or is_alone else name
            self._tokens.append(Token(start, raw, "", True, opens, name if is_end else ""))

    def _keep(self, start: int, raw: str, is_text: bool) -> Iterator[Segment]:
        """Go on in what is not read, until it ends; in a sentence it is shown as it is."""
        assert self._kept is not None
        name, depth, begin = self._kept
        tag = None if is_text else _NAME.match(raw)
        if tag is None or tag[2].lower() != name or raw.endswith("/>"):
            return
        depth += -1 if tag[1] else 1
        self._kept = (name, depth, begin) if depth else None
        if depth == 0:
            whole = self._text[begin : start + len(raw)]
            if name in _INLINE:
                said = to_text(_ANY_TAG.sub(" ", whole))
                self._tokens.append(Token(begin, whole, " ".join(said.split()), is_mark=True))
            else:
                yield from self._flush()

    def _flush(self) -> Iterator[Segment]:
        segment = segment_of(self._tokens, _ALWAYS)
        self._tokens = []
        if segment is not None:
            yield segment


def _is_kept(tag: str) -> bool:
    values = {name.lower(): value.lower() for name, value, _ in _values(tag)}
    return values.get("translate") == "no" or "notranslate" in values.get("class", "").split()


def _values(tag: str) -> Iterator[tuple[str, str, int]]:
    """Name, value and its place, of each attribute."""
    for found in _ATTRIBUTE.finditer(tag):
        kind = found.lastgroup
        assert kind is not None
        yield found[1], found[kind], found.start(kind)


def _attributes(start: int, tag: str) -> Iterator[Segment]:
    if _is_kept(tag):
        return
    for name, value, place in _values(tag):
        if name.lower() in _READ:
            quote = tag[place - 1]
            always = {**_ALWAYS, quote: "&quot;" if quote == '"' else "&#39;"}
            if quote in "\"'":
                segment = segment_of([*_prose(start + place, value)], always)
                if segment is not None:
                    yield segment


def _prose(start: int, raw: str) -> Iterator[Token]:
    """Text with its character references; blanks in a row are one."""
    place = 0
    for found in re.finditer(f"{_REFERENCE.pattern}|{_BLANKS.pattern}", raw):
        yield Token(start + place, raw[place : found.start()], raw[place : found.start()])
        said = to_text(found[0]) if found[0].startswith("&") else " "
        yield Token(start + found.start(), found[0], said)
        place = found.end()
    yield Token(start + place, raw[place:], raw[place:])
