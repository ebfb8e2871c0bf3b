"""One thing that was said, and every stretch of it that could be the value of a slot.

Utterance    text, tokens, and candidates(slot)
Candidate    a stretch, with the value it would give
filled       an example with values in its slots, as somebody could have said it

Candidates are all that a command may hold: values that no recogniser reads, choices that nobody
declared and words that were not said cannot come out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any

from duologue.apps.assistant.cities import find_cities
from duologue.apps.assistant.declaration import Example, Slot
from duologue.apps.assistant.values import KINDS, Found, find_values
from duologue.apps.assistant.values.found import longest

MAX_CHARS = 1000  # longer texts are no commands
MAX_TOKENS = 250
_MAX_WAY_TOKENS = 12
MAX_FREE_TOKENS = {"text": 60, "place": 8}

# Words, with inner apostrophes, dots and hyphens; Chinese characters and signs by themselves.
_TOKEN = re.compile(
    r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+(?:['’.\-:,][^\W_\u3400-\u9fff]+)*|[^\w\s]|_"
)
_MEANING = (
    "place",
    "date",
    "time",
    "duration",
    "number",
)  # what reads as a number may be more than one


@dataclass(frozen=True)
class Token:
    """A word, a sign, or one Chinese character."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Candidate:
    """text[start:end] as the value of a slot; first and stop count tokens."""

    start: int
    end: int
    first: int
    stop: int
    value: Any


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text, MAX_TOKENS at most."""
    matches = _TOKEN.finditer(text)
    return [
        Token(m[0], m.start(), m.end()) for m, _ in zip(matches, range(MAX_TOKENS), strict=False)
    ]


class Utterance:
    """A text in a language, on a day that its dates are relative to.

    lexicon  casefolded ways to say a choice, each with the name of a slot that knows it
    """

    def __init__(
        self, text: str, language: str, today: date, lexicon: Mapping[str, str] | None = None
    ) -> None:
        self.text = text
        self.language = language
        self.today = today
        self._lexicon = lexicon or {}
        self.tokens = tokens_of(text)

    @cached_property
    def found(self) -> Mapping[str, list[Found]]:
        """Kind -> what the recognisers read; kinds may overlap."""
        text = self.text[:MAX_CHARS]
        found = {kind: find_values(text, kind, self.language, self.today) for kind in KINDS}
        return {**found, "place": find_cities(text)}

    @cached_property
    def meanings(self) -> list[Found]:
        """Of all that was read the longest stretches, which do not overlap."""
        ordered = [item for kind in _MEANING for item in self.found[kind]]
        return longest(ordered)

    def candidates(self, slot: Slot) -> list[Candidate]:
        """Stretches that a typed slot may hold; those of free ones are all_spans."""
        if slot.kind == "choice":
            return list(self._choices(slot))
        found = self.found.get(slot.kind, [])
        if slot.kind == "number":
            # "ten" of "ten minutes" is no number of its own.
            inside = [m for m in self.meanings if m.kind != "number"]
            found = [
                f for f in found if not any(m.start <= f.start < m.end for m in inside)
            ] or found
        return [c for item in found if (c := self._candidate(item.start, item.end, item.value))]

    def free_candidate(self, first: int, stop: int) -> Candidate:
        """The stretch of tokens first..stop-1 as it was said."""
        start, end = self.tokens[first].start, self.tokens[stop - 1].end
        return Candidate(start, end, first, stop, self.text[start:end])

    def _candidate(self, start: int, end: int, value: Any) -> Candidate | None:
        inside = [
            i for i, token in enumerate(self.tokens) if token.start < end and token.end > start
        ]
        return Candidate(start, end, inside[0], inside[-1] + 1, value) if inside else None

    @cached_property
    def marks(self) -> list[tuple[int, int, str]]:
        """(first token, token behind the last, slot) of what the lexicon knows."""
        return list(self._said(self._lexicon))

    def _choices(self, slot: Slot) -> Iterator[Candidate]:
        """Ways to say a choice, the longest at each place."""
        for first, stop, value in self._said(slot.ways(self.language)):
            yield replace(self.free_candidate(first, stop), value=value)

    def _said(self, ways: Mapping[str, str]) -> Iterator[tuple[int, int, str]]:
        """Where something of `ways` is said, the longest at each place, and what it stands for."""
        longest_way = max(map(len, ways), default=0)
        at, tokens = 0, self.tokens
        while at < len(tokens):
            for stop in range(min(len(tokens), at + _MAX_WAY_TOKENS), at, -1):
                start, end = tokens[at].start, tokens[stop - 1].end
                if end - start > longest_way + 2:
                    continue
                value = ways.get(" ".join(self.text[start:end].casefold().split()))
                if value is not None:
                    yield at, stop, value
                    at = stop - 1
                    break
            at += 1


# --- examples as utterances --------------------------------------------------------------------

_NUMBERS = (
    ("three", "20", "seventy", "5"),
    ("drei", "20", "siebzig", "5"),
    ("三", "20", "七十", "5"),
)
_SAMPLES: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "number": _NUMBERS[0],
        "duration": ("ten minutes", "an hour and a half", "45 seconds", "2 hours", "a week"),
        "time": ("3 pm", "half past seven", "16:30", "seven thirty", "noon"),
        "date": ("tomorrow", "next friday", "march 5", "today", "on monday", "in three days"),
        "place": ("london", "New York", "Oakville", "berlin", "Little Rock", "tokyo"),
        "text": (
            "buy milk",
            "call my mother about the party",
            "water the plants",
            "the meeting was moved",
            "Anna",
            "eggs and flour for the cake",
            "send the report to Mr Smith",
            "pizza",
            "that the door is locked",
            "pay rent",
            "my glasses are in the car",
            "dentist appointment",
        ),
    },
    "de": {
        "number": _NUMBERS[1],
        "duration": (
            "zehn minuten",
            "anderthalb Stunden",
            "45 Sekunden",
            "2 Stunden",
            "einer Woche",
        ),
        "time": ("15 Uhr", "halb acht", "16:30 Uhr", "7 Uhr 30", "acht"),
        "date": ("morgen", "nächsten Freitag", "5. März", "heute", "am Montag", "in drei Tagen"),
        "place": ("Berlin", "New York", "Neustadt", "hamburg", "Bad Aibling", "Tokio"),
        "text": (
            "Milch kaufen",
            "meine Mutter wegen der Feier anrufen",
            "Blumen gießen",
            "das Treffen ist verschoben",
            "Anna",
            "Eier und Mehl für den Kuchen",
            "den Bericht an Herrn Schmidt schicken",
            "Pizza",
            "dass die Tür zu ist",
            "die Miete",
            "meine Brille liegt im Auto",
            "den Termin beim Zahnarzt",
        ),
    },
    "zh": {
        "number": _NUMBERS[2],
        "duration": ("十分钟", "一个半小时", "45秒", "2小时", "一周"),
        "time": ("下午三点", "七点半", "16:30", "早上七点", "中午"),
        "date": ("明天", "下周五", "3月5日", "今天", "星期一", "三天后"),
        "place": ("北京", "纽约", "青田", "上海", "石家庄", "东京"),
        "text": (
            "买牛奶",
            "给妈妈打电话说聚会的事",
            "浇花",
            "会议改期了",
            "小明",
            "鸡蛋和面粉做蛋糕",
            "把报告发给王先生",
            "披萨",
            "门锁好了",
            "交房租",
            "眼镜在车里",
            "看牙医",
        ),
    },
}
NUM_FILLS = 3


@dataclass(frozen=True)
class Filled:
    """An example with values: its text and where the slots are, in characters."""

    text: str
    language: str
    places: tuple[tuple[str, int, int], ...]


def filled(example: Example, slots: Mapping[str, Slot], turn: int) -> Filled:
    """The example with its own values, or sample values that differ from turn to turn."""
    text = example.lead
    places: list[tuple[str, int, int]] = []
    values = example.values or ("",) * len(example.parts)
    for place, ((name, after), value) in enumerate(zip(example.parts, values, strict=True)):
        value = value or sample(slots[name], example.language, turn + place)
        places.append((name, len(text), len(text) + len(value)))
        text += value + after
    return Filled(text, example.language, tuple(places))


def sample(slot: Slot, language: str, turn: int) -> str:
    """Something that may be said for a slot."""
    if slot.kind == "choice":
        ways: Sequence[str] = [
            way
            for value, by_language in slot.choices.items()
            for way in by_language.get(language, (value.replace("_", " "),))
        ]
    else:
        ways = _SAMPLES[language][slot.kind]
    return ways[turn % len(ways)]
