"""What readers of mark-up share: tokens in a row become a segment.

Token        a stretch of the text: prose, or mark-up
segment_of   tokens in a row as a segment
Spelling     how a file spells characters of its prose
soft_break   a line break inside of prose, which means a blank
has_words    whether there is anything to translate
Lines        numbers of lines
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from duologue.apps.documents.document import Segment
from duologue.apps.translate.parts import Mark, Part, Parts

_HALF = re.compile("[\ud800-\udfff]")  # of a character: no model can read it
_MAX_NESTED = 64
_CJK = re.compile("[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef\U00020000-\U0003ffff]")


@dataclass(frozen=True)
class Token:
    """A stretch of a text.

    raw      as the file spells it
    said     what a reader sees: prose, of which each character that is spelled in another way
             than as itself is a token of its own; or, of mark-up, what nobody translates
    opens, closes   the name of what mark-up begins or ends
    """

    start: int
    raw: str
    said: str
    is_mark: bool = False
    opens: str = ""
    closes: str = ""

    @property
    def end(self) -> int:
        """Where it ends in the text."""
        return self.start + len(self.raw)


@dataclass(frozen=True)
class Spelling:
    """How a file spells characters of its prose.

    always  characters that prose must not hold as they are, with their spelling
    found   those that a segment spells in another way than as themselves
    """

    always: Mapping[str, str] = field(default_factory=dict)
    found: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, parts: Parts) -> str:
        """The parts as the file spells them."""
        table = str.maketrans({**self.always, **self.found})
        return "".join(
            part.translate(table) if isinstance(part, str) else part.raw for part in parts
        )


def segment_of(tokens: Sequence[Token], always: Mapping[str, str] | None = None) -> Segment | None:
    """A segment without the blanks and the mark-up around its words; None if there are no words.

    tokens  neighbours in the text
    always  see Spelling
    """
    pairs = _pairs(tokens)
    first, end = 0, len(tokens)
    while first < end:
        if _says_nothing(tokens[first]) and first not in pairs:
            first += 1
        elif _says_nothing(tokens[end - 1]) and end - 1 not in pairs:
            end -= 1
        elif first < end - 1 and first in pairs and pairs[first] == pairs.get(end - 1):
            first, end = first + 1, end - 1
        else:
            break
    inside = _stripped(tokens[first:end])
    parts = parts_of(inside, {place - first: pair for place, pair in pairs.items()})
    if parts is None:
        return None
    prose = [token for token in inside if not token.is_mark]
    found = {t.said: t.raw for t in prose if len(t.said) == 1 and t.said not in (t.raw, " ")}
    spelling = Spelling(always or {}, found)
    return Segment(inside[0].start, inside[-1].end, parts, spelling)


def parts_of(tokens: Sequence[Token], pairs: Mapping[int, int] | None = None) -> Parts | None:
    """The tokens as parts of a segment; None if nothing of them can be translated.

    pairs  the number of its pair for each mark that has a partner; None: as names say
    """
    said = "".join(token.said for token in tokens if not token.is_mark)
    if not has_words(said) or _HALF.search(said):
        return None
    numbers = _pairs(tokens) if pairs is None else pairs
    return tuple(
        _joined(
            Mark(token.raw, token.start, numbers.get(place), token.said)
            if token.is_mark
            else token.said
            for place, token in enumerate(tokens)
        )
    )


def _says_nothing(token: Token) -> bool:
    return not token.said if token.is_mark else not token.said.strip()


def _pairs(tokens: Sequence[Token]) -> dict[int, int]:
    """For each mark that has a partner the number of the pair; pairs are nested."""
    waiting: list[int] = []
    pairs: dict[int, int] = {}
    for place, token in enumerate(tokens):
        if token.opens:
            waiting.append(place)
        elif token.closes:
            del waiting[: max(0, len(waiting) - _MAX_NESTED)]
            depth = len(waiting)
            while depth and tokens[waiting[depth - 1]].opens != token.closes:
                depth -= 1
            if depth:
                pairs[waiting[depth - 1]] = pairs[place] = place
                del waiting[depth - 1 :]
    return pairs


def _stripped(tokens: Sequence[Token]) -> list[Token]:
    """The tokens without blanks at both ends; what is spelled as itself can be cut."""
    inside = list(tokens)
    if inside and not inside[0].is_mark:
        token = inside[0]
        blank = len(token.said) - len(token.said.lstrip())
        inside[0] = replace(
            token, start=token.start + blank, raw=token.raw[blank:], said=token.said[blank:]
        )
    if inside and not inside[-1].is_mark:
        token = inside[-1]
        kept = len(token.said.rstrip())
        inside[-1] = replace(token, raw=token.raw[:kept], said=token.said[:kept])
    return inside


def _joined(parts: Iterable[Part]) -> Iterator[Part]:
    """The same parts, without empty strings and with neighbouring ones made one."""
    pending = ""
    for part in parts:
        if isinstance(part, str):
            pending += part
            continue
        if pending:
            yield pending
        pending = ""
        yield part
    if pending:
        yield pending


def soft_break(text: str, start: int, end: int) -> Token:
    """A line break inside of prose: a blank, or nothing between letters that need none."""
    around = text[start - 1 : start], text[end : end + 1]
    said = "" if all(_CJK.match(char) for char in around) else " "
    return Token(start, text[start:end], said)


def has_words(text: str) -> bool:
    """Whether there is a letter in it: what else there may be says the same in each language."""
    return any(char.isalpha() for char in text)


class Lines:
    """Numbers of the lines of a text, from 1."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer(r"\r\n|\n|\r", self._text))]

    def number(self, place: int) -> int:
        """The line in which a character stands."""
        return bisect_right(self._starts, place)
