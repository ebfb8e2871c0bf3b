"""What may come next besides what the model likes: special ids, options, and a caller's own rule.

SpecialIds    ids that mean something to every request of a model
TokenRule     a caller's own filter of what may come next
Only          the rule that lets given ids come, and nothing else
Constraints   what one request is held to besides its options
TokenFilter   all of that for one request, applied row by row

Filters look at logits after the probabilities were computed: log-probabilities stay the model's
own, and only choices (and the ranking of beams, where a filter changes the logits of an id without
forbidding it) follow what the filters leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from duologue.engine.sampling import Floats, filter_repeats, has_repeat_filter
from duologue.types import Options


@dataclass(frozen=True)
class SpecialIds:
    """Ids that mean something to every request of a model.

    eos_ids               each of them ends a hypothesis
    absent_ids            are no part of what can be said, such as roles: never produced, and the
                          probabilities of all others sum to 1 without them; end ids among them stay
    suppressed_ids        are never produced either, but keep their share of the probability
    first_suppressed_ids  the same, for the first id alone
    """

    eos_ids: tuple[int, ...]
    absent_ids: tuple[int, ...] = ()
    suppressed_ids: tuple[int, ...] = ()
    first_suppressed_ids: tuple[int, ...] = ()


class TokenRule(Protocol):
    """Decides from what a hypothesis has produced what may come next.

    One rule serves all rows of a request and may serve many requests at a time, so what it knows
    of a hypothesis are the ids that it is given.
    """

    def apply(self, logits: Floats, ids: tuple[int, ...]) -> Floats:
        """The logits [V] float32 of the next id, with -inf for what may not come.

        logits  [V] float32, the rule's to change; what other filters forbid holds -inf
        ids     what this hypothesis has produced; neither prefix nor forced ids

        Where nothing is left, an end id comes.
        """


@dataclass(frozen=True)
class Only:
    """Lets these ids come, one after another, then the end: what remains is their probability.

    Greedy search under this rule is forced decoding: Hypothesis.token_logprobs are the model's own.
    """

    ids: tuple[int, ...]

    def apply(self, logits: Floats, ids: tuple[int, ...]) -> Floats:
        """See TokenRule."""
        forbidden = np.full_like(logits, -np.inf)
        if len(ids) < len(self.ids):
            forbidden[self.ids[len(ids)]] = logits[self.ids[len(ids)]]
        return forbidden


@dataclass(frozen=True)
class Constraints:
    """What a request is held to besides its options.

    forced_ids  what every hypothesis begins with. They are fed after the prefix, belong neither to
                max_tokens nor to Hypothesis.ids and cost no probability; beam search counts them
                in the length that it divides by, and they may not be repeated where options say so
    rule        see TokenRule
    """

    forced_ids: tuple[int, ...] = ()
    rule: TokenRule | None = None


FREE = Constraints()


class TokenFilter:
    """Everything that forbids ids, or makes them less likely, in the rows of one request."""

    def __init__(self, options: Options, special: SpecialIds, constraints: Constraints) -> None:
        self._options = options
        self._eos_ids = list(special.eos_ids)
        self._first_suppressed = list(special.first_suppressed_ids)
        self._forced_ids = constraints.forced_ids
        self._rule = constraints.rule
        self._always_acts = has_repeat_filter(options) or constraints.rule is not None

    def acts_on(self, num_ids: int) -> bool:
        """Whether apply could do anything to a hypothesis that has produced so many ids."""
        is_first = num_ids == 0 and bool(self._first_suppressed)
        return self._always_acts or is_first or num_ids < self._options.min_tokens

    def apply(self, logits: Floats, ids: Sequence[int]) -> Floats:
        """A copy of one row of logits [V] after all filters; ids are what the row has produced."""
        filtered = filter_repeats(logits, (*self._forced_ids, *ids), self._options, self._eos_ids)
        if len(ids) < self._options.min_tokens:
            filtered[self._eos_ids] = -np.inf
        if not ids:
            filtered[self._first_suppressed] = -np.inf
        if self._rule is not None:
            filtered = self._rule.apply(filtered, tuple(ids))
        if filtered.max() == -np.inf:
            filtered[self._eos_ids] = logits[self._eos_ids]
        return filtered
