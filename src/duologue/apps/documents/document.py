"""Documents as segments to translate; what is no prose stays where it is, byte for byte.

Segment     a stretch of prose, with the mark-up inside of it
Spliced     a text with its segments, and the text with others in their place
Document    what a reader makes of a file

A reader finds where segments stand. Writing puts translations there and touches nothing else; a
segment whose parts come back as they were keeps its spelling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from duologue.apps.translate.parts import Mark, Part, Parts, text_of
from duologue.errors import InputError

MAX_SEGMENTS = 200_000


Render = Callable[[Parts], str]


@dataclass(frozen=True)
class Segment:
    """A stretch of a document that is translated by itself.

    start, end  where it stands in the document's text
    parts       its prose, as a reader sees it, and its mark-up, in order
    render      how the file spells parts
    is_filled   what stands there is no source but an older translation: it is written always
    """

    start: int
    end: int
    parts: Parts
    render: Render
    is_filled: bool = False

    @property
    def text(self) -> str:
        """What a reader sees."""
        return text_of(self.parts)

    @property
    def marks(self) -> tuple[Mark, ...]:
        """Its mark-up, in order."""
        return tuple(part for part in self.parts if isinstance(part, Mark))


@dataclass(frozen=True)
class Spliced:
    """A text and the segments in it, which do not overlap but where one lies in another's mark.

    Segments are in the order of their beginnings.
    """

    text: str
    segments: tuple[Segment, ...]

    def write(self, translations: Sequence[Parts | None]) -> str:
        """The text with other parts in place of each segment's own; None leaves it as it is.

        Raises InputError for as many translations as there are not segments.
        """
        if len(translations) != len(self.segments):
            raise InputError(
                f"the document has {len(self.segments)} segments, not {len(translations)}"
            )
        given = [
            (segment, parts)
            for segment, parts in zip(self.segments, translations, strict=True)
            if parts is not None and (segment.is_filled or parts != segment.parts)
        ]
        return self._spelled(0, len(self.text), given)

    def _spelled(self, start: int, end: int, given: list[tuple[Segment, Parts]]) -> str:
        """A stretch of the text; given are the segments inside of it that change."""
        result: list[str] = []
        reached, place = start, 0
        while place < len(given):
            segment, parts = given[place]
            place += 1
            inner: list[tuple[Segment, Parts]] = []
            while place < len(given) and given[place][0].start < segment.end:
                inner.append(given[place])
                place += 1
            result.append(self.text[reached : segment.start])
            result.append(segment.render(self._with_marks(parts, inner)))
            reached = segment.end
        result.append(self.text[reached:end])
        return "".join(result)

    def _with_marks(self, parts: Parts, inner: list[tuple[Segment, Parts]]) -> Parts:
        """The parts, whose marks hold the translations of what lies inside of them."""
        if not inner:
            return parts
        changed: list[Part] = []
        for part in parts:
            if isinstance(part, Mark):
                end = part.start + len(part.raw)
                own = [item for item in inner if part.start <= item[0].start < end]
                part = replace(part, raw=self._spelled(part.start, end, own))
            changed.append(part)
        return tuple(changed)


@dataclass(frozen=True)
class Document:
    """What a reader makes of a file.

    format    "md", "docx", ...
    segments  in the order of the file
    places    where each stands, for people: "line 12"
    write     the file with these parts in place of the segments' own; None leaves one as it is
    """

    format: str
    segments: tuple[Segment, ...]
    places: tuple[str, ...]
    write: Callable[[Sequence[Parts | None]], bytes] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.segments) > MAX_SEGMENTS:
            raise InputError(
                f"the document has {len(self.segments):,} segments; at most {MAX_SEGMENTS:,} "
                "are translated: cut it in pieces"
            )
