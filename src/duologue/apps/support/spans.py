"""Nothing but what stands in the passages: a rule for decoding, so that an answer can be cited.

SpanRule   allows the spans of some texts, from the start of a word to the end of one
Pieces     the tokens of a model by their bytes
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from duologue.engine.sampling import Floats
from duologue.text.tokenizer import FIRST_CJK, with_lead

_OPENING = ("Ps", "Pi", "Pd", "Sc")  # brackets, quotation marks, dashes, currencies
_ALSO_OPENING = "\"'#@+/"


class _Vocabulary(Protocol):
    vocab_size: int

    def token_bytes(self, idx: int) -> bytes: ...


class Pieces:
    """The tokens of a model by their bytes, to find those that a text can go on with."""

    def __init__(self, tokenizer: _Vocabulary) -> None:
        self.bytes_of = [tokenizer.token_bytes(idx) for idx in range(tokenizer.vocab_size)]
        self._ids: defaultdict[bytes, list[int]] = defaultdict(list)
        for idx, piece in enumerate(self.bytes_of):
            if piece and 0 not in piece:  # NUL parts texts
                self._ids[piece].append(idx)
        self._lengths = sorted({len(piece) for piece in self._ids})

    def beginning(self, data: bytes, start: int, lead: bytes = b"") -> Iterator[int]:
        """Ids of the tokens that `lead` and then data[start:] begins with."""
        for length in self._lengths:
            size = length - len(lead)
            if start + size > len(data):
                return
            if size >= 0:
                yield from self._ids.get(lead + data[start : start + size], ())


class SpanRule:
    """Allows the spans of texts and nothing else; see engine.rules.TokenRule.

    pieces   of the model's tokenizer
    texts    none of which holds a NUL
    eos_ids  what ends a span

    How a span is cut into tokens is left to the model: all spellings of it are allowed.
    """

    def __init__(self, pieces: Pieces, texts: Sequence[str], eos_ids: Sequence[int]) -> None:
        self._pieces = pieces
        self._eos_ids = list(eos_ids)
        self._data = b"\0".join(text.encode() for text in texts)
        self._starts: list[int] = []
        self._leads: dict[int, bytes] = {}
        self._ends: set[int] = set()
        offset = 0
        for text in texts:
            self._mark(text, offset)
            offset += len(text.encode()) + 1
        self._allowed = lru_cache(maxsize=256)(self._find_allowed)

    def apply(self, logits: Floats, ids: tuple[int, ...]) -> Floats:
        """See TokenRule."""
        allowed = self._allowed(ids)
        kept = logits[allowed]
        logits[:] = -np.inf
        logits[allowed] = kept
        return logits

    def _mark(self, text: str, offset: int) -> None:
        """Note where words of a text start and end, in bytes."""
        place = offset
        before = " "
        for char in text:
            if _can_begin(char) and not (_in_word(before) and _in_word(char)):
                self._starts.append(place)
                self._leads[place] = with_lead(char).encode()[: -len(char.encode())]
            if not before.isspace() and not (_in_word(before) and _in_word(char)):
                self._ends.add(place)
            place += len(char.encode())
            before = char
        if not before.isspace():
            self._ends.add(place)

    def _find_allowed(self, ids: tuple[int, ...]) -> list[int]:
        produced = b"".join(self._pieces.bytes_of[idx] for idx in ids)
        span = produced.removeprefix(b" ")
        allowed: set[int] = set()
        if not span:
            for start in self._starts:
                lead = b"" if produced else self._leads[start]
                allowed.update(self._pieces.beginning(self._data, start, lead))
        says_something = any(char.isalnum() for char in span.decode(errors="ignore"))
        for end in self._ends_of(span) if span else ():
            if end in self._ends and says_something:
                allowed.update(self._eos_ids)
            allowed.update(self._pieces.beginning(self._data, end))
        return sorted(allowed)

    def _ends_of(self, span: bytes) -> Iterator[int]:
        start = self._data.find(span)
        while start >= 0:
            if start in self._leads:
                yield start + len(span)
            start = self._data.find(span, start + 1)


def find_span(text: str, span: str) -> int:
    """Where a span stands in a text, from the start of a word to the end of one; -1: nowhere."""
    start = text.find(span)
    while start >= 0:
        end = start + len(span)
        cuts_start = start > 0 and _in_word(text[start - 1]) and _in_word(span[:1])
        cuts_end = end < len(text) and _in_word(span[-1:]) and _in_word(text[end])
        if not cuts_start and not cuts_end:
            return start
        start = text.find(span, start + 1)
    return -1


def _can_begin(char: str) -> bool:
    """Whether an answer may begin with a character: not with what ends or parts sentences."""
    kind = unicodedata.category(char)
    return char.isalnum() or kind in _OPENING or char in _ALSO_OPENING


def _in_word(char: str) -> bool:
    """Whether a character is inside of what blanks and marks separate."""
    return char.isalnum() and char < FIRST_CJK
