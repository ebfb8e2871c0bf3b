"""Whether a text answers a question, or puts a value right.

fit       the value that a text gives one slot, and whether it can be anything else
fitting   the slots of a command that a correction gives values for
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from duologue.apps.assistant.declaration import Slot
from duologue.apps.assistant.tagger import Segment
from duologue.apps.assistant.utterance import Utterance
from duologue.apps.assistant.values.found import words_of

# Words that answers begin and end with, besides the value.
_FILLERS = frozenset(
    words_of("""at on in for to of the a an it its it's is please about around make that i want and
    um am im in der die das den dem für auf bei es ist bitte so gegen ein eine einen und nach
    在 到 为 请 吧 的 是 要 就 了""")
)
_MAX_CORRECTED_TOKENS = 6  # a correction of a free slot is short


@dataclass(frozen=True)
class Fit:
    """is_whole: the text can hardly be anything else; of free words nobody knows."""

    segment: Segment
    is_whole: bool


def fit(utterance: Utterance, slot: Slot) -> Fit | None:
    """The first value that a text gives a slot."""
    if not utterance.tokens:
        return None
    if slot.kind in ("text", "place"):
        first, stop = 0, len(utterance.tokens)
        words = [token.text.casefold() for token in utterance.tokens]
        while first < stop and not words[first][0].isalnum():
            first += 1
        while slot.kind == "place" and first < stop - 1 and words[first] in _FILLERS:
            first += 1
        while stop > first and not words[stop - 1][0].isalnum():
            stop -= 1
        if first == stop:
            return None
        is_place = slot.kind == "place" and (stop - first <= 2 or bool(utterance.found["place"]))
        candidate = utterance.free_candidate(first, stop)
        return Fit(Segment.of(slot.name, utterance, candidate), is_place)
    candidates = utterance.candidates(slot)
    if not candidates:
        return None
    chosen = max(candidates, key=lambda candidate: candidate.end - candidate.start)
    rest = [
        token.text.casefold()
        for index, token in enumerate(utterance.tokens)
        if not chosen.first <= index < chosen.stop
    ]
    is_whole = all(word in _FILLERS or not word[0].isalnum() for word in rest)
    return Fit(Segment.of(slot.name, utterance, chosen), is_whole)


def fitting(
    utterance: Utterance, slots: Mapping[str, Slot], filled: Mapping[str, Any]
) -> list[Segment]:
    """What a correction gives: typed values first, slots that are filled before those that are not.

    Only where nothing typed fits, and the command has one free slot that is filled, a few words are
    its new value.
    """
    order = sorted(slots.values(), key=lambda slot: slot.name not in filled)
    result: list[Segment] = []
    for slot in order:
        if slot.kind in ("text", "place"):
            continue
        if any(slots[segment.slot].kind == slot.kind != "choice" for segment in result):
            continue
        found = fit(utterance, slot)
        if found is not None and all(_apart(found.segment, other) for other in result):
            result.append(found.segment)
    if result:
        return result
    free = [slot for slot in order if slot.kind in ("text", "place") and slot.name in filled]
    if len(free) == 1 and len(utterance.tokens) <= _MAX_CORRECTED_TOKENS:
        found = fit(utterance, free[0])
        return [found.segment] if found is not None else []
    return []


def _apart(one: Segment, other: Segment) -> bool:
    a, b = one.candidate, other.candidate
    return a.stop <= b.first or b.stop <= a.first
