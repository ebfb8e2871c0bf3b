"""A stretch of a text and the value that it says; readers of what was cut into pieces.

Found      what every recogniser returns
longest    of overlapping ones those that stay
words_of   a table of words, written as one text
Pieces     the words of a text, or its characters where a script has no blanks, with their places
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

LANGUAGES = ("en", "zh", "de")
# Words, numbers with their separators, times with a colon; every Chinese character by itself.
_PIECE = re.compile(
    r"\d+(?:[.,:]\d+)*|[\u3400-\u9fff]|[^\W\d_\u3400-\u9fff]+(?:['’][^\W\d_]+)?|[^\w\s]|_"
)


@dataclass(frozen=True)
class Found:
    """text[start:end] says `value`, which is ready for JSON.

    kind  number: int or float; duration: seconds; time: "15:30"; date: "2026-03-05"
    """

    start: int
    end: int
    kind: str
    value: Any

    @property
    def size(self) -> int:
        """How many characters it covers."""
        return self.end - self.start


def words_of(text: str) -> list[str]:
    """The words of a table that is written as one text."""
    return text.split()


def longest(found: Iterable[Found]) -> list[Found]:
    """Of those that overlap the longest, the first one of equals; in the order of the text."""
    kept: list[Found] = []
    for item in sorted(found, key=lambda item: (-item.size, item.start)):
        if all(item.end <= other.start or item.start >= other.end for other in kept):
            kept.append(item)
    return sorted(kept, key=lambda item: item.start)


@dataclass(frozen=True)
class Piece:
    """One word, number, sign or Chinese character; `text` is casefolded."""

    text: str
    start: int
    end: int


class Pieces(Sequence[Piece]):
    """A text in pieces. Asking behind the end gives an empty word, which matches nothing."""

    _NONE = Piece("", 0, 0)

    def __init__(self, text: str) -> None:
        self.text = text
        self._pieces = [Piece(m[0].casefold(), m.start(), m.end()) for m in _PIECE.finditer(text)]

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, index: Any) -> Any:
        return self._pieces[index] if 0 <= index < len(self._pieces) else self._NONE

    def word(self, index: int) -> str:
        """The piece at an index; empty outside of the text."""
        piece: Piece = self[index]
        return piece.text

    def words(self, index: int, count: int) -> str:
        """So many pieces from an index on, with blanks between them."""
        return " ".join(piece.text for piece in self._pieces[index : index + count])

    def found(self, first: int, stop: int, kind: str, value: Any) -> Found:
        """The pieces first..stop-1 as a Found."""
        return Found(self._pieces[first].start, self._pieces[stop - 1].end, kind, value)
