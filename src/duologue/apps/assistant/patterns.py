"""Utterances that are an example word for word, but for the values of its slots.

matched  the slots of the closest example with marks, if one fits all of the utterance

Where examples are few this is surer than anything that is learnt from them: "note that {text}" says
where the text begins. An example with more typed slots goes before one whose free words would
swallow them: "remind me to {text} at {time}" before "remind me to {text}".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from duologue.apps.assistant.declaration import Example, Slot
from duologue.apps.assistant.tagger import Segment
from duologue.apps.assistant.utterance import Candidate, Utterance

_MAX_FREE = 2  # more free slots could be divided in too many ways
_EDGE = r"[\s.,!?;:。，！？；：]*"


def matched(
    examples: Iterable[Example], utterance: Utterance, slots: Mapping[str, Slot]
) -> list[Segment] | None:
    """The slots by the closest example, which may have none; None if no example fits."""
    best: tuple[int, int] = (-1, -1)
    segments: list[Segment] | None = None
    for example in examples:
        if example.language != utterance.language:
            continue
        typed = [name for name in example.slots if slots[name].kind not in ("text", "place")]
        closeness = len(typed), sum(len(text) for text in (example.lead, *_behind(example)))
        if closeness <= best or len(example.parts) - len(typed) > _MAX_FREE:
            continue
        found = _match(example, utterance, slots)
        if found is not None:
            best, segments = closeness, found
    return segments


def _behind(example: Example) -> list[str]:
    return [after for _, after in example.parts]


def _match(
    example: Example, utterance: Utterance, slots: Mapping[str, Slot]
) -> list[Segment] | None:
    pattern = _EDGE + _fixed(example.lead)
    candidates: list[dict[str, Candidate]] = []
    for name, after in example.parts:
        known: dict[str, Candidate] = {}
        if slots[name].kind in ("text", "place"):
            pattern += r"(\S|\S.*?\S)"
        else:
            for candidate in utterance.candidates(slots[name]):
                known.setdefault(utterance.text[candidate.start : candidate.end], candidate)
            if not known:
                return None
            words = sorted(known, key=lambda text: -len(text))
            pattern += f"({'|'.join(map(re.escape, words))})"
        candidates.append(known)
        pattern += _fixed(after)
    match = re.fullmatch(pattern + _EDGE, utterance.text, re.IGNORECASE | re.DOTALL)
    if match is None:
        return None
    segments: list[Segment] = []
    for number, (name, known) in enumerate(zip(example.slots, candidates, strict=True), 1):
        said = known.get(match[number]) or _stretch(utterance, *match.span(number))
        if said is None:
            return None
        segments.append(Segment.of(name, utterance, said))
    return segments


def _fixed(text: str) -> str:
    """A fixed part, in which any blanks stand for blanks."""
    return re.sub(r"(?:\\?\s)+", lambda _: r"\s+", re.escape(text))


def _stretch(utterance: Utterance, start: int, end: int) -> Candidate | None:
    """The tokens of a stretch of characters, if it has whole ones."""
    inside = [i for i, t in enumerate(utterance.tokens) if t.start >= start and t.end <= end]
    return utterance.free_candidate(inside[0], inside[-1] + 1) if inside else None
