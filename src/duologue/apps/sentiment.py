"""Is a text positive or negative, as a whole and sentence by sentence?

LABEL_SETS       label sets that every model that judges knows
choice           what is to be chosen from; labels_of: the labels of a set
sentiment_batch  texts to results; judging does it for one text, a bounded piece at a time

A text is judged as a whole: its label is not a mean over sentences, which are judged each by
itself. Where at least two sentences have different labels, other than `neutral`, and each is at
least CLEAR likely, the result says that it is mixed.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import replace

from duologue.apps.batch import check_texts
from duologue.apps.labels import Choice, classify_batch, classifying
from duologue.apps.translate.pieces import sentences as sentences_of
from duologue.apps.translate.repair import total
from duologue.config import ModelConfig
from duologue.errors import InputError
from duologue.evaluation.calibration import Temperatures, temperatures_of
from duologue.explain.erasure import finished
from duologue.runtime import Runtime
from duologue.types import Result, SentenceLabel, Span

LABELS = ("negative", "positive")
NEUTRAL = "neutral"
LABEL_SETS: dict[str, tuple[str, ...]] = {
    "sentiment": LABELS,
    "sentiment3": ("negative", NEUTRAL, "positive"),
}
CLEAR = 0.7
_LINE = re.compile(r"[^\r\n]+")


def choice(
    runtime: Runtime, labels: Sequence[str] | None = None, name: str | None = None
) -> Choice:
    """The labels of a set by its name, or labels as they are given; neither: LABELS.

    name  one of config.label_sets or of LABEL_SETS

    Their probabilities are calibrated if the model was for the set, or for the one of LABEL_SETS
    with the same labels. Raises InputError for both at once and for an unknown set.
    """
    if labels is not None and name is not None:
        raise InputError("give either labels or the name of a label set")
    if isinstance(labels, str):
        raise InputError("labels must be a list of texts")
    config = runtime.config
    known = None if name is None else labels_of(config, name)
    if labels is None:
        labels = known or LABELS
    fitting = [
        one
        for one in ([] if name is None else [name]) + list(LABEL_SETS)
        if one in config.calibration and set(labels_of(config, one)) == set(labels)
    ]
    temperatures = temperatures_of(config, fitting[0]) if fitting else Temperatures()
    return Choice("sentiment", tuple(labels), temperatures)


def labels_of(config: ModelConfig, name: str) -> tuple[str, ...]:
    """The labels of a set. Raises InputError, which lists those there are, for an unknown one."""
    sets = {**LABEL_SETS, **config.label_sets}
    if name not in sets:
        raise InputError(f"unknown label set {name!r}; there are {', '.join(sorted(sets))}")
    return sets[name]


def sentiment_batch(
    runtime: Runtime,
    texts: Sequence[str],
    labels: Sequence[str] | None = None,
    name: str | None = None,
    sentences: bool = False,
) -> list[Result]:
    """The likeliest label for each text: see choice, and labels.classify_batch.

    sentences  judge each sentence by itself as well
    """
    wanted = choice(runtime, labels, name)
    check_texts(texts)
    if not sentences:
        return classify_batch(runtime, texts, wanted)
    return [finished(judging(runtime, text, wanted, sentences)) for text in texts]


def judging(
    runtime: Runtime, text: str, wanted: Choice, sentences: bool = False
) -> Generator[None, None, Result]:
    """What sentiment_batch gives for a text; yields between pieces of its work."""
    (result,) = yield from classifying(runtime, [text], wanted)
    if not sentences:
        return result
    bounds = sentence_bounds(text)
    if len(bounds) == 1:
        judged = [result]
    else:
        parts = [text[start:end] for start, end in bounds]
        judged = yield from classifying(runtime, parts, wanted, has_evidence=False)
        result = replace(result, usage=total(one.usage for one in (result, *judged)))
    found = tuple(
        SentenceLabel(
            Span(0, start, end, text[start:end], one.confidence), one.text, one.probabilities
        )
        for (start, end), one in zip(bounds, judged, strict=True)
    )
    return replace(result, sentences=found, mixed=is_mixed(found))


def sentence_bounds(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence without the blanks around it; a line break ends a sentence."""
    bounds = []
    for line in _LINE.finditer(text):
        for start, end in sentences_of(line[0]):
            sentence = line[0][start:end]
            start += len(sentence) - len(sentence.lstrip())
            end -= len(sentence) - len(sentence.rstrip())
            if start < end:
                bounds.append((line.start() + start, line.start() + end))
    return bounds


def is_mixed(sentences: Sequence[SentenceLabel]) -> bool:
    """Whether sentences say clearly different things; see above."""
    clear = {one.label for one in sentences if one.span.score >= CLEAR}
    return len(clear - {NEUTRAL}) > 1
