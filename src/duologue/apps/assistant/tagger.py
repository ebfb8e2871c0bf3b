"""Where the slots of an utterance are, learnt from the declared examples.

Tagger   a structured perceptron with averaged weights (Collins 2002) over B/I/O tags
Segment  one slot that it found

Training looks at single tokens; decoding looks at whole stretches, and only at those that the slot
may hold: what a recogniser reads, a declared choice, or any run of tokens for free kinds.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from duologue.apps.assistant.declaration import Slot
from duologue.apps.assistant.utterance import MAX_FREE_TOKENS, Candidate, Filled, Token, Utterance

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

NUM_BUCKETS = 1 << 16
EPOCHS = 6
_SEED = 20


class Segment(NamedTuple):
    """A slot and what was said for it.

    score  0..1: of the tagger how much its tags are above those of no slot, of the model the
           probability of its words, 1 for what a recogniser found alone
    """

    slot: str
    candidate: Candidate
    text: str
    score: float = 1.0

    @classmethod
    def of(
        cls, slot: str, utterance: Utterance, candidate: Candidate, score: float = 1.0
    ) -> Segment:
        """With the words of the candidate."""
        return cls(slot, candidate, utterance.text[candidate.start : candidate.end], score)


def token_features(utterance: Utterance) -> Ints:
    """[n, k] hashed features of each token."""
    tokens = utterance.tokens
    words = ["^^", "^", *(token.text.casefold() for token in tokens), "$", "$$"]
    kinds = _kinds(utterance)
    rows = [
        [zlib.crc32(f.encode()) % NUM_BUCKETS for f in _of_token(words, kinds, i, tokens[i])]
        for i in range(len(tokens))
    ]
    return np.array(rows, dtype=np.int64).reshape(len(tokens), -1)


def _of_token(words: Sequence[str], kinds: Sequence[str], i: int, token: Token) -> Iterator[str]:
    before2, before, word, after, after2 = words[i : i + 5]
    shape = "".join(_shape(char) for char in token.text[:4])
    kind = kinds[i]
    yield from ("*", f"w{word}", f"b{before}", f"a{after}", f"bb{before2}", f"aa{after2}")
    yield from (f"bw{before} {word}", f"wa{word} {after}", f"ba{before} {after}")
    yield from (f"bbb{before2} {before}", f"aaa{after} {after2}")
    yield from (f"s{shape}", f"p{word[:3]}", f"e{word[-3:]}", f"k{kind}", f"kb{kind} {before}")
    yield f"kn{kinds[i - 1] if i else '^'} {kinds[i + 1] if i + 1 < len(kinds) else '$'}"


def _kinds(utterance: Utterance) -> list[str]:
    """What the recognisers say of each token: first or further token of a kind, or nothing."""
    kinds = ["-"] * len(utterance.tokens)
    for found in utterance.meanings:
        mark = "B"
        for index, token in enumerate(utterance.tokens):
            if found.start < token.end and token.start < found.end:
                kinds[index] = mark + found.kind
                mark = "I"
    for first, stop, slot in utterance.marks:
        kinds[first:stop] = [f"B={slot}", *[f"I={slot}"] * (stop - first - 1)]
    return kinds


def _shape(char: str) -> str:
    if char.isdigit():
        return "0"
    if char.isupper():
        return "A"
    return "a" if char.islower() else "." if not char.isalnum() else "z"


class Tagger:
    """Fitted to examples with values.

    slots  names of all slots; tag 0 is O, 1 + 2 i begins slot i, and 2 + 2 i goes on with it
    """

    def __init__(self, slots: Sequence[str], examples: Sequence[tuple[Utterance, Filled]]) -> None:
        self._index = {name: index for index, name in enumerate(slots)}
        self._num_tags = 1 + 2 * len(slots)
        self._emit = np.zeros((NUM_BUCKETS, self._num_tags), np.float32)
        self._move = np.zeros((self._num_tags, self._num_tags), np.float32)
        self._allowed = self._transitions()
        self._fit([(token_features(u), self._tags(u, f)) for u, f in examples if u.tokens])

    def _transitions(self) -> Floats:
        """0 where a tag may follow another, -inf where it may not: I only after B or I of it."""
        allowed = np.zeros((self._num_tags, self._num_tags), np.float32)
        for slot in range(len(self._index)):
            inside = 2 + 2 * slot
            keep = allowed[[inside - 1, inside], inside].copy()
            allowed[:, inside] = -np.inf
            allowed[[inside - 1, inside], inside] = keep
        return allowed

    def _tags(self, utterance: Utterance, example: Filled) -> Ints:
        tags = np.zeros(len(utterance.tokens), np.int64)
        for name, start, end in example.places:
            inside = False
            for index, token in enumerate(utterance.tokens):
                if token.start < end and token.end > start:
                    tags[index] = 1 + 2 * self._index[name] + inside
                    inside = True
        return tags

    def _fit(self, examples: list[tuple[Ints, Ints]]) -> None:
        order = np.random.default_rng(_SEED)
        sums = np.zeros_like(self._emit), np.zeros_like(self._move)
        step = 1
        for _ in range(EPOCHS):
            for number in order.permutation(len(examples)):
                features, wanted = examples[number]
                guess = self._viterbi(features)
                if not np.array_equal(guess, wanted):
                    self._learn(features, wanted, 1.0, step, sums)
                    self._learn(features, guess, -1.0, step, sums)
                step += 1
        self._emit -= sums[0] / step  # the mean over all steps
        self._move -= sums[1] / step

    def _learn(
        self, features: Ints, tags: Ints, by: float, step: int, sums: tuple[Floats, Floats]
    ) -> None:
        size = features.shape[1]
        at = features.ravel(), np.repeat(tags, size)
        np.add.at(self._emit, at, by)
        np.add.at(sums[0], at, by * step)
        moves = np.concatenate(([0], tags[:-1])), tags
        np.add.at(self._move, moves, by)
        np.add.at(sums[1], moves, by * step)

    def _scores(self, features: Ints) -> Floats:
        result: Floats = self._emit[features].sum(axis=1)
        return result

    def _viterbi(self, features: Ints) -> Ints:
        scores = self._scores(features)
        moves = self._move + self._allowed
        best = scores[0] + moves[0]
        back = np.zeros(scores.shape, np.int64)
        for place in range(1, len(scores)):
            paths = best[:, None] + moves
            back[place] = paths.argmax(axis=0)
            best = paths.max(axis=0) + scores[place]
        tags = [int(best.argmax())]
        for place in range(len(scores) - 1, 0, -1):
            tags.append(int(back[place][tags[-1]]))
        return np.array(tags[::-1], np.int64)

    # --- whole stretches ---------------------------------------------------------------------

    def segments(self, utterance: Utterance, slots: Mapping[str, Slot]) -> list[Segment]:
        """The best stretches for the slots of an intent; each slot at most once."""
        if not utterance.tokens or not slots:
            return []
        scores = self._scores(token_features(utterance))
        options = [
            (name, candidate)
            for name, slot in slots.items()
            for candidate in _options(utterance, slot)
        ]
        chosen = self._best_path(scores, options)
        kept: dict[str, Segment] = {}
        for name, candidate in chosen:
            begin = 1 + 2 * self._index[name]
            gain = scores[candidate.first, begin] - scores[candidate.first, 0]
            rest = scores[candidate.first + 1 : candidate.stop]
            gain += float((rest[:, begin + 1] - rest[:, 0]).sum())
            score = 1 / (1 + math.exp(-gain / (candidate.stop - candidate.first)))
            segment = Segment.of(name, utterance, candidate, score)
            if name not in kept or kept[name].score < score:
                kept[name] = segment
        return sorted(kept.values(), key=lambda segment: segment.candidate.first)

    def _best_path(
        self, scores: Floats, options: list[tuple[str, Candidate]]
    ) -> list[tuple[str, Candidate]]:
        """Dynamic programming over the ends of stretches; tags between them are O."""
        num = len(scores)
        inside = self._inside_sums(scores)
        ending: list[list[tuple[int, str, Candidate]]] = [[] for _ in range(num + 1)]
        for name, candidate in options:
            ending[candidate.stop].append((1 + 2 * self._index[name], name, candidate))
        # best[j][tag]: the best score of the first j tokens with that tag on the last, and its way
        best: list[dict[int, tuple[float, int, tuple[str, Candidate] | None]]] = [
            {0: (0.0, 0, None)}
        ]
        for stop in range(1, num + 1):
            here: dict[int, tuple[float, int, tuple[str, Candidate] | None]] = {}
            value, tag = self._enter(best[stop - 1], 0)
            here[0] = (value + float(scores[stop - 1, 0]), tag, None)
            for begin, name, candidate in ending[stop]:
                first = candidate.first
                value, tag = self._enter(best[first], begin)
                value += float(scores[first, begin])
                last = begin
                if stop - first > 1:
                    last = begin + 1
                    value += float(inside[stop, last] - inside[first + 1, last])
                    value += float(self._move[begin, last])
                    value += (stop - first - 2) * float(self._move[last, last])
                if last not in here or here[last][0] < value:
                    here[last] = (value, tag, (name, candidate))
            best.append(here)
        return self._trace(best)

    def _enter(
        self, states: Mapping[int, tuple[float, int, object]], tag: int
    ) -> tuple[float, int]:
        """The best score of coming to a tag, and from which."""
        return max(
            (value[0] + float(self._move[last, tag]), last) for last, value in states.items()
        )

    @staticmethod
    def _trace(
        best: list[dict[int, tuple[float, int, tuple[str, Candidate] | None]]],
    ) -> list[tuple[str, Candidate]]:
        stop = len(best) - 1
        tag = max(best[stop], key=lambda last: best[stop][last][0])
        path: list[tuple[str, Candidate]] = []
        while stop > 0:
            _, before, chosen = best[stop][tag]
            if chosen is not None:
                path.append(chosen)
            stop = chosen[1].first if chosen is not None else stop - 1
            tag = before
        return path[::-1]

    @staticmethod
    def _inside_sums(scores: Floats) -> npt.NDArray[np.float64]:
        """[n + 1, tags] running sums, so that those of a stretch are one difference."""
        zeros = np.zeros((1, scores.shape[1]))
        return np.vstack([zeros, np.cumsum(scores.astype(np.float64), axis=0)])


def _options(utterance: Utterance, slot: Slot) -> Iterator[Candidate]:
    """Every stretch that a slot may hold."""
    most = MAX_FREE_TOKENS.get(slot.kind)
    if most is None:
        yield from utterance.candidates(slot)
        return
    num = len(utterance.tokens)
    for first in range(num):
        for stop in range(first + 1, min(num, first + most) + 1):
            yield utterance.free_candidate(first, stop)
