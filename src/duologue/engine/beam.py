"""Beam search on the same decoding step: n-best lists, and streaming while it searches.

Ranking is logprob / length ** length_penalty, where the length counts the end token and forced
ids; hypotheses that max_tokens cut compete with those that ended by themselves. With
early_stopping the search ends at beam_size * patience finished hypotheses (Kasai et al. 2022,
arXiv:2204.05424, section 2). Without, the beam_size best finished ones are kept, and it ends when
the best beam, ranked at its present length, does not beat the worst of them. At patience 1 both
are the rules of transformers, so that published settings find the same hypotheses.

An end token counts only among the beam_size best candidates of a step, which makes a beam of one
the same as greedy search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from duologue.engine.rules import SpecialIds
from duologue.engine.sampling import Floats, Scores, lower_bounds
from duologue.engine.search import Finished, Hypothesis, Prompt, Search, Step
from duologue.types import FinishReason

if TYPE_CHECKING:
    from duologue.engine.forward import DecoderState


class _Beam(NamedTuple):
    """An unfinished hypothesis; score ranks it (logprob after filters)."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float


class _Candidate(NamedTuple):
    """A beam of this step, one id longer; logprob is that of the id alone, before filters."""

    score: float
    row: int
    idx: int
    logprob: float


class _Ended(NamedTuple):
    """A finished hypothesis with what it is ranked by."""

    rank: float
    hypothesis: Hypothesis
    attention: Floats | None


class BeamSearch(Search):
    """The beam_size best continuations at each step, best first; one row each."""

    def __init__(self, state: DecoderState, prompt: Prompt, special: SpecialIds) -> None:
        super().__init__(state, prompt, special)
        self._num_forced = len(prompt.constraints.forced_ids)
        self._beams = [_Beam((), (), 0.0)]
        self._ended: list[_Ended] = []
        self._num_committed = 0

    def _decide(self, scores: Scores, first: int) -> Step:
        size = self._options.beam_size
        grown: list[_Candidate] = []
        for rank, candidate in enumerate(self._candidates(scores, first)):
            if candidate.idx not in self._eos_ids:
                grown.append(candidate)
            elif rank < size:
                self._end(candidate)
        beams = [self._extended(candidate) for candidate in grown[:size]]
        if beams and len(beams[0].ids) == self._options.max_tokens:
            for candidate, beam in zip(grown, beams, strict=False):
                self._cut(candidate.row, beam)
            beams = []
        if not beams or self._is_enough(beams[0]):
            return self._finish()
        self._beams = beams
        self._follow([candidate.row for candidate in grown[:size]])
        return self._progress()

    def _is_enough(self, best: _Beam) -> bool:
        """Whether nothing better is to be expected of the beams, the first of which is `best`."""
        size = self._options.beam_size
        if self._options.early_stopping:
            return len(self._ended) >= size * self._options.patience
        self._ended = sorted(self._ended, key=lambda end: -end.rank)[:size]
        if len(self._ended) < size:
            return False
        return self._rank(best.score, len(best.ids)) <= self._ended[-1].rank

    def _rank(self, score: float, num_scored: int) -> float:
        length = num_scored + self._num_forced
        return float(score / length**self._options.length_penalty)

    def _candidates(self, scores: Scores, first: int) -> list[_Candidate]:
        """The best continuations, best first: beam_size, and as many again for each end token."""
        logits = scores.logits[first : first + len(self._beams)]
        if self._filter.acts_on(len(self._beams[0].ids)):
            logits = np.stack(
                [
                    self._filter.apply(row, beam.ids)
                    for row, beam in zip(logits, self._beams, strict=True)
                ]
            )
        wanted = (1 + len(self._eos_ids)) * self._options.beam_size
        # What is not among the wanted best of its own row is not among the wanted best of all.
        bounds = np.maximum(lower_bounds(logits, wanted), np.finfo(np.float32).min)
        rows, ids = np.divmod(np.flatnonzero(logits >= bounds[:, None]), logits.shape[1])
        log_norm = scores.log_norm[first : first + len(self._beams)]
        base = np.array([beam.score for beam in self._beams]) - log_norm
        totals = base[rows] + logits[rows, ids]
        best = np.argsort(-totals, kind="stable")[:wanted]
        found = zip(totals[best].tolist(), rows[best].tolist(), ids[best].tolist(), strict=True)
        return [
            _Candidate(total, row, idx, scores.logprob(first + row, idx))
            for total, row, idx in found
        ]

    def _extended(self, candidate: _Candidate) -> _Beam:
        beam = self._beams[candidate.row]
        return _Beam(
            (*beam.ids, candidate.idx), (*beam.logprobs, candidate.logprob), candidate.score
        )

    def _follow(self, parents: list[int]) -> None:
        """Give each beam its parent's state: the first child takes it, the others get forks."""
        kept = {parent: self.states[parent] for parent in parents}
        self.states = []  # frees those without children, so that never more than beam_size exist
        taken: set[int] = set()
        for parent in parents:
            self.states.append(kept[parent].fork() if parent in taken else kept[parent])
            taken.add(parent)
        self.next_ids = [beam.ids[-1] for beam in self._beams]

    def _end(self, candidate: _Candidate) -> None:
        beam = self._beams[candidate.row]
        logprob = sum(beam.logprobs) + candidate.logprob
        hypothesis = Hypothesis(beam.ids, logprob, beam.logprobs, "stop")
        self._add_ended(candidate.row, hypothesis, candidate.score)

    def _cut(self, row: int, beam: _Beam) -> None:
        hypothesis = Hypothesis(beam.ids, sum(beam.logprobs), beam.logprobs, "length")
        self._add_ended(row, hypothesis, beam.score)

    def _add_ended(self, row: int, hypothesis: Hypothesis, score: float) -> None:
        rank = self._rank(score, hypothesis.num_scored)
        attention = self._attention(self.states[row], len(hypothesis.ids))
        self._ended.append(_Ended(rank, hypothesis, attention))

    def _finish(self) -> Step:
        ranked = sorted(self._ended, key=lambda end: -end.rank)[: self._options.num_hypotheses]
        finished = Finished(tuple(end.hypothesis for end in ranked), ranked[0].attention)
        return Step(finished.best.ids[self._num_committed :], finished=finished)

    def _progress(self) -> Step:
        """Commit what all that can still win have in common; the best beam's rest is the tail."""
        start = self._num_committed
        rivals = [beam.ids for beam in self._beams]
        rivals += [end.hypothesis.ids for end in self._ended]
        stop = start
        while all(len(ids) > stop for ids in rivals) and len({ids[stop] for ids in rivals}) == 1:
            stop += 1
        self._num_committed = stop
        return Step(rivals[0][start:stop], rivals[0][stop:])

    def best_so_far(self, reason: FinishReason) -> Hypothesis:
        beam = self._beams[0]
        return Hypothesis(beam.ids, sum(beam.logprobs), beam.logprobs, reason)
