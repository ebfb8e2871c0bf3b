"""What can be seen of a translation for nothing: lengths, languages, repetitions, attention.

signs          whether anything is odd enough to spend more on it
Look           what the decoder knows of a translation that it made
parts          what is compared with what
repeats, foreign_parts, usual_length, log_ratio   what signs looks at
said_once      a translation without its repetitions
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from duologue.apps.batch import Decoded
from duologue.apps.translate.pieces import clauses, num_words, sentences
from duologue.explain import Source, has_loop, token_spans
from duologue.runtime import Runtime
from duologue.text.language import guess_language, is_foreign

Bounds = tuple[int, int]

END_SIGN = re.compile(r"""[.!?…。！？]["'”’»」』）)\]]*\s*$""")
_BETWEEN = " ,;:，、；："
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_WORD = re.compile(r"[\u2e80-\U0010ffff]|[^\W\u2e80-\U0010ffff]+")

# Median and spread of ln(words of translation / words of source).
_LENGTHS = {
    ("en", "de"): (-0.07, 0.10),
    ("de", "en"): (0.06, 0.11),
    ("en", "zh"): (-0.13, 0.13),
    ("zh", "en"): (0.13, 0.14),
}
_ANY_LENGTH = (0.0, 0.25)
_SHORT, _LONG = 2.0, 3.0  # spreads from the median; what is too long mostly shows in its parts
_UNLIKELY = -2.5  # mean log-probability of a part
_UNSEEN = 0.35  # of the even share of attention
_PART_WORDS, _ROW_WORDS, _MAX_ROW = 3.0, 2.0, 64


def signs(
    source: str, translation: str, from_: str | None, to: str | None, look: Look | None = None
) -> bool:
    """Whether anything about a translation is odd enough to spend more on it.

    from_, to  language codes, None where they are not known
    look       what the decoder knows of it, if it made it

    Errs on the side of yes.
    """
    ours, theirs = parts(source, translation)
    known = set(_NUMBER.findall(translation))
    odd_length = _odd_length(source, translation, from_, to)
    return bool(
        len(ours) > len(theirs)
        or len(sentences(source)) != len(sentences(translation))
        or (num_words(source) > 1 and not -_SHORT < odd_length < _LONG)
        or repeats(source, translation)
        or foreign_parts(translation, to)
        or any(number not in known for number in _NUMBER.findall(source))
        or (END_SIGN.search(source) and not END_SIGN.search(translation))
        or (look is not None and look.is_odd(ours, theirs))
    )


@dataclass(frozen=True)
class Look:
    """What the decoder knows of a translation that it made.

    logprobs      of each token, and its (start, end) in the translation
    shares        of each token of the source the attention that it got, with its (start, end)
    is_finished   it came to an end
    """

    logprobs: Sequence[tuple[Bounds, float]]
    shares: Sequence[tuple[Bounds, float]]
    is_finished: bool

    def is_odd(self, ours: Sequence[Bounds], theirs: Sequence[Bounds]) -> bool:
        """Whether a part of the translation is unlikely, or one of the source was hardly read."""
        if not self.is_finished:
            return True
        if any(mean < _UNLIKELY for mean in _means(theirs, self.logprobs)):
            return True
        even = sum(share for _, share in self.shares) / max(1, len(self.shares))
        return len(ours) > 1 and any(m < _UNSEEN * even for m in _means(ours, self.shares))


def look_of(runtime: Runtime, source: Source, decoded: Decoded, translation: str) -> Look:
    """What there is to be seen of a request that recorded its attention."""
    best, attention = decoded.finished.best, decoded.finished.attention
    tokenizer = runtime.tokenizer
    places = token_spans(tokenizer, translation, best.ids)
    shares: list[tuple[Bounds, float]] = []
    if attention is not None and attention.size:
        read = token_spans(tokenizer, source.text, source.ids[source.start : source.stop])
        got = attention.sum(axis=0)[source.start : source.stop]
        shares = list(zip(read, got.tolist(), strict=False))
    logprobs = list(zip(places, best.token_logprobs, strict=True))
    return Look(logprobs, shares, best.finish_reason == "stop")


def _means(bounds: Sequence[Bounds], values: Sequence[tuple[Bounds, float]]) -> list[float]:
    """The mean value in each stretch that has any."""
    means = []
    for start, end in bounds:
        inside = [value for (first, last), value in values if start <= (first + last) / 2 < end]
        means += [sum(inside) / len(inside)] if inside else []
    return means


def _odd_length(source: str, translation: str, from_: str | None, to: str | None) -> float:
    """How far the length is from what is usual, in spreads."""
    median, spread = usual_length(from_, to)
    # A word more or less says little of short texts.
    spread += 0.5 / (num_words(source) + 1)
    return (log_ratio(source, translation) - median) / spread


def usual_length(from_: str | None, to: str | None) -> tuple[float, float]:
    """Median and spread of log_ratio for two languages."""
    return _LENGTHS.get((from_ or "", to or ""), _ANY_LENGTH)


def log_ratio(source: str, translation: str) -> float:
    """ln(words of the translation / words of the source), of one word more each."""
    return math.log((num_words(translation) + 1) / (num_words(source) + 1))


def repeats(source: str, translation: str) -> list[Bounds]:
    """Stretches of a translation that say once more what stands before them.

    A part of three words or more that is there twice, or two words or more that follow
    themselves; none if the source does the like.
    """
    if has_loop(source) or _again(source):
        return []
    return _again(translation)


def _again(text: str) -> list[Bounds]:
    found: list[Bounds] = []
    seen: set[tuple[str, ...]] = set()
    for start, end in clauses(text):
        words = tuple(_WORD.findall(text[start:end].casefold()))
        if num_words(text[start:end]) >= _PART_WORDS and words in seen:
            found.append((start, end))
        seen.add(words)
    return sorted(found + [bounds for bounds in _rows(text) if not _touches(bounds, found)])


def _rows(text: str) -> list[Bounds]:
    """Two words or more that follow themselves, the shortest such row at each place."""
    places = [match.span() for match in _WORD.finditer(text)]
    numbers: dict[str, int] = {}
    words = [numbers.setdefault(text[start:end].casefold(), len(numbers)) for start, end in places]
    sequence = np.array(words, dtype=np.int64)
    found: list[Bounds] = []
    for size in range(2, min(len(places) // 2, _MAX_ROW) + 1):
        same = np.flatnonzero(sequence[size:] != sequence[:-size])
        edges = np.concatenate(([-1], same, [len(sequence) - size]))
        for before, after in pairwise(edges.tolist()):
            if after - before - 1 >= size:
                bounds = places[before + 1 + size][0], places[after - 1 + size][1]
                is_long = num_words(text[slice(*bounds)]) >= _ROW_WORDS
                if is_long and not _touches(bounds, found):
                    found.append(bounds)
    return found


def said_once(source: str, translation: str) -> str:
    """A translation without what repeats finds in it, nor the commas between."""
    for start, end in reversed(repeats(source, translation)):
        before, after = translation[:start], translation[end:]
        if not after[:1].isalnum():
            before = before.rstrip(_BETWEEN)
            sign = END_SIGN.search(translation[start:end])
            if sign and not after and not END_SIGN.search(before):
                after = sign[0]
        translation = before + after
    return translation


def _touches(bounds: Bounds, others: Sequence[Bounds]) -> bool:
    return any(start < bounds[1] and bounds[0] < end for start, end in others)


def foreign_parts(translation: str, to: str | None) -> list[Bounds]:
    """Sentences of a translation that are in another language than they should be."""
    if to is None:
        return []
    return [
        (start, end)
        for start, end in sentences(translation)
        if is_foreign(translation[start:end], to)
    ]


def parts(source: str, translation: str) -> tuple[list[Bounds], list[Bounds]]:
    """What is compared: sentences, if both sides have several; else clauses."""
    ours, theirs = sentences(source), sentences(translation)
    if len(ours) > 1 and len(theirs) > 1:
        return ours, theirs
    return clauses(source), clauses(translation)


def language_of(runtime: Runtime, text: str, from_: str | None) -> str | None:
    """The language of a source: as stated, or guessed among those of the model."""
    return from_ or guess_language(text, runtime.config.languages)
