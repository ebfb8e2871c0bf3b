"""Where the mark-up of a text goes in its translation.

placed   marks with their places in the translation, in order

A pair goes around the words that its own words became; what was nested stays nested, and what was
apart stays apart. A mark that stands alone follows the word that it followed; such marks keep
their order. Where nothing tells, a mark keeps its place in proportion.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from duologue.apps.translate.alignment import Alignment
from duologue.apps.translate.parts import Mark

Placed = list[tuple[int, Mark]]
_WORD_END = re.compile(r"[\w](?=[^\w]*$)")
_OPENING = "([{«„“‘「『（《¿¡"


@dataclass
class _Stretch:
    """A pair with what is inside, or a mark that stands alone (start == end, one mark)."""

    marks: list[Mark]
    start: int
    end: int
    inner: list[_Stretch] = field(default_factory=list)


def placed(
    text: str, marks: Sequence[tuple[int, Mark]], translation: str, alignment: Alignment | None
) -> Placed:
    """The marks with their places in the translation, in order.

    marks      with their places in the text, in order
    alignment  of the two; None: places are kept in proportion
    """
    placer = _Placer(text, translation, alignment)
    result: Placed = []
    placer.place(_tree(marks), (0, len(translation)), result)
    return result


def _tree(marks: Sequence[tuple[int, Mark]]) -> list[_Stretch]:
    """The marks as stretches in stretches; half of a pair stands alone."""
    top: list[_Stretch] = []
    levels = [top]
    opened: list[_Stretch] = []
    nested = _nested(marks)
    for place, mark in marks:
        is_pair = mark.pair in nested
        if is_pair and opened and opened[-1].marks[0].pair == mark.pair:
            stretch = opened.pop()
            levels.pop()
            stretch.marks.append(mark)
            stretch.end = place
            continue
        stretch = _Stretch([mark], place, place)
        levels[-1].append(stretch)
        if is_pair:
            opened.append(stretch)
            levels.append(stretch.inner)
    return top


def _nested(marks: Sequence[tuple[int, Mark]]) -> set[int | None]:
    """The pairs that are whole and cross no other of these."""
    found: set[int | None] = set()
    opened: list[int] = []
    for _, mark in marks:
        if mark.pair in opened:
            del opened[opened.index(mark.pair) :]
            found.add(mark.pair)
        elif mark.pair is not None:
            opened.append(mark.pair)
    return found


class _Placer:
    """Places stretches of one text in its translation."""

    def __init__(self, text: str, translation: str, alignment: Alignment | None) -> None:
        self._text = text
        self._translation = translation
        self._alignment = alignment
        self._alone = 0  # no mark that stands alone goes before the last one

    def place(self, stretches: Sequence[_Stretch], bounds: tuple[int, int], result: Placed) -> None:
        """Append the marks of stretches, which belong within bounds, in the order they get."""
        pairs: list[tuple[int, int, _Stretch]] = []
        alone: list[tuple[int, _Stretch]] = []
        for stretch in stretches:
            if len(stretch.marks) == 2:
                start, end = _clipped(self._span(stretch), bounds, [p[:2] for p in pairs])
                pairs.append((start, end, stretch))
        for stretch in stretches:
            if len(stretch.marks) == 1:
                at = min(max(self._point(stretch.start), bounds[0], self._alone), bounds[1])
                at = next((end for start, end, _ in pairs if start < at < end), at)
                self._alone = at
                alone.append((at, stretch))
        ordered = sorted(
            [*pairs, *((at, at, stretch) for at, stretch in alone)],
            key=lambda item: (item[0], item[1]),
        )
        for start, end, stretch in ordered:
            result.append((start, stretch.marks[0]))
            if len(stretch.marks) == 2:
                self.place(stretch.inner, (start, end), result)
                result.append((end, stretch.marks[1]))

    def _span(self, stretch: _Stretch) -> tuple[int, int]:
        """Where the words of a pair went."""
        text = self._text
        is_first = not text[: stretch.start].strip()
        is_last = not text[stretch.end :].strip()
        if is_first and is_last:
            return 0, len(self._translation)
        found = None
        if self._alignment is not None and text[stretch.start : stretch.end].strip():
            found = self._alignment.span(stretch.start, stretch.end)
        start, end = found or (self._in_proportion(stretch.start), self._in_proportion(stretch.end))
        end = max(start, end)
        said = text[stretch.start : stretch.end].strip()
        if said and not said[-1].isalnum():
            while end < len(self._translation) and _is_sign(self._translation[end]):
                end += 1
        if said and said[0] in _OPENING:
            while start > 0 and self._translation[start - 1] in _OPENING:
                start -= 1
        return start, end

    def _point(self, place: int) -> int:
        """Where a mark that stands alone goes: after the word that it followed."""
        text, translation = self._text, self._translation
        if not text[:place].strip():
            return 0
        if not text[place:].strip():
            return len(translation)
        before = text[:place].rstrip()
        word = re.search(r"\w+\W*$", before[-80:])
        found = None
        if self._alignment is not None and word is not None:
            start = len(before) - len(before[-80:]) + word.start()
            found = self._alignment.span(start, start + len(word[0].rstrip()))
        at = found[1] if found is not None else self._in_proportion(place)
        if not before[-1].isalnum():
            while at < len(translation) and _is_sign(translation[at]):
                at += 1
        return at

    def _in_proportion(self, place: int) -> int:
        """The same share of the translation, moved to the end of a word."""
        at = round(place * len(self._translation) / max(1, len(self._text)))
        blank = self._translation.find(" ", at)
        return blank if 0 <= blank < at + 20 else at


def _is_sign(char: str) -> bool:
    return not char.isalnum() and not char.isspace() and char not in _OPENING


def _clipped(
    span: tuple[int, int], bounds: tuple[int, int], others: Sequence[tuple[int, ...]]
) -> tuple[int, int]:
    """The span within bounds, without what others have."""
    start, end = (min(max(place, bounds[0]), bounds[1]) for place in span)
    for first, last in others:
        if first <= start < last:
            start = last
        elif start < first < end:
            end = first
    return start, max(start, end)
