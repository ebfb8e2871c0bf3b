"""What made a model say what it said: its answer is scored again without parts of what it read.

    segments, clauses, words --left out--> memories --scored, many at a time--> drops --> spans

Context     segments of a memory, and how one is encoded again that lacks a part
Effect      a unit, and how much less likely the answer is without it
erasing     the effects of all units, coarse ones first, in pieces of bounded work
influence   the strongest effects as spans; segment_influence: those of whole segments
finished    all pieces of work in a row

Li et al. 2016 (arXiv:1612.08220) left out words in this way. Here it runs in the engine, as answers
do: on quantised weights, without gradients. Clauses come first and words only of clauses that
matter, so the cost is bounded however long the sources are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from duologue.engine.engine import Engine
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory
from duologue.engine.scoring import scores_of, scoring
from duologue.errors import EngineError
from duologue.explain.offsets import Source
from duologue.explain.units import Unit, clauses_of, grouped, joined, words_of
from duologue.text.tokenizer import TokenBytes
from duologue.types import Span

MAX_INFLUENCE = 5
_MIN_DROP = 0.05  # nats; less is noise of the arithmetic
_CHUNK = 16  # memories that are scored together

Scorer = Callable[[Iterable[Memory]], list[float]]
T = TypeVar("T")


@dataclass(frozen=True)
class ErasureOptions:
    """How much is spent on an explanation.

    max_erasures  most memories that the answer is scored for
    max_tokens    most tokens that are read or scored for it, all memories together
    max_s         seconds after which no further memory is scored
    mask_id       what stands in place of what is left out; None: nothing does
    """

    max_erasures: int = 96
    max_tokens: int = 2**16
    max_s: float = 20.0
    mask_id: int | None = None

    def most(self, num_tokens: int) -> int:
        """How many memories of so many tokens may be scored, the answer included; at least 4."""
        return max(4, min(self.max_erasures, self.max_tokens // max(1, num_tokens)))


@dataclass(frozen=True)
class Effect:
    """drop: by how much the answer's log-probability falls without this unit, in nats."""

    unit: Unit
    drop: float


@dataclass(frozen=True)
class Effects:
    """What erasing found out.

    base     log-probability of the answer
    whole    how much of it is lost without any of the texts
    effects  of units that do not overlap; together they are all of the texts, if is_whole
    segments  of whole texts, where there are several
    """

    base: float
    whole: float
    effects: tuple[Effect, ...]
    segments: tuple[Effect, ...] = ()
    is_whole: bool = True

    @property
    def total(self) -> float:
        """What shares are taken of: `whole`, or the sum of all drops, if that is more."""
        return max(self.whole, sum(max(0.0, effect.drop) for effect in self.effects))


class Context:
    """What the decoder read, segment by segment; see without.

    memory   as the decoder read it
    sources  of its segments, in their order
    alone    for each of them, whether it is encoded by itself, as documents are
    """

    def __init__(
        self, forward: Forward, memory: Memory, sources: Sequence[Source], alone: Sequence[bool]
    ) -> None:
        self.sources = tuple(sources)
        self._forward = forward
        self._memory = memory
        self._alone = tuple(alone)

    @property
    def num_tokens(self) -> int:
        """Tokens of all segments."""
        return sum(len(source.ids) for source in self.sources)

    def without(self, units: Iterable[Unit], mask_id: int | None = None) -> Memory:
        """The memory of what is left. Only what changes is encoded again.

        That is a document by itself, and a turn with all later turns, which have seen it.
        """
        gone: dict[int, list[Unit]] = {}
        for unit in units:
            gone.setdefault(unit.segment, []).append(unit)
        if not gone:
            return self._memory
        kept = [
            _kept(source.ids, gone.get(number, ()), mask_id)
            for number, source in enumerate(self.sources)
        ]
        if self._forward.config.encoder_mask == "full":
            ids = [idx for some in kept for idx in some]
            return self._forward.encode(ids, Memory.empty()) if ids else Memory.empty()
        return self._joined(kept, min((n for n in gone if not self._alone[n]), default=None), gone)

    def _joined(
        self, kept: list[list[int]], first: int | None, gone: dict[int, list[Unit]]
    ) -> Memory:
        """first: the first turn that changes; None: documents alone do."""
        turns = Memory.empty()
        segments = []
        for number, ids in enumerate(kept):
            segment = self._memory.segments[number]
            is_new = number in gone if self._alone[number] else first is not None and number > first
            if not ids:
                continue
            if is_new or number in gone:
                before = Memory.empty() if self._alone[number] else turns
                segment = self._forward.encode(ids, before, self._alone[number]).segments[-1]
            segments.append(segment)
            if not self._alone[number]:
                turns = Memory((*turns.segments, segment))
        return Memory(tuple(segments))


def _kept(ids: Sequence[int], units: Iterable[Unit], mask_id: int | None) -> list[int]:
    gone = {place for unit in units for place in range(unit.first, unit.last)}
    if mask_id is not None:
        return [mask_id if place in gone else idx for place, idx in enumerate(ids)]
    return [idx for place, idx in enumerate(ids) if place not in gone]


def answer_scorer(
    engine: Engine, prefix_ids: Sequence[int], forced_ids: Sequence[int], ids: Sequence[int]
) -> Scorer:
    """Scores memories by the log-probability of an answer, its end not included.

    The scorer raises EngineError if its work is ended from outside.
    """
    prompt = scoring(prefix_ids, forced_ids, ids)

    def score(memories: Iterable[Memory]) -> list[float]:
        finished = engine.finish_all((memory, prompt) for memory in memories)
        if any(item.best.finish_reason in ("abort", "error") for item in finished):
            raise EngineError("the explanation was ended from outside")
        return [float(scores_of(item, len(ids))[:-1].sum()) for item in finished]

    return score


# --- all units ---------------------------------------------------------------------------------


class _Search:
    """What is known of one answer, and what may still be spent.

    num_left  how many memories may still be scored
    """

    def __init__(
        self,
        context: Context,
        score: Scorer,
        words: Sequence[Sequence[Unit]],
        options: ErasureOptions,
        num_left: int,
    ) -> None:
        self._context = context
        self._score = score
        self._words = {own[0].segment: own for own in words}
        self._options = options
        self._ends_s = time.perf_counter() + options.max_s
        self.num_left = num_left
        self.base = 0.0

    @property
    def is_over(self) -> bool:
        """Whether there is no more to spend."""
        return self.num_left < 2 or time.perf_counter() >= self._ends_s

    def scores(self, erasures: Sequence[Sequence[Unit]]) -> list[float]:
        """The log-probabilities of the answer without these units, all units of one at a time."""
        mask_id = self._options.mask_id
        self.num_left -= len(erasures)
        return self._score(self._context.without(units, mask_id) for units in erasures)

    def effects(self, units: Sequence[Unit]) -> Generator[None, None, list[Effect]]:
        """Of as many units as there is time for, the first ones always."""
        found: list[Effect] = []
        for start in range(0, len(units), _CHUNK):
            if found and time.perf_counter() >= self._ends_s:
                break
            chunk = units[start : start + _CHUNK]
            scores = self.scores([[unit] for unit in chunk])
            found += [
                Effect(unit, self.base - one) for unit, one in zip(chunk, scores, strict=True)
            ]
            yield
        return found

    def parts(self, unit: Unit) -> list[Unit]:
        """Its clauses; of a single clause its words."""
        words = [
            word
            for word in self._words[unit.segment]
            if unit.first <= word.first and word.last <= unit.last
        ]
        clauses = clauses_of(words, self._context.sources[unit.segment])
        return words if len(clauses) < 2 else [joined(clause) for clause in clauses]

    def refined(self, effects: list[Effect]) -> Generator[None, None, list[Effect] | None]:
        """The same with the parts of the strongest in their place; None: nothing has any."""
        room = self.num_left if self.num_left < 8 else self.num_left // 2
        chosen: dict[Unit, list[Unit]] = {}
        for effect in sorted(effects, key=lambda effect: -effect.drop):
            if room < 2:
                break
            parts = self.parts(effect.unit)
            if len(parts) > 1:
                chosen[effect.unit] = [joined(group) for group in grouped(parts, room)]
                room -= len(chosen[effect.unit])
        if not chosen:
            return None
        found = yield from self.effects([unit for parts in chosen.values() for unit in parts])
        known = {effect.unit: effect for effect in found}
        result: list[Effect] = []
        for effect in effects:
            parts = chosen.get(effect.unit, [])
            is_known = bool(parts) and all(part in known for part in parts)
            result += [known[part] for part in parts] if is_known else [effect]
        return result


def erasing(
    context: Context,
    score: Scorer,
    tokenizer: TokenBytes,
    options: ErasureOptions,
    num_ids: int = 1,
    segments: Iterable[int] | None = None,
) -> Generator[None, None, Effects]:
    """How much the answer needs each part of what was read; yields between pieces of its work.

    score     tells how likely the answer is for a memory
    num_ids   of the answer, for what it costs
    segments  whose text may be left out; None: all. Where they are too many, the first stay
    """
    chosen = range(len(context.sources)) if segments is None else segments
    words = [words_of(context.sources[number], number, tokenizer) for number in chosen]
    words = [own for own in words if own]
    most = options.most(context.num_tokens + num_ids)
    search = _Search(context, score, words, options, most)
    texts = [joined(own) for own in words]
    search.base, none = search.scores([(), texts])
    yield
    whole = search.base - none
    num_skipped = max(0, len(texts) - search.num_left)
    effects: list[Effect] | None
    if len(texts) == 1:
        effects = [Effect(texts[0], whole)]
    else:
        effects = yield from search.effects(texts[num_skipped:])
    is_whole = len(effects) == len(texts)
    coarse = tuple(effects) if len(texts) > 1 else ()
    while not search.is_over:
        finer = yield from search.refined(effects)
        if finer is None:
            break
        effects = finer
    return Effects(search.base, whole, tuple(effects), coarse, is_whole)


def influence(found: Effects, sources: Sequence[Source]) -> tuple[Span, ...]:
    """At most MAX_INFLUENCE spans that the answer needs most, best first.

    A span's score is its share, 0 to 1, of what the answer loses without any of the texts, or of
    what it loses by all spans one at a time, if that is more; all spans together have at most 1.
    """
    return _spans(found.effects, found.total, sources)[:MAX_INFLUENCE]


def segment_influence(found: Effects, sources: Sequence[Source]) -> tuple[Span, ...]:
    """The same of whole texts, all of those that matter; the shares are of the same total."""
    return _spans(found.segments, found.total, sources)


def _spans(effects: Sequence[Effect], total: float, sources: Sequence[Source]) -> tuple[Span, ...]:
    strong = [effect for effect in effects if effect.drop >= _MIN_DROP]
    return tuple(
        effect.unit.span(sources[effect.unit.segment], min(1.0, effect.drop / total))
        for effect in sorted(strong, key=lambda effect: -effect.drop)
    )


def finished(pieces: Generator[None, None, T]) -> T:
    """What a generator returns that yields between pieces of its work."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            value: T = end.value
            return value
