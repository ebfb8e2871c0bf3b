"""Translations with a known fault, made of pairs whose parts are known.

Item          two to four pairs of a data set as one text and its translation
pairs_of      the pairs of a data set, in one direction; items: made of them
Case, plant   an item with one fault: see KINDS
is_gone       whether a text has a fault no more
words         the words of a text, to see which of them another text has

Pairs are joined as sentences, or, without their full stops, as clauses of one sentence.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from duologue.apps.translate.signs import repeats

KINDS = ("delete", "swap", "repeat", "truncate")
_ENDS = ".!?。！？…"
_CHARS = {"zh": (4, 60)}  # fewest and most of a part; parts of others:
_OTHER_CHARS = (10, 140)
_WORD = re.compile(r"[\u2e80-\U0010ffff]|[^\W\u2e80-\U0010ffff]+")
_STEM = 5


@dataclass(frozen=True)
class Item:
    """Parts of a source and of its translation, pair by pair.

    other  a part of the translation of something else
    """

    set: str
    direction: str
    style: str
    source: tuple[str, ...]
    target: tuple[str, ...]
    other: str

    @property
    def languages(self) -> tuple[str, str]:
        """From, to."""
        from_, to = self.direction.split("-")
        return from_, to


@dataclass(frozen=True)
class Case:
    """An item and a translation of it with a fault.

    kind         of KINDS, or "clean"
    place        which part it is about
    said         for each part of the source what is said of it
    bad_source   (start, end) in the source of what is not said; None: all is said
    bad_target   (start, end) in the translation of what is too much; None: nothing is
    """

    item: Item
    kind: str
    place: int
    said: tuple[tuple[str, ...], ...]
    bad_source: tuple[int, int] | None = None
    bad_target: tuple[int, int] | None = None

    @property
    def source_text(self) -> str:
        """All parts of the source."""
        return _blank(self.item.languages[0]).join(self.item.source)

    @property
    def text(self) -> str:
        """All that is said."""
        return self.said_of(0, len(self.source_text))

    def said_of(self, start: int, end: int) -> str:
        """What is said of the parts of the source that begin between two of its characters."""
        from_, to = self.item.languages
        parts = [
            text
            for place, texts in enumerate(self.said)
            if start <= _bounds(self.item.source, place, from_)[0] < end
            for text in texts
        ]
        return _blank(to).join(parts)


def items(
    file: Path, split: str, direction: str, number: int, random_: random.Random
) -> list[Item]:
    """So many items of one split of a data file; fewer if it has not enough pairs."""
    from_, to = direction.split("-")
    pairs = [
        (source, target)
        for source, target in pairs_of(file, split, direction)
        if _fits(source, from_) and _fits(target, to)
    ]
    random_.shuffle(pairs)
    found: list[Item] = []
    while len(found) < number:
        size, style = random_.choice((2, 3, 4)), random_.choice(("sentences", "clauses"))
        taken, pairs = pairs[: size + 1], pairs[size + 1 :]
        if len(taken) <= size:
            break
        *own, (_, other) = taken
        source = _joinable([a for a, _ in own], from_, style)
        target = _joinable([b for _, b in own], to, style)
        foreign = _joinable([other, other], to, style)[0]
        name = file.name.partition(".")[0]
        found.append(Item(name, direction, style, source, target, foreign))
    return found


def plant(item: Item, kind: str, target: Sequence[str], random_: random.Random) -> Case:
    """A case: a fault of some kind in a translation with a part for each part of the source.

    delete    a part is not said          swap      a part of another text is said in its place
    repeat    a part is said twice        truncate  the last part ends in the middle
    """
    said = [(part,) for part in target]
    from_, to = item.languages
    place = len(said) - 1 if kind == "truncate" else random_.randrange(len(said))
    bad_source: tuple[int, int] | None = _bounds(item.source, place, from_)
    bad_target: tuple[int, int] | None = None
    if kind == "clean":
        bad_source = None
    elif kind == "delete":
        said[place] = ()
    elif kind == "truncate":
        said[place] = (_half(target[place], to),)
    elif kind == "repeat":
        said[place] *= 2
        bad_source, bad_target = None, _bounds([*target[: place + 1], target[place]], place + 1, to)
    else:
        said[place] = (item.other,)
        bad_target = _bounds([*target[:place], item.other], place, to)
    return Case(item, kind, place, tuple(said), bad_source, bad_target)


def pairs_of(file: Path, split: str, direction: str) -> Iterator[tuple[str, str]]:
    """(source, translation) of one split, in one direction; both sides as they are."""
    from_, to = direction.split("-")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["split"] != split or {row["src_lang"], row["tgt_lang"]} != {from_, to}:
                continue
            pair = row["source"].strip(), row["target"].strip()
            source, target = pair if row["src_lang"] == from_ else pair[::-1]
            yield source, target


def words(text: str) -> set[str]:
    """The words of a text without their endings; Chinese characters one by one."""
    return {word.casefold()[:_STEM] for word in _WORD.findall(text)}


def _fits(text: str, language: str) -> bool:
    least, most = _CHARS.get(language, _OTHER_CHARS)
    return least <= len(text) <= most and "\n" not in text


def _joinable(parts: Sequence[str], language: str, style: str) -> tuple[str, ...]:
    stop, comma = ("。", "，") if language == "zh" else (".", ",")
    if style == "sentences":
        return tuple(p if p[-1] in _ENDS + "\"”'’)）" else p + stop for p in parts)
    bare = [part.rstrip(_ENDS) or part for part in parts]
    return (*(part + comma for part in bare[:-1]), bare[-1] + stop)


def _half(part: str, language: str) -> str:
    bare = part.rstrip(_ENDS)
    if language == "zh":
        return bare[: max(1, len(bare) // 2)]
    words = bare.split()
    return " ".join(words[: max(1, len(words) // 2)])


def _bounds(parts: Sequence[str], place: int, language: str) -> tuple[int, int]:
    before = len(_blank(language).join([*parts[:place], ""]))
    return before, before + len(parts[place])


def _blank(language: str) -> str:
    return "" if language == "zh" else " "


def is_gone(case: Case, text: str, clean: Case) -> bool:
    """Whether a planted fault is not in a text any more, without asking the check again.

    What was said twice is not. Of the words of an exchanged part at most half are there. Of what
    was lost more than half is back: of its words as the model or a person has them, or as many
    others, because the model may say it in other words when it is asked again. What is said over
    and over counts once.
    """
    if case.kind == "repeat":
        return not repeats(case.source_text, text)
    there, before, whole = words(text), words(case.text), words(clean.text)
    strange = words(case.item.other) - whole
    if case.kind == "swap" and _is_most(strange & there, strange):
        return False
    for part in (*clean.said[case.place], case.item.target[case.place]):
        lost = words(part) - before
        if _is_most(lost & there, lost):
            return True
    enough = 0.8 * len(whole) if case.kind == "swap" else (len(whole) + len(before)) / 2
    return len(there) >= enough


def _is_most(some: set[str], words_: set[str]) -> bool:
    return len(some) > len(words_) / 2
