"""Which token comes next: scores of a step, logit filters, and the seeded choice.

Scores           what one decoding step says of the next token of some rows
filter_repeats   repetition penalty and no-repeat n-grams; look at what was produced so far
Sampler          temperature, top-k, top-p and one random number per token

A filter sets the logits of the ids it forbids to -inf. Ids that carry no text (padding, roles,
tasks) are taken out once, in Scores.of; end tokens are never forbidden by a repeat filter. All that
a request forbids comes together in rules.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duologue.types import Options

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_PIECE = 64
_COLDEST = 1e-30  # the coldest temperature that float32 still divides by


@dataclass(frozen=True, eq=False)
class Scores:
    """What one decoding step says of the next token of each row.

    logits    [B, V] float32; ids that are never produced hold -inf
    best      [B] the most likely id of each row (the smallest of equals)
    log_norm  [B] logits - log_norm are natural log-probabilities
    """

    logits: Floats
    best: list[int]
    log_norm: list[float]

    @classmethod
    def of(cls, logits: Floats, suppressed_ids: Sequence[int]) -> Scores:
        """Scores of logits [B, V], which are changed: suppressed_ids become impossible.

        The formula of what Forward.score computes.
        """
        logits[:, np.asarray(suppressed_ids, dtype=np.int64)] = -np.inf
        highest = logits.max(axis=1)
        log_norm = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
        return cls(logits, logits.argmax(axis=1).tolist(), log_norm.tolist())

    def without(self, ids: Sequence[int]) -> Scores:
        """The same scores, with `ids` made impossible in logits; no probability grows by that."""
        if not ids:
            return self
        self.logits[:, list(ids)] = -np.inf
        gone = set(ids)
        best = [
            int(self.logits[row].argmax()) if idx in gone else idx
            for row, idx in enumerate(self.best)
        ]
        return Scores(self.logits, best, self.log_norm)

    def logprob(self, row: int, idx: int) -> float:
        """Natural log-probability of one id in one row, before any filter."""
        return float(self.logits[row, idx]) - self.log_norm[row]


def log_softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Natural log-probabilities of one row of logits [n], in float64."""
    shifted = logits.astype(np.float64) - logits.max()
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return result


# --- filters -----------------------------------------------------------------------------------


def has_repeat_filter(options: Options) -> bool:
    """Whether filter_repeats would do anything."""
    return options.repetition_penalty != 1 or options.no_repeat_ngram_size > 0


def filter_repeats(
    logits: Floats, ids: Sequence[int], options: Options, eos_ids: Sequence[int]
) -> Floats:
    """A copy of one row of logits [V], with what would repeat `ids` made unlikely or impossible.

    ids      what this hypothesis has produced so far; neither prefix nor source count
    eos_ids  are left as they are

    Repetition penalty of Keskar et al. 2019 (arXiv:1909.05858, section 4.1). We differ for
    negative logits: they are multiplied, so that a penalty above 1 always lowers a token.
    """
    logits = logits.copy()
    ends = logits[list(eos_ids)]
    if options.repetition_penalty != 1 and ids:
        seen = np.unique(np.asarray(ids, dtype=np.int64))
        penalty = np.float32(options.repetition_penalty)
        logits[seen] = np.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
    if options.no_repeat_ngram_size > 0:
        logits[ngram_endings(ids, options.no_repeat_ngram_size)] = -np.inf
    logits[list(eos_ids)] = ends
    return logits


def ngram_endings(ids: Sequence[int], size: int) -> list[int]:
    """The ids that would complete an n-gram of `size` that `ids` already hold."""
    ids = list(ids)
    tail = ids[len(ids) - size + 1 :] if len(ids) >= size else None
    return [
        ids[start + size - 1]
        for start in range(len(ids) - size + 1)
        if ids[start : start + size - 1] == tail
    ]


# --- choice ------------------------------------------------------------------------------------


def lower_bounds(logits: Floats, count: int) -> Floats:
    """For each row of logits [B, V] a value that at least `count` entries reach, or -inf [B].

    The `count` largest are among those that reach it, and mostly little else: the bound is the
    count-th largest of the maxima of pieces of the row, which takes a fraction of the time of a
    partition of the row itself. A piece is every num_pieces-th entry, so that the maxima of all
    pieces are taken side by side.
    """
    num_rows, vocab_size = logits.shape
    num_pieces = vocab_size // _PIECE
    if num_pieces >= count:
        whole = logits[:, : num_pieces * _PIECE]
        logits = whole.reshape(num_rows, _PIECE, num_pieces).max(axis=1)
    place = min(count, logits.shape[1])
    bounds: Floats = np.partition(logits, -place, axis=1)[:, -place]
    return bounds


def top_k_ids(logits: Floats, k: int) -> Ints:
    """Ids of the k largest logits [V], ascending; equals of the k-th are in, too. 0: all ids."""
    if k == 0 or k >= len(logits):
        return np.arange(len(logits))
    candidates = np.flatnonzero(logits >= lower_bounds(logits[None], k)[0])
    values = logits[candidates]
    kept: Ints = candidates[values >= np.partition(values, -k)[-k]]
    return kept


def top_p_ids(logits: Floats, p: float) -> Ints:
    """Ids of the smallest likeliest set that reaches probability p. 1: all ids.

    Nucleus sampling of Holtzman et al. 2019 (arXiv:1904.09751, section 3.1). What is less likely
    than (1 - p) / V is outside of that set whatever else there is, so only the rest is sorted.
    """
    if p >= 1:
        return np.arange(len(logits))
    weights = np.exp(logits - logits.max())
    total = weights.sum(dtype=np.float64)
    candidates = np.flatnonzero(weights >= (1 - p) / len(logits) * total)
    order = candidates[np.argsort(-weights[candidates], kind="stable")]
    reached = np.cumsum(weights[order], dtype=np.float64)
    kept: Ints = order[: int(np.searchsorted(reached, p * total)) + 1]
    return kept


class Sampler:
    """Draws tokens; the n-th draw depends on the seed and the n-th logits, and on nothing else.

    Temperature comes first, then top-k, then top-p among what top-k left.

    number  which of the samples of one request this is; each has random numbers of its own, and
            the first those of the seed itself
    """

    def __init__(self, options: Options, number: int = 0) -> None:
        self._options = options
        key = (number,) if number else ()
        self._random = np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=key))

    def choose(self, logits: Floats) -> int:
        """One id from a row of logits [V]; ids at -inf are never chosen. One random number."""
        options = self._options
        # Measured from the highest down, a tiny temperature gives 0 and -inf, never NaN.
        with np.errstate(over="ignore"):
            scaled = (logits - logits.max()) / np.float32(max(options.temperature, _COLDEST))
        ids = top_k_ids(scaled, options.top_k)
        ids = ids[top_p_ids(scaled[ids], options.top_p)]
        reached = np.cumsum(np.exp(scaled[ids]), dtype=np.float64)
        # To the right: an id of probability 0 has no width and cannot be hit.
        place = np.searchsorted(reached, self._random.random() * reached[-1], side="right")
        return int(ids[place])
