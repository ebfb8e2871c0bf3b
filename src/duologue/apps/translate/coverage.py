"""Does a translation say all of its source, and nothing else?

    Comparison    each part of the source against each part of the translation, in both directions:
                  asks the model for scores, and makes a Report of the answers
    Report        what is wrong; plain_report: what can be said without asking

Two parts belong together as far as each makes the other likelier than it is by itself: the sum,
over both directions, of the mean over tokens of log p(part | other part) - log p(part). A part of
the source that belongs to nothing is uncovered, a part of the translation that belongs to nothing
is invented. Asking the model for both directions follows Vamvas & Sennrich 2022 (arXiv:2203.01927),
who compare whole sentences with and without a constituent; comparing parts with each other told
more here (docs/lab-log.md), and so did the decoder's own likelihood, without a source, in place of
none. All constants were fitted by benchmarks/coverage.py on validation data of English-German and
English-Chinese, in both directions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
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
from duologue.explain import Source
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
    short     how much likelier the length of the whole is without this part
    anchors   of its numbers, names and long words, how many stand on the other side, 3 at most
    """

    belongs: float
    own: float
    short: float
    anchors: float
    bias: float


# Where the other side has as many parts, where it has fewer, and where it has more.
UNCOVERED = (
    Weights(-1.04, -1.35, -0.09, -2.40, -1.51),
    Weights(-1.42, -0.92, 0.28, -2.01, -2.36),
    Weights(-1.13, -1.15, -0.18, -3.70, -1.69),
)
INVENTED = (
    Weights(-1.41, -1.06, -0.06, -2.54, -1.43),
    Weights(-1.73, -0.16, 0.43, -3.29, -1.70),
    Weights(-1.38, -0.67, -0.04, -1.30, -2.15),
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
    """

    uncovered: tuple[Finding, ...] = ()
    invented: tuple[Finding, ...] = ()
    foreign: tuple[Finding, ...] = ()
    repeated: tuple[Finding, ...] = ()
    num_wrong: float = 0.0

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
        self._ids = [
            [tuple(self._encoded(text[start:end])) for start, end in bounds]
            for text, bounds in zip(self._texts, self.parts, strict=True)
        ]
        self._places = [_places(b, text) for b, text in zip(self.parts, self._texts, strict=True)]
        self._pairs = self._near()

    def _encoded(self, text: str) -> list[int]:
        return self._runtime.tokenizer.encode(text.strip())

    def _near(self) -> list[tuple[int, int]]:
        """Pairs to compare: all, or of many those that stand at about the same place."""
        ours, theirs = self._places
        apart = np.abs(np.subtract.outer(ours, theirs))
        most = np.sort(apart, axis=None)[min(apart.size, MAX_PAIRS) - 1]
        return [(int(i), int(j)) for i, j in np.argwhere(apart <= most)]

    def asks(self) -> list[Ask]:
        """What the model is asked; each part is read once."""
        forward, back = self._ways
        asks = [
            score_ask(None, way, ids)
            for way, side in zip((back, forward), self._ids, strict=True)
            for ids in side
        ]
        for way, side in ((forward, 0), (back, 1)):
            for part, (start, end) in enumerate(self.parts[side]):
                source = self._source(self._texts[side][start:end])
                others = [pair[1 - side] for pair in self._pairs if pair[side] == part]
                asks += [score_ask(source, way, self._ids[1 - side][other]) for other in others]
        whole = self._encoded(self._texts[1])
        return [*asks, score_ask(self._source(self._texts[0]), forward, whole)]

    def _source(self, text: str) -> Source:
        return self._runtime.source(text.strip(), "translate")

    def report(self, answers: Sequence[Decoded]) -> Report:
        """What the answers to asks, in their order, amount to."""
        return self._report(*self.measures(answers))

    def measures(self, answers: Sequence[Decoded]) -> tuple[Floats, float]:
        """What the answers to asks say: how far each part belongs to each, and of the end.

        returns  [parts of the source, parts of the translation] float64, in nats a token; and the
                 log-probability that the translation ends where it does
        """
        rest = iter(answers)
        alone = [[scores_of(next(rest), len(ids)) for ids in side] for side in self._ids]
        belongs = np.zeros((len(self._ids[0]), len(self._ids[1])))
        compared = np.zeros(belongs.shape, dtype=bool)
        for side in (0, 1):
            for part in range(len(self._ids[side])):
                for pair in self._pairs:
                    if pair[side] != part:
                        continue
                    other = pair[1 - side]
                    ids = self._ids[1 - side][other]
                    gain = scores_of(next(rest), len(ids)) - alone[1 - side][other]
                    belongs[pair] += gain[: len(ids)].mean() if ids else 0.0
                    compared[pair] = True
        belongs[~compared] = _FLOOR
        whole = len(self._encoded(self._texts[1]))
        return belongs, float(scores_of(next(rest), whole)[-1])

    def features(self, belongs: Floats, side: int) -> Floats:
        """[parts, 4] of one side (0: the source): what Weights weighs, in its order.

        belongs  [parts of the source, parts of the translation]
        """
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
            found.append([best[part], own[part], short, anchors])
        return np.array(found)

    def regime(self, side: int) -> int:
        """Which of the Weights apply: 0 as many parts as on the other side, 1 more, 2 fewer."""
        here, there = (len(self.parts[which]) for which in (side, 1 - side))
        return 0 if here == there else 1 if here > there else 2

    def _report(self, belongs: Floats, end_logprob: float) -> Report:
        source, translation = self._texts
        uncovered = self._likely(belongs, 0, UNCOVERED)
        invented = self._likely(belongs, 1, INVENTED)
        has_sign = END_SIGN.search(translation) or not END_SIGN.search(source)
        if end_logprob < (_CUT if has_sign else _CUT_NO_SIGN):
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
        )

    def _likely(self, belongs: Floats, side: int, weights: Sequence[Weights]) -> list[float]:
        """How likely it is of each part of a side that the other side does not say it."""
        *by, bias = weights[self.regime(side)]
        odds = np.clip(self.features(belongs, side) @ np.array(by) + bias, -30, 30)
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
