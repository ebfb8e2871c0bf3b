"""How sure a result is, and whether it goes round in circles.

Explanation        what is known of a reply
confidence         of a whole result; token_confidences: of each piece
has_loop           whether a text repeats a phrase to no purpose
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duologue.engine.search import Hypothesis
from duologue.text.tokenizer import FIRST_CJK, StreamDecoder, TokenBytes
from duologue.types import Span

_MAX_PERIOD = 64
_MIN_COPIES, _MIN_LOOP = 3, 6
_WORD = re.compile(rf"[{FIRST_CJK}-\U0010ffff]|[^\W{FIRST_CJK}-\U0010ffff]+")


@dataclass(frozen=True)
class Explanation:
    """Why a reply is what it is.

    confidence  geometric mean of its token probabilities
    tokens      (piece of text, probability): the pieces in a row are the text; a piece that takes
                several tokens has the product of their probabilities
    evidence    see evidence()
    influence   see erasure.influence(); empty if it was not asked for
    turns       the same of whole turns, where several are remembered
    """

    text: str
    confidence: float
    tokens: tuple[tuple[str, float], ...]
    evidence: tuple[Span, ...]
    influence: tuple[Span, ...] = ()
    turns: tuple[Span, ...] = ()


def confidence(hypotheses: Sequence[Hypothesis]) -> float:
    """Geometric mean of all token probabilities, end tokens included, 0..1."""
    logprob = sum(hypothesis.logprob for hypothesis in hypotheses)
    return math.exp(logprob / max(1, sum(hypothesis.num_scored for hypothesis in hypotheses)))


def token_confidences(
    tokenizer: TokenBytes, hypothesis: Hypothesis
) -> tuple[tuple[str, float], ...]:
    """Pieces of text with their probabilities; see Explanation.tokens."""
    stream = StreamDecoder(tokenizer)
    pieces: list[tuple[str, float]] = []
    pending = 0.0
    for idx, logprob in zip(hypothesis.ids, hypothesis.token_logprobs, strict=True):
        pending += logprob
        if text := stream.push(idx):
            pieces.append((text, math.exp(pending)))
            pending = 0.0
    if rest := stream.flush():
        pieces.append((rest, math.exp(pending)))
    return tuple(pieces)


def has_loop(text: str) -> bool:
    """Whether a phrase stands three times or more in a row and fills six words or more.

    A character of a script without blanks counts as a word; case and punctuation do not count.
    """
    words = _WORD.findall(text.casefold())
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    sequence = np.array([numbers[word] for word in words], dtype=np.int64)
    for period in range(1, min(len(words) // _MIN_COPIES, _MAX_PERIOD) + 1):
        wanted = max(_MIN_COPIES * period, _MIN_LOOP) - period
        if _longest_run(sequence[period:] == sequence[:-period]) >= wanted:
            return True
    return False


def _longest_run(flags: npt.NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(~np.concatenate(([False], flags, [False])))
    return int(np.diff(edges).max()) - 1
