"""What the decoder looked at: source spans with most of its cross-attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from duologue.explain.offsets import Source, token_spans, whole_words
from duologue.text.tokenizer import TokenBytes
from duologue.types import Span

MAX_EVIDENCE = 5
_MIN_SHARE = 2.0  # a token is evidence from this many times its even share of attention on


def evidence(
    attention: npt.NDArray[np.float32] | None, sources: Sequence[Source], tokenizer: TokenBytes
) -> tuple[Span, ...]:
    """At most MAX_EVIDENCE source spans that got most of the decoder's attention, best first.

    attention  [T, S] float32, rows sum to 1: cross-attention of each produced token over the
               tokens of all sources in a row, mean over heads and layers; None: no evidence

    A span's score is its share of all cross-attention, 0..1, mean over the produced tokens. Spans
    are made of tokens with at least twice an even share; neighbours are merged, and cut words are
    made whole. Attention says where the decoder looked, not what made it decide: read a
    high score as a hint (Jain & Wallace 2019, arXiv:1902.10186).
    """
    if attention is None or attention.size == 0:
        return ()
    shares = attention.mean(axis=0)
    num_text_tokens = sum(source.stop - source.start for source in sources)
    threshold = _MIN_SHARE / max(1, num_text_tokens)
    spans: list[Span] = []
    start = 0
    for segment, source in enumerate(sources):
        own = shares[start + source.start : start + source.stop]
        spans.extend(_segment_evidence(segment, source, own, threshold, tokenizer))
        start += len(source.ids)
    return tuple(sorted(spans, key=lambda span: -span.score)[:MAX_EVIDENCE])


def _segment_evidence(
    segment: int,
    source: Source,
    shares: npt.NDArray[np.float32],
    threshold: float,
    tokenizer: TokenBytes,
) -> list[Span]:
    """The evidence in one segment; shares [tokens of the text] float32."""
    text = source.text
    tokens = token_spans(tokenizer, text, source.ids[source.start : source.stop])
    bounds: list[tuple[int, int]] = []
    for (start, end), share in zip(tokens, shares, strict=True):
        if share < threshold or not text[start:end].strip():
            continue
        start, end = whole_words(text, start, end)
        if bounds and not text[bounds[-1][1] : start].strip():
            start, end = bounds[-1][0], max(end, bounds.pop()[1])
        bounds.append((start, end))
    spans = []
    for start, end in bounds:
        inside = [first < end and last > start for first, last in tokens]
        score = float(shares[np.array(inside)].sum())
        spans.append(Span(segment, start, end, text[start:end], score))
    return spans
