"""How one request turns scores into tokens, one step at a time.

Hypothesis, Finished   what a search ends with
Step                   what one step of a search decided
Search                 what the engine sees of every search: rows to feed, scores to digest
SingleSearch           greedy and sampled decoding: one row

Whether the decoder is recurrent or a transformer cannot be seen from here: a state is fed an id,
is forked, and tells its attention.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from duologue.engine.sampling import Floats, Sampler, Scores, filter_repeats, has_repeat_filter
from duologue.types import FinishReason, Options

if TYPE_CHECKING:
    from duologue.engine.forward import DecoderState


@dataclass(frozen=True)
class Hypothesis:
    """One thing the decoder may say.

    ids             what was produced, without prefix and end token
    logprob         natural log of its probability; the end token counts if there was one
    token_logprobs  natural log-probability of each id, before any filter or temperature
    """

    ids: tuple[int, ...]
    logprob: float
    token_logprobs: tuple[float, ...]
    finish_reason: FinishReason

    @property
    def num_scored(self) -> int:
        """How many tokens logprob is the sum of, the end token included; at least 1."""
        return max(1, len(self.ids) + (self.finish_reason == "stop"))


@dataclass(frozen=True, eq=False)
class Finished:
    """What a request ended with.

    hypotheses  best first; never empty
    attention   [T, S] float32: for each id of the best hypothesis, the share of its
                cross-attention on each token of the memory; None unless it was asked for
    """

    hypotheses: tuple[Hypothesis, ...]
    attention: Floats | None = None

    @property
    def best(self) -> Hypothesis:
        """The first hypothesis."""
        return self.hypotheses[0]


class Step(NamedTuple):
    """What one step decided: new final ids, the current guess of what follows, and the end."""

    committed_ids: tuple[int, ...] = ()
    tail_ids: tuple[int, ...] = ()
    finished: Finished | None = None


class Search(ABC):
    """One request's decoding. The engine feeds next_ids to states, then calls advance.

    states    decoder states, one per row; owned by the search
    next_ids  the id that each row is to be fed next
    """

    def __init__(
        self,
        state: DecoderState,
        prefix_ids: Sequence[int],
        eos_id: int,
        options: Options,
        record_attention: bool,
    ) -> None:
        self.states = [state]
        self.next_ids = [prefix_ids[0]]
        self._prefix = tuple(prefix_ids)
        self._num_fed = 1
        self._eos_id = eos_id
        self._options = options
        self._record_attention = record_attention

    def advance(self, scores: Scores, first: int) -> Step:
        """Digest the scores of the rows just fed, which begin at row `first`.

        While the prefix is being fed the scores are not used.
        """
        if self._num_fed < len(self._prefix):
            self.next_ids = [self._prefix[self._num_fed]]
            self._num_fed += 1
            return Step()
        return self._decide(scores, first)

    @abstractmethod
    def _decide(self, scores: Scores, first: int) -> Step:
        """Choose ids for the rows and set states and next_ids for the next step."""

    @abstractmethod
    def best_so_far(self, reason: FinishReason) -> Hypothesis:
        """What there is when the request is ended from outside."""

    def _attention(self, state: DecoderState, num_ids: int) -> Floats | None:
        """Attention rows of the produced ids: an id is chosen where its predecessor was fed."""
        if not self._record_attention:
            return None
        first = len(self._prefix) - 1
        rows: Floats = state.attention()[first : first + num_ids]
        return rows


class SingleSearch(Search):
    """Greedy search, or sampling when the options have a temperature."""

    def __init__(
        self,
        state: DecoderState,
        prefix_ids: Sequence[int],
        eos_id: int,
        options: Options,
        record_attention: bool,
    ) -> None:
        super().__init__(state, prefix_ids, eos_id, options, record_attention)
        self._ids: list[int] = []
        self._logprobs: list[float] = []
        self._sampler = Sampler(options) if options.temperature > 0 else None
        self._has_filter = has_repeat_filter(options)

    def _decide(self, scores: Scores, first: int) -> Step:
        chosen = self._choose(scores, first)
        logprob = scores.logprob(first, chosen)
        if chosen == self._eos_id:
            return Step(finished=self._finish("stop", logprob))
        self._ids.append(chosen)
        self._logprobs.append(logprob)
        if len(self._ids) == self._options.max_tokens:
            return Step((chosen,), finished=self._finish("length"))
        self.next_ids = [chosen]
        return Step((chosen,))

    def _choose(self, scores: Scores, row: int) -> int:
        if not self._has_filter and self._sampler is None:
            return scores.best[row]
        logits = scores.logits[row]
        if self._has_filter:
            logits = filter_repeats(logits, self._ids, self._options, self._eos_id)
        return int(logits.argmax()) if self._sampler is None else self._sampler.choose(logits)

    def _finish(self, reason: FinishReason, end_logprob: float = 0.0) -> Finished:
        attention = self._attention(self.states[0], len(self._ids))
        return Finished((self._hypothesis(reason, end_logprob),), attention)

    def best_so_far(self, reason: FinishReason) -> Hypothesis:
        return self._hypothesis(reason, 0.0)

    def _hypothesis(self, reason: FinishReason, end_logprob: float) -> Hypothesis:
        logprobs = tuple(self._logprobs)
        return Hypothesis(tuple(self._ids), sum(logprobs) + end_logprob, logprobs, reason)
