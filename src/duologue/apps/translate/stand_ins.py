"""Words that stand for placeholders while a text is translated.

NAMES, NUMBERS  what is tried, in this order for most placeholders
StandIn         one of them, as it is written and as it may come back

Measured with `benchmarks/placeholders.py`: a model that was trained on everyday sentences never
copies `{name}`, and in most sentences copies a name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class StandIn:
    """A word that stands for a placeholder, with the other ways in which it may come back."""

    word: str
    others: tuple[str, ...] = ()

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds it in a translation; a German genitive may follow a name."""
        words = "|".join(map(re.escape, (self.word, *self.others)))
        if self.word.isdigit():
            return re.compile(rf"(?<![\d.,])(?:{words})(?![\d]|[.,]\d)")
        return re.compile(rf"(?<![A-Za-z])(?:{words})(?![A-Za-rt-z])")


NAMES = (
    StandIn("Tom", ("汤姆",)),
    StandIn("Mary", ("Maria", "玛丽")),
    StandIn("John", ("约翰",)),
    StandIn("Anna", ("安娜",)),
    StandIn("Peter", ("彼得",)),
    StandIn("Paul", ("保罗",)),
)
NUMBERS = tuple(StandIn(word) for word in ("42", "17", "58", "23", "64", "36"))


def chosen(text: str, is_number: list[bool], attempt: int) -> list[StandIn] | None:
    """One for each placeholder, none of which the text itself holds; None if there are too few.

    text       the prose around them
    is_number  for each placeholder whether a number will stand in its place
    attempt    0, then 1: the other kind
    """
    free = {
        kind: [item for item in kinds if item.pattern.search(text) is None]
        for kind, kinds in ((False, NAMES), (True, NUMBERS))
    }
    result = []
    for number in is_number:
        kind = number != (attempt == 1)
        if not free[kind]:
            return None
        result.append(free[kind].pop(0))
    return result


ATTEMPTS = 2
