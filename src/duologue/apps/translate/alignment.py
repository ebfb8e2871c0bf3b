"""Which words of a translation stand for which of its source, by the decoder's attention.

alignment_ask   asks the decoder to say a translation, whoever made it
alignment_of    the answer as an Alignment
Alignment       where a stretch of the text went

The decoder's cross-attention is kept while it says the translation (mean over heads and layers).
Attention is what the model looked at, which is a good but no sure sign of where a word went.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from duologue.apps.batch import Ask, Decoded, score_ask
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


def alignment_ask(
    runtime: Runtime, text: str, translation: str, to: str | None = None, from_: str | None = None
) -> Ask | None:
    """Asks the decoder to say a translation, with its attention; None where it is too long."""
    source = runtime.source(text, "translate", from_, to)
    prefix = runtime.template.prefix("translate", from_, to)
    ids = tuple(runtime.tokenizer.encode(translation))
    room = runtime.config.target_positions - len(prefix.ids) - len(prefix.forced)
    if not ids or len(ids) >= room or len(source.ids) > runtime.config.max_positions:
        return None
    return replace(score_ask(source, prefix, ids), record_attention=True)


def alignment_of(
    runtime: Runtime, ask: Ask, decoded: Decoded, translation: str
) -> Alignment | None:
    """How a text and its translation belong together, from the answer to an alignment_ask.

    None where the model cannot tell.
    """
    attention, source = decoded.finished.attention, ask.source
    ids = runtime.tokenizer.encode(translation)
    if attention is None or source is None or decoded.finished.best.ids != tuple(ids):
        return None
    attention = attention[:, source.start : source.stop]
    if attention.size == 0:
        return None
    pieces = token_spans(runtime.tokenizer, translation, ids)
    # Some tokens, such as full stops, get much of everybody's attention.
    gains = attention / attention.mean(axis=0, keepdims=True).clip(1e-9)
    words = [found.span() for found in _WORD.finditer(translation)]
    rows = [
        gains[inside].mean(axis=0)
        for start, end in words
        if any(inside := [first < end and last > start for first, last in pieces])
    ]
    if len(rows) < len(words) or not rows:
        return None
    shares = np.stack(rows)
    tokens = token_spans(runtime.tokenizer, source.text, source.ids[source.start : source.stop])
    return Alignment(shares / shares.sum(axis=1, keepdims=True).clip(1e-9), words, tokens)
