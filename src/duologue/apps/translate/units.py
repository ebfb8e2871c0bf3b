"""A stretch of a text that is translated by itself, and what must stay in it.

Fixed      a stretch that stays as it is
Unit       prose, fixed stretches and marks in order
Masked     a unit as the model reads it, with stand-ins for what is fixed
items_of   a text as such items
slots      items by the pieces of the text that they are in
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from duologue.apps.translate.alignment import Alignment
from duologue.apps.translate.parts import Mark, Parts
from duologue.apps.translate.placeholders import find, tags
from duologue.apps.translate.placing import placed
from duologue.apps.translate.stand_ins import StandIn, chosen


@dataclass(frozen=True)
class Fixed:
    """A stretch that stays as it is: a placeholder, or a mark that shows something."""

    text: str
    is_number: bool = False
    mark: Mark | None = None


class Tag(Mark):
    """A tag that was found in prose, and is prose again afterwards."""


Item = str | Fixed | Mark


@dataclass(frozen=True)
class Placed:
    """An item, and where it stands in the text as a reader sees it."""

    item: Item
    start: int


def items_of(parts: Parts) -> list[Placed]:
    """The parts of a text, with the placeholders and tags in its prose."""
    return [*_placed(_items(parts))]


def _items(parts: Parts) -> Iterator[Item]:
    for number, part in enumerate(parts):
        if isinstance(part, Mark):
            yield Fixed(part.shown, mark=part) if part.shown.strip() else part
            continue
        for piece in tags(part):
            if isinstance(piece, Mark):
                # Pairs of one stretch of prose are none of another, nor of the document.
                pair = None if piece.pair is None else -1 - len(parts) * piece.pair - number
                yield Tag(piece.raw, piece.start, pair)
            else:
                yield from _fixed(piece)


def _fixed(text: str) -> Iterator[Item]:
    reached = 0
    for found in find(text):
        if reached < found.start:
            yield text[reached : found.start]
        yield Fixed(found.text, found.is_number)
        reached = found.end
    if reached < len(text):
        yield text[reached:]


def _placed(items: Iterable[Item]) -> Iterator[Placed]:
    place = 0
    for item in items:
        yield Placed(item, place)
        place += width(item)


def width(item: Item) -> int:
    """How many characters of an item a reader sees."""
    if isinstance(item, str):
        return len(item)
    if isinstance(item, Fixed):
        return len(item.text)
    return len(item.raw) if isinstance(item, Tag) else len(item.shown)


def parts_of(items: Iterable[Item]) -> Parts:
    """Items as parts of a text: what was found in its prose is prose again."""
    result: list[str | Mark] = []
    for item in items:
        part: str | Mark = item if isinstance(item, str | Mark) else item.mark or item.text
        if isinstance(part, Tag):
            part = part.raw
        if isinstance(part, str) and result and isinstance(result[-1], str):
            result[-1] += part
        elif part:
            result.append(part)
    return tuple(result)


@dataclass(frozen=True)
class Masked:
    """A unit as the model reads it.

    marks      with their places in the text
    fixed      what is fixed, with what stands for it
    steps      places in the text, and those of the reader's text that they came from
    """

    text: str
    marks: tuple[tuple[int, Mark], ...]
    fixed: tuple[tuple[StandIn, Fixed], ...]
    steps: tuple[tuple[int, int], ...]

    def holds_all(self, translation: str) -> bool:
        """Whether each stand-in came back exactly once."""
        return all(len(word.pattern.findall(translation)) == 1 for word, _ in self.fixed)

    @property
    def has_inner_marks(self) -> bool:
        """Whether a mark stands between words, so that its place must be found."""
        words = len(self.text.rstrip())
        return any(0 < place < words for place, _ in self.marks)

    def restored(self, translation: str, alignment: Alignment | None) -> list[Item]:
        """The translation with what was fixed and with the marks."""
        return [place.item for place in self.located(translation, alignment)]

    def located(self, translation: str, alignment: Alignment | None) -> list[Placed]:
        """The same items, with the places in the translation that they came from."""
        result: list[Placed] = []
        reached = 0
        for place, mark in placed(self.text, self.marks, translation, alignment):
            start, reached, end = reached, place, place
            if not isinstance(mark, Tag) and mark.shown:  # a blank, which it takes the place of
                if translation[start:end].endswith(" "):
                    end -= 1
                elif translation[place : place + 1] == " ":
                    reached = place + 1
            result += [*self._located(translation[start:end], start), Placed(mark, place)]
        return [*result, *self._located(translation[reached:], reached)]

    def _located(self, prose: str, offset: int) -> Iterator[Placed]:
        found = sorted(
            ((match.span(), fixed) for word, fixed in self.fixed
             for match in word.pattern.finditer(prose)),
            key=lambda item: item[0],
        )  # fmt: skip
        reached = 0
        for (start, end), fixed in found:
            yield Placed(prose[reached:start], offset + reached)
            yield Placed(fixed, offset + start)
            reached = end
        yield Placed(prose[reached:], offset + reached)


@dataclass(frozen=True)
class Unit:
    """A stretch of a text that is translated by itself."""

    items: tuple[Placed, ...]

    def masked(self, attempt: int) -> Masked | None:
        """The unit with stand-ins of a kind; None if there are too few of them."""
        prose = " ".join(p.item for p in self.items if isinstance(p.item, str))
        fixed = [p.item for p in self.items if isinstance(p.item, Fixed)]
        words = chosen(prose, [item.is_number for item in fixed], attempt)
        if words is None:
            return None
        text, left = "", iter(words)
        marks: list[tuple[int, Mark]] = []
        steps: list[tuple[int, int]] = []
        for place in self.items:
            item = place.item
            steps.append((len(text), place.start))
            if isinstance(item, str):
                text += item
            elif isinstance(item, Fixed):
                text += next(left).word
            else:
                marks.append((len(text), item))
                text += "" if isinstance(item, Tag) else item.shown
        return Masked(text, tuple(marks), tuple(zip(words, fixed, strict=True)), tuple(steps))

    def runs(self) -> Iterator[Unit | Fixed]:
        """The unit in pieces: what is fixed, and what stands between."""
        run: list[Placed] = []
        for place in self.items:
            if isinstance(place.item, Fixed):
                if run:
                    yield Unit(tuple(run))
                yield place.item
                run = []
            else:
                run.append(place)
        if run:
            yield Unit(tuple(run))


def slots(items: Sequence[Placed], pieces: Sequence[tuple[int, int]]) -> list[list[Placed]]:
    """The items of each piece of the reader's text, and of the gaps around the pieces.

    Gaps and pieces in turn, a gap first and last. Half of a pair that stands in a gap goes to the
    piece whose words it is about.
    """
    result: list[list[Placed]] = [[] for _ in range(2 * len(pieces) + 1)]
    borders = [border for piece in pieces for border in piece]
    for place in items:
        item, size = place.item, width(place.item)
        slot = bisect_right(borders, place.start)
        if isinstance(item, str):
            reached = 0
            while reached < size:
                end = borders[slot] - place.start if slot < len(borders) else size
                if end > reached:
                    result[slot].append(Placed(item[reached:end], place.start + reached))
                reached, slot = max(end, reached), slot + 1
        elif isinstance(item, Mark) and slot % 2 == 0:
            is_closing = item.pair is not None and any(
                isinstance(other.item, Mark) and other.item.pair == item.pair
                for earlier in result
                for other in earlier
            )
            is_at_end = slot > 0 and borders[slot - 1] == place.start
            if slot > 0 and (is_closing or (is_at_end and item.pair is None)):
                slot -= 1
            elif item.pair is not None and slot + 1 < len(result):
                slot += 1
            result[slot].append(place)
        else:
            result[slot].append(place)
    return result
