"""How one request turns scores into tokens, one step at a time.

Prompt                 what a search is told
Hypothesis, Finished   what a search ends with
Step                   what one step of a search decided
Search                 what the engine sees of every search: rows to feed, scores to digest
SingleSearch           greedy and sampled decoding: every row goes on by itself

Whether the decoder is recurrent or a transformer cannot be seen from here: a state is fed an id,
is forked, and tells its attention.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from duologue.engine.rules import FREE, Constraints, SpecialIds, TokenFilter
from duologue.engine.sampling import Floats, Sampler, Scores
from duologue.types import FinishReason, Options

if TYPE_CHECKING:
    from duologue.engine.forward import DecoderState
    from duologue.engine.memory import Memory


class Prompt(NamedTuple):
    """What the decoder is told first, and how it is to go on."""

    prefix_ids: tuple[int, ...]
    options: Options
    record_attention: bool = False
    constraints: Constraints = FREE

    @property
    def fed_ids(self) -> tuple[int, ...]:
        """What is fed before anything is chosen."""
        return (*self.prefix_ids, *self.constraints.forced_ids)

    @property
    def num_target_tokens(self) -> int:
        """Most tokens that a row is fed."""
        return len(self.fed_ids) + self.options.max_tokens


@dataclass(frozen=True)
class Hypothesis:
    """One thing the decoder may say.

    ids             what was produced, without prefix, forced ids and end token
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

    hypotheses  never empty; best first, samples in the order of their random numbers
    attention   [T, S] float32: for each id of the best hypothesis, the share of its
                cross-attention on each token of the memory; None unless it was asked for
    memory      what the decoder read, if the request brought sources to encode; None without, and
                if it was ended from outside
    problem     why, if the finish_reason is "error"
    """

    hypotheses: tuple[Hypothesis, ...]
    attention: Floats | None = None
    memory: Memory | None = None
    problem: str = ""

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

    def __init__(self, state: DecoderState, prompt: Prompt, special: SpecialIds) -> None:
        self.states = [state]
        self.next_ids = [prompt.fed_ids[0]]
        self._fed_ids = prompt.fed_ids
        self._num_fed = 1
        self._eos_ids = frozenset(special.eos_ids)
        self._options = prompt.options
        self._filter = TokenFilter(prompt.options, special, prompt.constraints)
        self._record_attention = prompt.record_attention

    def advance(self, scores: Scores, first: int) -> Step:
        """Digest the scores of the rows just fed, which begin at row `first`.

        While prefix and forced ids are being fed the scores are not used.
        """
        if self._num_fed < len(self._fed_ids):
            self.next_ids = [self._fed_ids[self._num_fed]]
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
        first = len(self._fed_ids) - 1
        rows: Floats = state.attention()[first : first + num_ids]
        return rows


@dataclass(eq=False)
class _Row:
    """One hypothesis on its way, which ends when it has a finish_reason."""

    number: int
    sampler: Sampler | None
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    end_logprob: float = 0.0
    finish_reason: FinishReason | None = None

    def hypothesis(self, reason: FinishReason) -> Hypothesis:
        logprobs = tuple(self.logprobs)
        return Hypothesis(tuple(self.ids), sum(logprobs) + self.end_logprob, logprobs, reason)


class SingleSearch(Search):
    """Greedy search, or num_hypotheses samples when the options have a temperature.

    A row sees nothing of the others, so the first sample is streamed while the rest go on, and
    rows that have ended leave the step.
    """

    def __init__(self, state: DecoderState, prompt: Prompt, special: SpecialIds) -> None:
        super().__init__(state, prompt, special)
        is_sampled = self._options.temperature > 0
        self._rows = [
            _Row(number, Sampler(self._options, number) if is_sampled else None)
            for number in range(self._options.num_hypotheses)
        ]
        self._unfinished = self._rows  # one for each of the states, once the prefix was fed
        self._first_attention: Floats | None = None

    def _decide(self, scores: Scores, first: int) -> Step:
        # At the first decision all rows are one: they look at the same scores, then at their own.
        forked = [self.states[0].fork() for _ in self._unfinished[len(self.states) :]]
        places = [*range(len(self.states)), *[0] * len(forked)]
        states = [*self.states, *forked]
        before = len(self._rows[0].ids)
        for row, state, place in zip(self._unfinished, states, places, strict=True):
            self._extend(row, state, scores, first + place)
        going = [
            (row, state)
            for row, state in zip(self._unfinished, states, strict=True)
            if row.finish_reason is None
        ]
        self._unfinished = [row for row, _ in going]
        self.states = [state for _, state in going]
        self.next_ids = [row.ids[-1] for row in self._unfinished]
        committed = tuple(self._rows[0].ids[before:])
        return Step(committed, finished=None if going else self._finish())

    def _extend(self, row: _Row, state: DecoderState, scores: Scores, place: int) -> None:
        """One id more for a row, or its end."""
        chosen = self._choose(row, scores, place)
        logprob = scores.logprob(place, chosen)
        if chosen in self._eos_ids:
            row.end_logprob, row.finish_reason = logprob, "stop"
        else:
            row.ids.append(chosen)
            row.logprobs.append(logprob)
            if len(row.ids) == self._options.max_tokens:
                row.finish_reason = "length"
        if row.number == 0 and row.finish_reason is not None:
            self._first_attention = self._attention(state, len(row.ids))

    def _choose(self, row: _Row, scores: Scores, place: int) -> int:
        is_filtered = self._filter.acts_on(len(row.ids))
        if not is_filtered and row.sampler is None:
            return scores.best[place]
        logits = scores.logits[place]
        if is_filtered:
            logits = self._filter.apply(logits, row.ids)
        return int(logits.argmax()) if row.sampler is None else row.sampler.choose(logits)

    def _finish(self) -> Finished:
        ended = [row.hypothesis(row.finish_reason) for row in self._rows if row.finish_reason]
        return Finished(tuple(ended), self._first_attention)

    def best_so_far(self, reason: FinishReason) -> Hypothesis:
        return self._rows[0].hypothesis(reason)
