"""Stretches of sources that may be left out: whole segments, clauses, words.

Unit       a run of tokens of one segment, and where it stands in the text
words_of   the words of a source; in scripts without blanks, its tokens
clauses_of words in a row up to a sign that ends a clause
joined     a run of units as one
grouped    a list of units as fewer, by joining neighbours
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from duologue.explain.offsets import Source, token_spans, whole_words
from duologue.text.tokenizer import TokenBytes
from duologue.types import Span

_CLAUSE_END = re.compile(r"""[.!?;,:。！？；，：、…]["')\]’”»」』）》]*$|[\r\n]""")
_CLAUSE_WORDS = 2  # shorter clauses are joined to the next one


@dataclass(frozen=True)
class Unit:
    """ids[first:last] of the source of a segment, without outer blanks text[start:end]."""

    segment: int
    first: int
    last: int
    start: int
    end: int

    @property
    def num_tokens(self) -> int:
        """How many ids it has."""
        return self.last - self.first

    def span(self, source: Source, score: float) -> Span:
        """The unit with a score."""
        return Span(self.segment, self.start, self.end, source.text[self.start : self.end], score)


def words_of(source: Source, segment: int, tokenizer: TokenBytes) -> list[Unit]:
    """The words in order; together they are all tokens of the text, blanks those of the next word.

    Tokens that cut a word belong together.
    """
    text = source.text
    units: list[Unit] = []
    spans = token_spans(tokenizer, text, source.ids[source.start : source.stop])
    for place, (start, end) in enumerate(spans, source.start):
        if not text[start:end].strip():
            continue
        start, end = whole_words(text, start, end)
        first = units[-1].last if units else source.start
        if units and start < units[-1].end:
            word = units.pop()
            first, start, end = word.first, word.start, max(end, word.end)
        units.append(Unit(segment, first, place + 1, start, end))
    if units:
        units.append(replace(units.pop(), last=source.stop))
    return units


def clauses_of(words: Sequence[Unit], source: Source) -> list[list[Unit]]:
    """The words of each clause; together they are all words.

    Signs are not grammar: a list of things is cut as well.
    """
    clauses: list[list[Unit]] = []
    open_words: list[Unit] = []
    for place, word in enumerate(words):
        open_words.append(word)
        after = words[place + 1].start if place + 1 < len(words) else len(source.text)
        ends = _CLAUSE_END.search(source.text[word.start : after].rstrip(" \t"))
        if ends and len(open_words) >= _CLAUSE_WORDS:
            clauses.append(open_words)
            open_words = []
    if open_words:
        clauses.append(open_words)
    return clauses


def joined(units: Sequence[Unit]) -> Unit:
    """Neighbours of one segment as one unit."""
    first, last = units[0], units[-1]
    return Unit(first.segment, first.first, last.last, first.start, last.end)


def grouped(units: Sequence[Unit], most: int) -> list[list[Unit]]:
    """Runs of neighbours, of about the same length and at most so many."""
    most = min(most, len(units))
    bounds = [round(number * len(units) / most) for number in range(most + 1)] if units else [0]
    return [list(units[a:b]) for a, b in pairwise(bounds)]
