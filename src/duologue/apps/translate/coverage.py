"""Does a translation say all of its source, and nothing else?

    Comparison    each part of the source against each part of the translation, in both directions:
                  asks the model for scores, and makes a Report of the answers
    Report        what is wrong; plain_report: what can be said without asking

Two parts belong together as far as each makes the other likelier than it is by itself: the sum,
over both directions, of the mean over tokens of log p(part | other part) - log p(part). A part of
the source that belongs to nothing is uncovered, a part of the translation that belongs to nothing
is invented. So is a part without which the other side is as likely: contrastive conditioning of
Vamvas & Sennrich 2022 (arXiv:2203.01927), who have that alone; both together told more here, see
docs/lab-log.md. All constants were fitted by benchmarks/coverage.py on validation data of
English-German and English-Chinese, in both directions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from duologue.apps.batch import Ask, Decoded, score_ask, scores_of
from duologue.apps.translate.pieces import num_words
from duologue.apps.translate.signs import (
    END_SIGN,
    Bounds,
    foreign_parts,
    log_ratio,
    parts,
    repeats,
    usual_length,
)
from duologue.runtime import Runtime
from duologue.text.imported_template import Prefix

Floats = npt.NDArray[np.float64]

MAX_PAIRS = 64
# What both languages may spell alike: numbers, names, and words of one origin.
_ANCHOR = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_\u2e80-\U0010ffff]{5,}|[A-Z]{2,}")


class Weights(NamedTuple):
    """Log-odds that a part is missing on the other side: bias + weights * features.

    belongs   of the part that it belongs to most, less APART for a place at the other end
    own       of the part that it is matched with; no two are matched with the same
    needed    how much likelier, for each of its tokens, it makes all of the other side
    short     how much likelier the length of the whole is without this part
    anchors   of its numbers, names and long words, how many stand on the other side, 3 at most
    """

    belongs: float
    own: float
    needed: float
    short: float
    anchors: float
    bias: float


# Where the other side has as many parts, where it has fewer, and where it has more.
UNCOVERED = (
    Weights(-1.11, -1.31, 0.06, -0.10, -1.59, -1.85),
    Weights(-1.06, -0.92, -2.66, 0.15, -1.18, -2.68),
    Weights(-2.63, -0.86, 0.08, -0.30, -2.72, -1.80),
)
INVENTED = (
    Weights(-1.17, -1.22, -0.06, -0.08, -2.34, -2.21),
    Weights(-1.72, 0.13, -1.34, 0.34, -2.07, -2.51),
    Weights(-1.90, -0.61, -1.05, -0.07, -2.03, -2.46),
)
APART = 1.5
UNMATCHED = -1.0

_CUT, _CUT_NO_SIGN = -4.5, -2.5  # log-probability of the end
_FLOOR = -2.0  # of parts that are not compared


@dataclass(frozen=True)
class Finding:
    """A stretch of a text, and how likely it is that something is wrong with it, 0 to 1."""

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Report:
    """What is wrong with a translation; offsets are characters.

    uncovered   of the source: is not said
    invented    of the translation: is not in the source
    foreign     of the translation: is in another language
    repeated    of the translation: was said before
    num_wrong   how many words are wrong, as far as is expected; what reports are compared by
    worst       how likely it is of the part of which it is likeliest, told or not
    """

    uncovered: tuple[Finding, ...] = ()
    invented: tuple[Finding, ...] = ()
    foreign: tuple[Finding, ...] = ()
    repeated: tuple[Finding, ...] = ()
    num_wrong: float = 0.0
    worst: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.uncovered or self.invented or self.foreign or self.repeated)


def plain_report(source: str, translation: str, to: str | None) -> Report:
    """What can be said without asking the model: repetitions, languages, and that nothing came."""
    foreign, repeated = foreign_parts(translation, to), repeats(source, translation)
    nothing = [] if translation else [(0, len(source))]
    return Report(
        uncovered=_findings(source, nothing, [1.0] * len(nothing)),
        foreign=_findings(translation, foreign, [1.0] * len(foreign)),
        repeated=_findings(translation, repeated, [1.0] * len(repeated)),
        num_wrong=sum(num_words(translation[start:end]) for start, end in (*foreign, *repeated))
        + sum(num_words(source[start:end]) for start, end in nothing),
    )


class Measures(NamedTuple):
    """What the model thinks of a translation; natural logarithms.

    belongs      [parts of the source, parts of the translation] float64: how much likelier, a
                 token, each makes the other
    needed       of each part, source and translation: how much likelier, for each of its tokens,
                 the other side is with it than without
    end_logprob  of the translation's end
    """

    belongs: Floats
    needed: tuple[Floats, Floats]
    end_logprob: float


class _Question(NamedTuple):
    """How likely is what is said, in the language of the other side, if this was read?"""

    side: int
    read: str
    said: str


class Comparison:
    """One source and one translation of it, to be compared part by part.

    languages  of source and translation
    ways       what the decoder is told for the translation, and for the way back

    parts      (attribute) what is compared: of the source, and of the translation
    """

    def __init__(
        self,
        runtime: Runtime,
        source: str,
        translation: str,
        languages: tuple[str | None, str | None],
        ways: tuple[Prefix, Prefix],
    ) -> None:
        self._runtime = runtime
        self._texts = source, translation
        self._languages = languages
        self._ways = ways
        self.parts = parts(source, translation)
        self._contents = [
            [text[start:end].strip() for start, end in bounds]
            for text, bounds in zip(self._texts, self.parts, strict=True)
        ]
        self._places = [_places(b, text) for b, text in zip(self.parts, self._texts, strict=True)]
        self._pairs = self._near()
        self._ids = {text: tuple(runtime.tokenizer.encode(text)) for text in self._all_texts()}
        self._questions = list(dict.fromkeys(sorted(self._all_questions())))

    def _all_texts(self) -> Iterator[str]:
        for side, text in enumerate(self._texts):
            yield text
            yield from self._contents[side]

    def _near(self) -> list[tuple[int, int]]:
        """Pairs to compare: all, or of many those that stand at about the same place."""
        ours, theirs = self._places
        apart = np.abs(np.subtract.outer(ours, theirs))
        most = np.sort(apart, axis=None)[min(apart.size, MAX_PAIRS) - 1]
        return [(int(i), int(j)) for i, j in np.argwhere(apart <= most)]

    def _all_questions(self) -> Iterator[_Question]:
        """What measures will want to know; the same question may come often."""
        for side in (0, 1):
            said = self._texts[1 - side]
            yield _Question(side, self._texts[side], said)
            for part in range(len(self.parts[side])):
                yield _Question(side, self._without(side, part), said)
            for content in self._contents[1 - side]:
                yield _Question(side, "", content)
            for pair in self._pairs:
                ours, theirs = (self._contents[which][pair[which]] for which in (side, 1 - side))
                yield _Question(side, ours, theirs)

    def _without(self, side: int, part: int) -> str:
        start, end = self.parts[side][part]
        return (self._texts[side][:start] + self._texts[side][end:]).strip()

    def asks(self) -> list[Ask]:
        """What the model is asked; neighbours read the same text."""
        sources = {
            text: self._runtime.source(text, "translate") if text else None
            for text in {question.read for question in self._questions}
        }
        return [
            score_ask(sources[question.read], self._ways[question.side], self._ids[question.said])
            for question in self._questions
        ]

    def report(self, answers: Sequence[Decoded]) -> Report:
        """What the answers to asks, in their order, amount to."""
        return self._report(self.measures(answers))

    def measures(self, answers: Sequence[Decoded]) -> Measures:
        """What the answers to asks, in their order, say in numbers."""
        scores = {
            question: scores_of(answer, len(self._ids[question.said]))
            for question, answer in zip(self._questions, answers, strict=True)
        }
        belongs = np.full([len(bounds) for bounds in self.parts], _FLOOR)
        for pair in self._pairs:
            belongs[pair] = sum(self._gain(scores, side, pair) for side in (0, 1))
        return Measures(
            belongs,
            (self._needed(scores, 0), self._needed(scores, 1)),
            float(scores[_Question(0, *self._texts)][-1]),
        )

    def _gain(self, scores: Mapping[_Question, Floats], side: int, pair: tuple[int, int]) -> float:
        """How much likelier, a token, a part of one side makes one of the other."""
        read, said = (self._contents[which][pair[which]] for which in (side, 1 - side))
        gain = scores[_Question(side, read, said)] - scores[_Question(side, "", said)]
        return float(gain[:-1].mean()) if len(gain) > 1 else 0.0

    def _needed(self, scores: Mapping[_Question, Floats], side: int) -> Floats:
        """See Measures.needed."""
        said = self._texts[1 - side]
        whole = scores[_Question(side, self._texts[side], said)].sum()
        losses = [
            (whole - scores[_Question(side, self._without(side, part), said)].sum())
            / max(1, len(self._ids[content]))
            for part, content in enumerate(self._contents[side])
        ]
        return np.array(losses)

    def features(self, measures: Measures, side: int) -> Floats:
        """[parts, 5] of one side (0: the source): what Weights weighs, in its order."""
        belongs = measures.belongs
        rows = belongs if side == 0 else belongs.T
        apart = np.abs(np.subtract.outer(self._places[side], self._places[1 - side]))
        best = (rows - APART * apart).max(axis=1)
        own = np.full(rows.shape[0], UNMATCHED)
        for pair in matched(belongs):
            own[pair[side]] = belongs[pair]
        median, spread = usual_length(*self._languages)
        ratio = (log_ratio(*self._texts) - median) * (1 if side == 0 else -1)
        text, other = self._texts[side], self._texts[1 - side]
        there = _anchors(other)
        total = num_words(text) + 1
        found = []
        for part, (start, end) in enumerate(self.parts[side]):
            left = max(0.1, 1 - num_words(text[start:end]) / total)
            short = _tail((ratio - math.log(left)) / spread) - _tail(ratio / spread)
            anchors = min(3, len(_anchors(text[start:end]) & there))
            needed = measures.needed[side][part]
            found.append([best[part], own[part], needed, short, anchors])
        return np.array(found)

    def regime(self, side: int) -> int:
        """Which of the Weights apply: 0 as many parts as on the other side, 1 more, 2 fewer."""
        here, there = (len(self.parts[which]) for which in (side, 1 - side))
        return 0 if here == there else 1 if here > there else 2

    def _report(self, measures: Measures) -> Report:
        source, translation = self._texts
        uncovered = self._likely(measures, 0, UNCOVERED)
        invented = self._likely(measures, 1, INVENTED)
        has_sign = END_SIGN.search(translation) or not END_SIGN.search(source)
        if measures.end_logprob < (_CUT if has_sign else _CUT_NO_SIGN):
            likeliest = int(np.argmax(uncovered))
            lacking = likeliest if uncovered[likeliest] > 0.2 else len(uncovered) - 1
            uncovered[lacking] = max(uncovered[lacking], 0.9)
        plain = plain_report(source, translation, self._languages[1])
        num_wrong = plain.num_wrong
        for text, bounds, scores in zip(
            self._texts, self.parts, (uncovered, invented), strict=True
        ):
            num_wrong += sum(
                score * num_words(text[start:end])
                for (start, end), score in zip(bounds, scores, strict=True)
            )
        return replace(
            plain,
            uncovered=_findings(source, self.parts[0], uncovered),
            invented=_findings(translation, self.parts[1], invented),
            num_wrong=num_wrong,
            worst=max(*uncovered, *invented),
        )

    def _likely(self, measures: Measures, side: int, weights: Sequence[Weights]) -> list[float]:
        """How likely it is of each part of a side that the other side does not say it."""
        *by, bias = weights[self.regime(side)]
        odds = np.clip(self.features(measures, side) @ np.array(by) + bias, -30, 30)
        return [float(value) for value in 1 / (1 + np.exp(-odds))]


def matched(belongs: Floats) -> list[tuple[int, int]]:
    """Pairs of parts, in order on both sides, whose sum of `belongs` is the largest."""
    num_ours, num_theirs = belongs.shape
    best = np.zeros((num_ours + 1, num_theirs + 1))
    for i in range(num_ours):
        for j in range(num_theirs):
            both = best[i, j] + belongs[i, j]
            best[i + 1, j + 1] = max(both, best[i, j + 1], best[i + 1, j])
    pairs: list[tuple[int, int]] = []
    i, j = num_ours, num_theirs
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]


def _places(bounds: Sequence[Bounds], text: str) -> Floats:
    """The middle of each part, 0 to 1."""
    return np.array([(start + end) / 2 / max(1, len(text)) for start, end in bounds])


def _anchors(text: str) -> set[str]:
    return {word.casefold()[:5] for word in _ANCHOR.findall(text)}


def _tail(distance: float) -> float:
    """Log-density, up to a constant, of a bell with heavy tails, `distance` spreads away."""
    return -2.5 * math.log1p(distance * distance / 4)


def _findings(text: str, bounds: Sequence[Bounds], scores: Sequence[float]) -> tuple[Finding, ...]:
    """Parts that are likelier wrong than not, without outer blanks; neighbours become one."""
    found: list[Finding] = []
    last_end = -1
    for (start, end), score in zip(bounds, scores, strict=True):
        content = text[start:end]
        if score <= 0.5 or not content.strip():
            continue
        first = start + len(content) - len(content.lstrip())
        finding = Finding(first, start + len(content.rstrip()), score)
        if start == last_end:
            before = found.pop()
            finding = Finding(before.start, finding.end, max(before.score, score))
        found.append(finding)
        last_end = end
    return tuple(found)
