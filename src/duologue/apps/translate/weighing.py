"""From what the model thinks of two texts to how likely each part is missing on the other side.

Sides      two texts and their parts
Measures   what the model thinks of them
features   all that is known of each part, as numbers; log_odds: what they amount to

All constants were fitted by benchmarks/coverage.py --fit on validation data of English-German and
English-Chinese, in both directions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from duologue.apps.translate.pieces import num_words
from duologue.apps.translate.signs import Bounds, log_ratio, usual_length

Floats = npt.NDArray[np.float64]

# What both languages may spell alike: numbers, names, and words of one origin.
_ANCHOR = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_\u2e80-\U0010ffff]{5,}|[A-Z]{2,}")


@dataclass(frozen=True)
class Sides:
    """A source and its translation.

    parts      (start, end) in each text of what is compared
    languages  codes, None where they are not known
    """

    texts: tuple[str, str]
    parts: tuple[Sequence[Bounds], Sequence[Bounds]]
    languages: tuple[str | None, str | None]

    def contents(self, side: int) -> list[str]:
        """The parts of one text."""
        return [self.texts[side][start:end] for start, end in self.parts[side]]

    def apart(self) -> Floats:
        """[parts of the source, parts of the translation]: how far from the same place, 0 to 1."""
        ours, theirs = (
            np.array([(start + end) / 2 / max(1, len(text)) for start, end in bounds])
            for bounds, text in zip(self.parts, self.texts, strict=True)
        )
        apart: Floats = np.abs(np.subtract.outer(ours, theirs))
        return apart

    def regime(self, side: int) -> int:
        """Which of the Weights apply: 0 as many parts as on the other side, 1 more, 2 fewer."""
        here, there = (len(self.parts[which]) for which in (side, 1 - side))
        return 0 if here == there else 1 if here > there else 2


class Measures(NamedTuple):
    """What the model thinks of a translation; natural logarithms.

    belongs      [parts of the source, parts of the translation]: how much likelier, a token, each
                 makes the other
    steady       the same, without the extremes of single tokens
    needed       of each part, source and translation: how much likelier, for each of its tokens,
                 the other side is with it than without
    expected     of each part, source and translation: how much likelier, a token, it is after all
                 of the other side was read than if nothing was
    end_logprob  of the translation's end
    """

    belongs: Floats
    steady: Floats
    needed: tuple[Floats, Floats]
    expected: tuple[Floats, Floats]
    end_logprob: float


class Weights(NamedTuple):
    """Log-odds that a part is missing on the other side: bias + weights * features.

    belongs   of the part that it belongs to most, less APART for a place at the other end
    own       steadily, of the part that it is matched with; no two are matched with the same
    needed    see Measures
    room      how much likelier the lengths between its matched neighbours are without this part
    short     how much likelier the length of the whole is without this part
    anchors   of its numbers, names and long words, how many stand on the other side, 3 at most
    expected  see Measures
    """

    belongs: float
    own: float
    needed: float
    room: float
    short: float
    anchors: float
    expected: float
    bias: float


# Where the other side has as many parts, where it has fewer, and where it has more.
UNCOVERED = (
    Weights(-1.8, -0.77, -0.27, 0.17, -0.34, -2.48, 0.06, -0.13),
    Weights(-0.77, -0.45, -1.59, 0.35, -0.28, -1.64, -0.26, -1.35),
    Weights(-2.76, 0.37, -0.71, 0.12, -0.39, -3.92, 0.73, -1.34),
)
INVENTED = (
    Weights(-2.19, 0.36, -0.05, 0.14, -0.27, -2.68, -1.11, 0.57),
    Weights(-1.43, 0.66, -0.16, 0.07, -0.01, -1.13, -0.82, -0.89),
    Weights(-2.45, -0.02, 0.25, 0.11, -0.26, -2.19, -0.12, -1.08),
)
# What is exchanged is odd on both sides, if not enough on either: so much less will do of both.
TOGETHER = 0.96
APART = 1.5
UNMATCHED = -1.0
_MOST_ODDS = 30.0


def log_odds(sides: Sides, measures: Measures) -> tuple[Floats, Floats]:
    """Of each part, source and translation, that it is missing on the other side."""
    both = []
    for side, weights in enumerate((UNCOVERED, INVENTED)):
        *by, bias = weights[sides.regime(side)]
        odds = features(sides, measures, side) @ np.array(by) + bias
        both.append(np.clip(odds, -_MOST_ODDS, _MOST_ODDS))
    exchanged = together(both[0], both[1]) + TOGETHER
    if exchanged > 0:
        for odds in both:
            worst = np.argmax(odds)
            odds[worst] = max(odds[worst], exchanged)
    return both[0], both[1]


def together(uncovered: Floats, invented: Floats) -> float:
    """How much both sides lack to tell something."""
    return float(min(0.0, uncovered.max()) + min(0.0, invented.max()))


def features(sides: Sides, measures: Measures, side: int) -> Floats:
    """[parts, 7] of one side (0: the source): what Weights weighs, in its order."""
    near = measures.belongs - APART * sides.apart()
    pairs = matched(measures.steady)
    own = np.full(len(sides.parts[side]), UNMATCHED)
    for pair in pairs:
        own[pair[side]] = measures.steady[pair]
    there = _anchors(sides.texts[1 - side])
    anchors = [min(3, len(_anchors(content) & there)) for content in sides.contents(side)]
    return np.column_stack(
        [
            near.max(axis=1 - side),
            own,
            measures.needed[side],
            _rooms(sides, side, pairs),
            _shorts(sides, side),
            anchors,
            measures.expected[side],
        ]
    )


def _anchors(text: str) -> set[str]:
    return {word.casefold()[:5] for word in _ANCHOR.findall(text)}


# --- lengths -----------------------------------------------------------------------------------


def _usual(sides: Sides, side: int) -> tuple[float, float]:
    """Median and spread of ln(words of the other side / words of this side)."""
    median, spread = usual_length(*sides.languages)
    return (median if side == 0 else -median), spread


def _shorts(sides: Sides, side: int) -> list[float]:
    """See Weights.short."""
    median, spread = _usual(sides, side)
    ratio = log_ratio(sides.texts[side], sides.texts[1 - side]) - median
    total = num_words(sides.texts[side]) + 1
    return [_gain(ratio, num_words(content) / total, spread) for content in sides.contents(side)]


def _rooms(sides: Sides, side: int, pairs: Sequence[tuple[int, int]]) -> list[float]:
    """See Weights.room; pairs: of the source and of the translation, in order."""
    median, spread = _usual(sides, side)
    here, there = ([num_words(text) for text in sides.contents(one)] for one in (side, 1 - side))
    found = []
    for part, words in enumerate(here):
        before = [pair for pair in pairs if pair[side] < part][-1:]
        after = [pair for pair in pairs if pair[side] > part][:1]
        sizes = []
        for one, lengths in ((side, here), (1 - side, there)):
            first = before[0][one] if before else 0
            last = after[0][one] + 1 if after else len(lengths)
            sizes.append(sum(lengths[first:last]) + 1)
        ratio = math.log(sizes[1] / sizes[0]) - median
        # A word more or less says little of short stretches.
        found.append(_gain(ratio, words / sizes[0], spread + 0.5 / sizes[0]))
    return found


def _gain(ratio: float, share: float, spread: float) -> float:
    """How much likelier a length is when such a share of the other one is not said."""
    left = max(0.1, 1 - share)
    return _tail((ratio - math.log(left)) / spread) - _tail(ratio / spread)


def _tail(distance: float) -> float:
    """Log-density, up to a constant, of a bell with heavy tails, `distance` spreads away."""
    return -2.5 * math.log1p(distance * distance / 4)


# --- alignment ---------------------------------------------------------------------------------


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
