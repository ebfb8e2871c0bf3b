"""Does a translation say all of its source, and nothing else?

    Comparison    each part of the source against each part of the translation, in both directions:
                  asks the model for scores, and makes a Report of the answers
    Report        what is wrong; plain_report: what can be said without asking

Two parts belong together as far as each makes the other likelier than it is by itself: the sum,
over both directions, of the mean over tokens of log p(part | other part) - log p(part). A part of
the source that belongs to nothing is uncovered, a part of the translation that belongs to nothing
is invented. So is a part without which the other side is as likely: contrastive conditioning of
Vamvas & Sennrich 2022 (arXiv:2203.01927), who have that alone; both together told more here, see
docs/lab-log.md. What all of this and the lengths amount to is weighed in weighing.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from duologue.apps.batch import Ask, Decoded, score_ask, scores_of
from duologue.apps.translate.pieces import num_words
from duologue.apps.translate.signs import (
    END_SIGN,
    Bounds,
    foreign_parts,
    parts,
    repeats,
)
from duologue.apps.translate.weighing import Floats, Measures, Sides, log_odds
from duologue.explain import token_spans
from duologue.runtime import Runtime
from duologue.text.imported_template import Prefix

MAX_PAIRS = 64
_CUT, _CUT_NO_SIGN = -4.5, -2.5  # log-probability of the end
# Twice as many clean texts look wrong as in the validation data that the weights were fitted on.
_TOLD = 0.83
_FLOOR = -2.0  # of parts that are not compared
_STEADY = (-1.0, 3.0)  # the most that a token tells


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


class _Question(NamedTuple):
    """How likely is what is said, in the language of the other side, if this was read?"""

    side: int
    read: str
    said: str


class Comparison:
    """One source and one translation of it, to be compared part by part.

    languages  of source and translation
    ways       what the decoder is told for the translation, and for the way back

    sides      (attribute) the texts, and what of them is compared
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
        self._ways = ways
        self._texts = source, translation
        self.sides = Sides(self._texts, parts(source, translation), languages)
        self._contents = [
            [content.strip() for content in self.sides.contents(side)] for side in (0, 1)
        ]
        self._pairs = self._near()
        self._ids = {text: tuple(runtime.tokenizer.encode(text)) for text in self._all_texts()}
        self._questions = list(dict.fromkeys(sorted(self._all_questions())))

    def _all_texts(self) -> Iterator[str]:
        for side, text in enumerate(self._texts):
            yield text
            yield from self._contents[side]

    def _near(self) -> list[tuple[int, int]]:
        """Pairs to compare: all, or of many those that stand at about the same place."""
        apart = self.sides.apart()
        most = np.sort(apart, axis=None)[min(apart.size, MAX_PAIRS) - 1]
        return [(int(i), int(j)) for i, j in np.argwhere(apart <= most)]

    def _all_questions(self) -> Iterator[_Question]:
        """What measures will want to know; the same question may come often."""
        for side in (0, 1):
            said = self._texts[1 - side]
            yield _Question(side, self._texts[side], said)
            yield _Question(side, "", said)
            for part in range(len(self._contents[side])):
                yield _Question(side, self._without(side, part), said)
            for content in self._contents[1 - side]:
                yield _Question(side, "", content)
            for pair in self._pairs:
                ours, theirs = (self._contents[which][pair[which]] for which in (side, 1 - side))
                yield _Question(side, ours, theirs)

    def _without(self, side: int, part: int) -> str:
        start, end = self.sides.parts[side][part]
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
        belongs = np.full(self.sides.apart().shape, _FLOOR)
        steady = np.zeros(belongs.shape)
        for pair in self._pairs:
            gains = [self._gains(scores, side, pair) for side in (0, 1)]
            belongs[pair] = sum(_mean(gain) for gain in gains)
            steady[pair] = sum(_mean(np.clip(gain, *_STEADY)) for gain in gains)
        return Measures(
            belongs,
            steady,
            (self._needed(scores, 0), self._needed(scores, 1)),
            (self._expected(scores, 0), self._expected(scores, 1)),
            float(scores[_Question(0, *self._texts)][-1]),
        )

    def _gains(
        self, scores: Mapping[_Question, Floats], side: int, pair: tuple[int, int]
    ) -> Floats:
        """How much likelier a part of one side makes each token of one of the other."""
        read, said = (self._contents[which][pair[which]] for which in (side, 1 - side))
        gains = scores[_Question(side, read, said)] - scores[_Question(side, "", said)]
        return gains[:-1]

    def _expected(self, scores: Mapping[_Question, Floats], side: int) -> Floats:
        """See Measures.expected."""
        said, read = self._texts[side], self._texts[1 - side]
        gains = scores[_Question(1 - side, read, said)] - scores[_Question(1 - side, "", said)]
        spans = token_spans(self._runtime.tokenizer, said, self._ids[said])
        middles = np.array([(start + end) / 2 for start, end in spans])
        return np.array(
            [
                _mean(gains[:-1][(start <= middles) & (middles < end)])
                for start, end in self.sides.parts[side]
            ]
        )

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

    def _report(self, measures: Measures) -> Report:
        source, translation = self._texts
        uncovered, invented = (
            [float(value) for value in 1 / (1 + np.exp(-odds))]
            for odds in log_odds(self.sides, measures)
        )
        has_sign = END_SIGN.search(translation) or not END_SIGN.search(source)
        if measures.end_logprob < (_CUT if has_sign else _CUT_NO_SIGN):
            likeliest = int(np.argmax(uncovered))
            lacking = likeliest if uncovered[likeliest] > 0.2 else len(uncovered) - 1
            uncovered[lacking] = max(uncovered[lacking], 0.9)
        plain = plain_report(source, translation, self.sides.languages[1])
        num_wrong = plain.num_wrong
        for text, bounds, scores in zip(
            self._texts, self.sides.parts, (uncovered, invented), strict=True
        ):
            num_wrong += sum(
                score * num_words(text[start:end])
                for (start, end), score in zip(bounds, scores, strict=True)
            )
        return replace(
            plain,
            uncovered=_findings(source, self.sides.parts[0], uncovered),
            invented=_findings(translation, self.sides.parts[1], invented),
            num_wrong=num_wrong,
            worst=max(*uncovered, *invented),
        )


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0


def _findings(text: str, bounds: Sequence[Bounds], scores: Sequence[float]) -> tuple[Finding, ...]:
    """Parts that are likely enough wrong, without outer blanks; neighbours become one."""
    found: list[Finding] = []
    last_end = -1
    for (start, end), score in zip(bounds, scores, strict=True):
        content = text[start:end]
        if score <= _TOLD or not content.strip():
            continue
        first = start + len(content) - len(content.lstrip())
        finding = Finding(first, start + len(content.rstrip()), score)
        if start == last_end:
            before = found.pop()
            finding = Finding(before.start, finding.end, max(before.score, score))
        found.append(finding)
        last_end = end
    return tuple(found)
