"""Which words of a translation stand for which of its source, by the decoder's attention.

align       a text and its translation, whoever made it
Alignment   where a stretch of the text went

The decoder is fed the translation, and its cross-attention is kept (mean over heads and layers).
Attention is what the model looked at, which is a good but no sure sign of where a word went.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duologue.errors import EngineError, InputError
from duologue.explain import token_spans
from duologue.runtime import Runtime
from duologue.text.tokenizer import FIRST_CJK

# A word is taken if its share on the stretch is this much of the way from an even share to all.
_LEAST = 0.2
_WORD = re.compile(rf"[{FIRST_CJK}-\U0010ffff]|[^\W{FIRST_CJK}-\U0010ffff]+(?:['’.-]\w+)*")

Spans = list[tuple[int, int]]


@dataclass(frozen=True)
class Alignment:
    """The words of a translation and how they share their attention.

    shares   [words, tokens] float32: share of each source token, rows sum to 1
    words    where each word stands in the translation
    tokens   where each token stands in the text
    """

    shares: npt.NDArray[np.float32]
    words: Spans
    tokens: Spans

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        """Where a stretch of the text went: words in a row; None where nothing tells."""
        inside = np.array([first < end and last > start for first, last in self.tokens])
        if not self.words or not inside.any():
            return None
        even = float(inside.mean())
        gains = self.shares[:, inside].sum(axis=1) - (even + _LEAST * (1 - even))
        first, last = _best_run(gains)
        return self.words[first][0], self.words[last][1]


def _best_run(gains: npt.NDArray[np.float32]) -> tuple[int, int]:
    """First and last of the neighbours with the greatest sum (Bentley 1984)."""
    best, run, first = -np.inf, 0.0, 0
    found = (0, 0)
    for place, gain in enumerate(gains.tolist()):
        if run <= 0:
            run, first = 0.0, place
        run += gain
        if run > best:
            best, found = run, (first, place)
    return found


def align(
    runtime: Runtime, text: str, translation: str, to: str | None = None, from_: str | None = None
) -> Alignment | None:
    """How a text and its translation belong together; None where the model cannot tell."""
    try:
        attention, tokens, pieces = _attention(runtime, text, translation, to, from_)
    except (EngineError, InputError):
        return None  # longer than the model can read, or no room for it now
    if attention.size == 0:
        return None
    # Some tokens, such as full stops, get much of everybody's attention.
    gains = attention / attention.mean(axis=0, keepdims=True).clip(1e-9)
    words = [found.span() for found in _WORD.finditer(translation)]
    rows = [
        gains[[first < end and last > start for first, last in pieces]].mean(axis=0)
        for start, end in words
        if any(first < end and last > start for first, last in pieces)
    ]
    if len(rows) < len(words) or not rows:
        return None
    shares = np.stack(rows)
    return Alignment(shares / shares.sum(axis=1, keepdims=True).clip(1e-9), words, tokens)


def _attention(
    runtime: Runtime, text: str, translation: str, to: str | None, from_: str | None
) -> tuple[npt.NDArray[np.float32], Spans, Spans]:
    """Attention [target tokens, source tokens] and where the tokens of both sides stand."""
    source = runtime.source(text, "translate", from_, to)
    prefix = runtime.template.prefix("translate", from_, to)
    ids = runtime.tokenizer.encode(translation)
    fed = [*prefix.ids, *prefix.forced, *ids]
    if len(fed) > runtime.config.target_positions:
        raise InputError("the translation is too long")
    reading = runtime.read(source)
    if reading.unread:
        raise InputError("the text is too long")
    state = runtime.forward.start(reading.memory, record_attention=True)
    for idx in fed[:-1]:
        runtime.forward.decode_step([state], [idx])
    first = len(fed) - len(ids) - 1
    rows = state.attention()[first : first + len(ids), source.start : source.stop]
    tokens = token_spans(runtime.tokenizer, text, source.ids[source.start : source.stop])
    return rows, tokens, token_spans(runtime.tokenizer, translation, ids)
