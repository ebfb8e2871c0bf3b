"""Subtitles, .srt and .vtt: what is said in a cue is a segment; times, settings and order stay.

Lines of a cue are one text, and the translation gets as many lines if it is long enough; lines
that begin with a dash are said by different people and are translated by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from duologue.apps.documents.document import Render, Segment
from duologue.apps.documents.tokens import Token, segment_of, soft_break
from duologue.apps.translate.parts import Parts
from duologue.errors import InputError

MAX_LINE_CHARS = 42

_TIME = r"(?:\d+:)?\d\d?:\d\d[,.]\d{1,3}"
_CUE = re.compile(rf"^[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}.*$", re.M)
_BLANK_LINE = re.compile(r"(?:\r\n|\n|\r)[ \t]*(?:\r\n|\n|\r)|\Z")
_BREAK = re.compile(r"[ \t]*(?:\r\n|\n|\r)[ \t]*")
_TAG = re.compile(
    r"<(?P<close>/)?(?P<name>[A-Za-z]+)(?:[.\s][^<>\r\n]*)?>|<\d[\d:.]*>|\{\\[^{}\r\n]*\}"
    r"|(?P<entity>&(?:amp|lt|gt|nbsp|lrm|rlm);)"
)
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&nbsp;": "\xa0", "&lrm;": "\u200e",
             "&rlm;": "\u200f"}  # fmt: skip
_SPEAKER = re.compile(r"[ \t]*[-\u2013\u2014]")


def segments(text: str) -> Iterator[Segment]:
    """What is said, cue by cue. Raises InputError for a text without cues that is no empty .vtt."""
    if not _CUE.search(text) and not text.lstrip().startswith("WEBVTT"):
        raise InputError(
            "it holds no subtitles: no line has times, such as 00:01.000 --> 00:02.000"
        )
    place = 0
    while cue := _CUE.search(text, place):
        start = _after_break(text, cue.end())
        end = _BLANK_LINE.search(text, max(start - 1, cue.end()))
        assert end is not None  # the end of the text at the latest
        place = max(start, end.start())
        yield from _cue(text, start, place)


def _after_break(text: str, place: int) -> int:
    found = re.compile(r"\r\n|\n|\r").match(text, place)
    return found.end() if found else place


def _cue(text: str, start: int, end: int) -> Iterator[Segment]:
    speeches: list[list[Token]] = [[]]
    has_speakers = _SPEAKER.match(text, start) is not None
    place = start
    for line_break in [*_BREAK.finditer(text, start, end), None]:
        stop = line_break.start() if line_break else end
        if has_speakers and _SPEAKER.match(text, place):
            speeches.append([])
            dash = _SPEAKER.match(text, place)
            assert dash is not None
            speeches[-1].append(Token(place, dash[0], "", is_mark=True))
            place = dash.end()
        speeches[-1] += _line(text, place, stop)
        if line_break:
            speeches[-1].append(soft_break(text, stop, line_break.end()))
            place = line_break.end()
    for tokens in speeches:
        segment = segment_of(tokens, {"&": "&amp;"} if "&amp;" in text else None)
        if segment is not None:
            yield replace(segment, render=_in_lines(segment, tokens))


def _line(text: str, start: int, end: int) -> Iterator[Token]:
    place = start
    for tag in _TAG.finditer(text, start, end):
        yield Token(place, text[place : tag.start()], text[place : tag.start()])
        if tag["entity"]:
            yield Token(tag.start(), tag[0], _ENTITIES[tag[0]])
        else:
            name = (tag["name"] or "").lower()
            opens, closes = ("", name) if tag["close"] else (name, "")
            yield Token(tag.start(), tag[0], "", True, opens, closes)
        place = tag.end()
    yield Token(place, text[place:end], text[place:end])


def _in_lines(segment: Segment, tokens: list[Token]) -> Render:
    """A renderer that breaks a long translation near its middle, as the cue was broken."""
    breaks = [
        t.raw for t in tokens if t.said != t.raw and t.raw.strip(" \t") in ("\n", "\r\n", "\r")
    ]

    def render(parts: Parts) -> str:
        line = segment.render(parts)
        said = _TAG.sub("", line)
        if not breaks or len(said) <= MAX_LINE_CHARS:
            return line
        return _broken(line, breaks[0])

    return render


def _broken(line: str, line_break: str) -> str:
    """The line in two, at the blank nearest to its middle; a tag is never cut."""
    inside = [range(*tag.span()) for tag in _TAG.finditer(line)]
    blanks = [
        place
        for place, char in enumerate(line)
        if char == " " and not any(place in span for span in inside)
    ]
    if not blanks:
        return line
    middle = min(blanks, key=lambda place: abs(2 * place - len(line)))
    return line[:middle] + line_break + line[middle + 1 :]
