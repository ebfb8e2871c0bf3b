"""Which token comes next: scores of a step, logit filters, and the seeded choice.

Scores           what one decoding step says of the next token of some rows
filter_repeats   repetition penalty and no-repeat n-grams; look at what was produced so far
Sampler          temperature, top-k, top-p and one random number per token

A filter sets the logits of the ids it forbids to -inf. Ids that carry no text (padding, roles,
tasks) are taken out once, in Scores.of; the end token is never forbidden by a repeat filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duologue.types import Options

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Scores:
    """What one decoding step says of the next token of each row.

    logits    [B, V] float32; ids that are never produced hold -inf
    best      [B] int64, the most likely id of each row (the smallest of equals)
    log_norm  [B] float32; logits - log_norm are natural log-probabilities
    """

    logits: Floats
    best: Ints
    log_norm: Floats

    @classmethod
    def of(cls, logits: Floats, suppressed_ids: Ints) -> Scores:
        """Scores of logits [B, V], which are changed: suppressed_ids become impossible."""
        logits[:, suppressed_ids] = -np.inf
        best = logits.argmax(axis=1)
        highest = logits[np.arange(len(logits)), best]
        shifted = logits - highest[:, None]
        np.exp(shifted, out=shifted)
        return cls(logits, best, highest + np.log(shifted.sum(axis=1)))

    def rows(self, start: int, stop: int) -> Scores:
        """The scores of rows start..stop; views, nothing is copied."""
        return Scores(self.logits[start:stop], self.best[start:stop], self.log_norm[start:stop])

    def logprob(self, row: int, idx: int) -> float:
        """Natural log-probability of one id in one row, before any filter."""
        return float(self.logits[row, idx] - self.log_norm[row])


def log_softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Natural log-probabilities of one row of logits [n], in float64."""
    shifted = logits.astype(np.float64) - logits.max()
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return result


# --- filters -----------------------------------------------------------------------------------


def has_repeat_filter(options: Options) -> bool:
    """Whether filter_repeats would do anything."""
    return options.repetition_penalty != 1 or options.no_repeat_ngram_size > 0


def filter_repeats(logits: Floats, ids: Sequence[int], options: Options, eos_id: int) -> Floats:
    """A copy of one row of logits [V], with what would repeat `ids` made unlikely or impossible.

    ids  what this hypothesis has produced so far; neither prefix nor source count

    Repetition penalty of Keskar et al. 2019 (arXiv:1909.05858, section 4.1). We differ for
    negative logits: they are multiplied, so that a penalty above 1 always lowers a token.
    """
    logits = logits.copy()
    end = logits[eos_id]
    if options.repetition_penalty != 1 and ids:
        seen = np.unique(np.asarray(ids, dtype=np.int64))
        penalty = np.float32(options.repetition_penalty)
        logits[seen] = np.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
    if options.no_repeat_ngram_size > 0:
        logits[ngram_endings(ids, options.no_repeat_ngram_size)] = -np.inf
    logits[eos_id] = end
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


def keep_top_k(logits: Floats, k: int) -> Floats:
    """Logits [V] with all but the k largest at -inf; equals of the k-th stay too. 0 keeps all."""
    if k == 0 or k >= len(logits):
        return logits
    threshold = np.partition(logits, -k)[-k]
    return np.where(logits >= threshold, logits, np.float32(-np.inf))


def keep_top_p(logits: Floats, p: float) -> Floats:
    """Logits [V] with all but the smallest likeliest set that reaches probability p at -inf.

    Nucleus sampling of Holtzman et al. 2019 (arXiv:1904.09751, section 3.1). Tokens below
    (1 - p) / V are outside of that set whatever else there is, so that only the rest is sorted.
    """
    if p >= 1:
        return logits
    probabilities = np.exp(log_softmax(logits))
    candidates = np.flatnonzero(probabilities >= (1 - p) / len(logits))
    order = candidates[np.argsort(-probabilities[candidates], kind="stable")]
    reached = np.cumsum(probabilities[order])
    kept = order[: int(np.searchsorted(reached, p)) + 1]
    filtered = np.full_like(logits, -np.inf)
    filtered[kept] = logits[kept]
    return filtered


# --- choice ------------------------------------------------------------------------------------


class Sampler:
    """Draws tokens; the n-th draw depends on the seed and the n-th logits, and on nothing else.

    Raises nothing; temperature 0 takes the likeliest token and draws no random number.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._random = np.random.default_rng(options.seed)

    def choose(self, logits: Floats) -> int:
        """One id from a row of logits [V]; ids at -inf are never chosen."""
        options = self._options
        if options.temperature == 0:
            return int(logits.argmax())
        # Scaled in float64 from the highest down: a tiny temperature gives 0 and -inf, never NaN.
        scaled = logits.astype(np.float64) - logits.max()
        with np.errstate(over="ignore"):
            scaled = (scaled / options.temperature).astype(np.float32)
        kept = keep_top_p(keep_top_k(scaled, options.top_k), options.top_p)
        reached = np.cumsum(np.exp(log_softmax(kept)))
        # searchsorted to the right: an id of probability 0 spans no width and cannot be hit.
        return int(np.searchsorted(reached, self._random.random() * reached[-1], side="right"))
