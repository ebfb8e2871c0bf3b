"""Markdown: paragraphs, headings, list items and cells of tables are segments.

Front matter, code, HTML blocks, definitions of links and all marks stay. The lines of a paragraph
are one text, whose translation is one line; lines that end hard stay apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from duologue.apps.documents.document import Render, Segment
from duologue.apps.documents.markdown_inline import definitions, tokens
from duologue.apps.documents.tokens import Token, segment_of, soft_break
from duologue.apps.translate.parts import Parts

_LINE = re.compile(r"([^\r\n]*)(\r\n|\n|\r|\Z)")
_QUOTE = re.compile(r"(?:[ ]{0,3}>[ ]?)+")
_ITEM = re.compile(r"[ ]*(?:[-*+]|\d{1,9}[.)])(?:[ \t]+(?:\[[ xX]\][ \t]+)?|$)")
_HEADING = re.compile(r"[ ]{0,3}#{1,6}(?:[ \t]+|$)")
_CLOSING = re.compile(r"[ \t]+#+[ \t]*$|[ \t]*\{#[^{}]*\}[ \t]*$")
_RULE = re.compile(
    r"[ ]{0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|=+[ \t]*|-+[ \t]*)$"
)
_FENCE = re.compile(r"[ \t]*(`{3,}(?=[^`]*$)|~{3,}|\$\$(?!.*\$\$)|:::+)")
_DEFINITION = re.compile(r"[ ]{0,3}\[[^\]^][^\]]*\]:")
_NOTE = re.compile(r"[ ]{0,3}\[\^[^\]]+\]:[ \t]*")
_TABLE_RULE = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_HTML = re.compile(
    r"[ ]{0,3}<(?:!--|[!?/]|(?P<raw>script|pre|style|textarea)\b|[A-Za-z][\w-]*(?=[\s/>])(?!:))",
    re.I,
)
_INLINE_HTML = re.compile(
    r"[ ]{0,3}</?(?:a|abbr|b|br|code|del|em|i|img|ins|kbd|mark|q|s|small|span|strong|sub|sup|u)\b",
    re.I,
)
_BLOCK_START = re.compile(r"(?:[-+*](?=\s|$)|\d{1,9}[.)](?=\s|$)|#{1,6}(?=\s|$)|>|```|~~~|[|])")
_HARD = re.compile(r"(?:[ ]{2,}|\\)$")
_ALWAYS: dict[str, str] = {}
_IN_CELL = {"|": "\\|"}


@dataclass
class _Line:
    """A line and where it stands in the text, without its end."""

    start: int
    text: str


@dataclass
class _Reader:
    """Goes through the lines once."""

    text: str
    known: frozenset[str]
    paragraph: list[tuple[int, int]] = field(default_factory=list)  # start and end of its lines
    fence: str = ""
    html_end: str | None = None
    items: list[int] = field(default_factory=list)  # where the text of each open list item begins
    is_table: bool = False
    was_blank: bool = True

    def segments(self) -> Iterator[Segment]:
        lines = [_Line(found.start(), found[1]) for found in _LINE.finditer(self.text)]
        skipped = _front_matter(lines)
        for place, line in enumerate(lines[skipped:], skipped):
            following = lines[place + 1].text if place + 1 < len(lines) else ""
            yield from self._line(line, following)
            self.was_blank = not line.text.strip()
        yield from self._flush()

    def _line(self, line: _Line, following: str) -> Iterator[Segment]:
        quote = _QUOTE.match(line.text)
        body = line.text[quote.end() :] if quote else line.text
        start = line.start + (len(line.text) - len(body))
        if self.fence or self.html_end is not None:
            self._inside(body)
            return
        if not body.strip():
            yield from self._flush()
            self.is_table = False
            return
        if quote and not self.paragraph:
            self.items.clear()
        yield from self._block(start, body, following)

    def _inside(self, body: str) -> None:
        """A line of code or of HTML."""
        if self.fence:
            stripped = body.strip()
            if stripped.startswith(self.fence) and not stripped.strip(self.fence[0]):
                self.fence = ""
        elif (self.html_end == "" and not body.strip()) or (
            self.html_end and self.html_end in body.lower()
        ):
            self.html_end = None

    def _block(self, start: int, body: str, following: str) -> Iterator[Segment]:
        indent = len(body) - len(body.lstrip(" \t"))
        while self.items and indent < self.items[-1] and (self.was_blank or _ITEM.match(body)):
            self.items.pop()
        inner = self.items[-1] if self.items else 0
        is_code = not self.paragraph and body[:indent].expandtabs(4).count(" ") - inner >= 4
        if is_code or (_DEFINITION.match(body) and not self.paragraph):
            return
        if _RULE.match(body[inner:] if indent >= inner else body):
            yield from self._flush()
        elif fence := _FENCE.match(body):
            yield from self._flush()
            self.fence = fence[1]
        elif _HTML.match(body) and not _INLINE_HTML.match(body) and not self.paragraph:
            yield from self._flush()
            self._begin_html(body)
        elif self.is_table or (
            "|" in body and _TABLE_RULE.match(_unquoted(following)) and "-" in following
        ):
            yield from self._row(start, body)
        else:
            yield from self._text(start, body)

    def _begin_html(self, body: str) -> None:
        found = _HTML.match(body)
        assert found is not None
        if body.lstrip().startswith("<!--"):
            end = "-->"
        else:
            end = f"</{found['raw'].lower()}>" if found["raw"] else ""
        self.html_end = None if end and end in body.lower() else end

    def _text(self, start: int, body: str) -> Iterator[Segment]:
        """A line of a paragraph, of a list item or a heading."""
        place = 0
        while item := _ITEM.match(body, place):
            if _RULE.match(body[place:]):
                return
            yield from self._flush()
            place = item.end()
            self.items.append(place)
        if note := _NOTE.match(body, place):
            yield from self._flush()
            place = note.end()
        heading = _HEADING.match(body, place)
        if heading:
            yield from self._flush()
            place = heading.end()
            closing = _CLOSING.search(body, place)
            self.paragraph.append(
                (start + place, start + (closing.start() if closing else len(body)))
            )
            yield from self._flush()
        elif place < len(body):
            hard = _HARD.search(body)
            self.paragraph.append((start + place, start + (hard.start() if hard else len(body))))
            if hard:
                yield from self._flush()

    def _row(self, start: int, body: str) -> Iterator[Segment]:
        yield from self._flush()
        self.is_table = True
        if _TABLE_RULE.match(body):
            return
        bar = re.compile(r"(?:[^|\\`]|\\.|`[^`|]*`|`)+")
        for cell in bar.finditer(body):
            segment = segment_of(
                [*tokens(self.text, start + cell.start(), start + cell.end(), self.known)], _IN_CELL
            )
            if segment is not None:
                yield segment

    def _flush(self) -> Iterator[Segment]:
        """The paragraph that has been read, if there is one."""
        if not self.paragraph:
            return
        spans, self.paragraph = self.paragraph, []
        found = [*tokens(self.text, spans[0][0], spans[-1][1], self.known)]
        segment = segment_of([*_unbroken(self.text, found)])
        if segment is not None:
            yield replace(segment, render=_renderer(segment))


def segments(text: str) -> Iterator[Segment]:
    """The prose of a Markdown text, in order."""
    yield from _Reader(text, definitions(text)).segments()


def _unquoted(line: str) -> str:
    quote = _QUOTE.match(line)
    return line[quote.end() :] if quote else line


def _front_matter(lines: list[_Line]) -> int:
    """How many lines at the beginning are settings."""
    if lines and lines[0].text.rstrip() in ("---", "+++"):
        ends = (lines[0].text.rstrip(), "..." if lines[0].text.startswith("-") else "+++")
        for place, line in enumerate(lines[1:], 1):
            if line.text.rstrip() in ends:
                return place + 1
    return 0


def _unbroken(text: str, found: list[Token]) -> Iterator[Token]:
    """Prose whose line breaks, with the marks of quotes and the blanks around, are blanks."""
    pattern = re.compile(r"[ \t]*(?:\r\n|\n|\r)(?:[ \t]|>[ ]?)*")
    for token in found:
        if token.is_mark or token.raw != token.said:
            yield token
            continue
        place = token.start
        for line_break in pattern.finditer(text, token.start, token.end):
            said = text[place : line_break.start()]
            yield Token(place, said, said)
            yield soft_break(text, *line_break.span())
            place = line_break.end()
        yield Token(place, text[place : token.end], text[place : token.end])


def _renderer(segment: Segment) -> Render:
    """Keeps a translation from looking like the beginning of a list, a quote or a heading."""

    def render(parts: Parts) -> str:
        raw = segment.render(parts)
        start = _BLOCK_START.match(raw)
        if start is None or not isinstance(parts[0], str):
            return raw
        sign = start.end() - 1 if raw[0].isdigit() else 0
        return f"{raw[:sign]}\\{raw[sign:]}"

    return render
