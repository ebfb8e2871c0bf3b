"""What no translation may change: variables, addresses, tags, numbers.

find     the placeholders in a text
tags     the text as prose and tags
lost     what of a text its translation lacks, or has too often
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from duologue.apps.translate.numbers import lost_numbers
from duologue.apps.translate.parts import Mark, Part, Parts

_TAG = r"</?[A-Za-z][\w:-]*+(?:\s(?:\"[^\"<>]{0,500}+\"|'[^'<>]{0,500}+'|[^'\"<>]++){0,40}+)?/?>"
_PLACEHOLDER = re.compile(
    rf"""(?P<tag>{_TAG})
    |(?P<url>(?:https?|ftp|file)://[^\s<>"'“”‘’，。；！？、（）「」《》\u4e00-\u9fff]*[\w/=&\#~-]|(?<![\w@.])www\.[\w-]+\.[\w./?=&\#%~-]*[\w/])
    |(?P<email>(?<![\w.+-])[\w.+-]{{1,64}}+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)
    |(?P<braces>\$?\{{\{{[^{{}}\r\n]{{1,200}}\}}\}}|[\$\#]?\{{(?:[^{{}}]|\{{(?:[^{{}}]|\{{[^{{}}]{{0,200}}\}}){{0,200}}\}}){{1,300}}\}})
    |(?P<percent>%(?:\(\w+\)|\d{{1,2}}\$)?[\#0+-]{{0,2}}\d{{0,3}}(?:\.\d{{1,2}})?(?:hh?|ll?|[qjzt])?[sdiufFgGxXoceEr@](?![A-Za-z])
        |%\w{{1,40}}%|%%)
    |(?P<shell>(?<![\w$])\$[A-Za-z_]\w*+(?!@))
    |(?P<emoji>(?<![\w:]):[a-z][a-z0-9_+-]{{1,40}}:(?![\w:]))
    |(?P<path>(?<![\w/.~<])(?:~|\.{{1,2}})?/[\w.@-]+(?:/[\w.@-]+)*[\w@-]/?|(?<!\w)[A-Za-z]:\\[\w.\\-]*\w|(?<![\w/.-])[\w-]+(?:/[\w-]+)*/[\w-]+\.[a-z]{{1,5}}\b)
    |(?P<code>(?<![\w-])(?=[A-Z0-9-]*[0-9])(?=[A-Z0-9-]*[A-Z])[A-Z0-9]+(?:-[A-Z0-9]+)*(?![\w\-\u00c0-\u024f])
        |(?<![\w-])[A-Za-z]+_\w+|(?<!\w)--[a-z][\w-]+)""",
    re.X | re.A,
)
# A letter after a number is its unit, not part of a product's name.
_UNIT = re.compile(r"\d+[A-Z]{1,2}")
_VOID = frozenset(("br", "img", "hr", "wbr", "input"))
_NUMERIC = re.compile(r"%.*[diufFgGxXoeE]|\{(?:\d|n|num\w*|count\w*|total\w*|%?\w*(?:count|num))\}")


@dataclass(frozen=True)
class Placeholder:
    """A stretch of a text that stays as it is; kind: what it is, such as "url"."""

    start: int
    end: int
    text: str
    kind: str

    @property
    def is_number(self) -> bool:
        """Whether a number will stand in its place."""
        return _NUMERIC.fullmatch(self.text) is not None


def find(text: str) -> Iterator[Placeholder]:
    """The placeholders of a text, in order; numbers are none."""
    for found in _PLACEHOLDER.finditer(text):
        kind = found.lastgroup
        assert kind is not None
        if kind != "code" or _UNIT.fullmatch(found[0]) is None:
            yield Placeholder(*found.span(), found[0], kind)


def tags(text: str) -> Parts:
    """The text as prose and tags; tags that belong together are a pair."""
    found = [item for item in find(text) if item.kind == "tag"]
    names = [_name(item.text) for item in found]
    pairs: dict[int, int] = {}
    waiting: list[int] = []
    for place, (item, name) in enumerate(zip(found, names, strict=True)):
        if item.text.startswith("</"):
            if waiting and names[waiting[-1]] == name:
                pairs[waiting.pop()] = pairs[place] = place
        elif not item.text.endswith("/>") and name not in _VOID:
            waiting.append(place)
    parts: list[Part] = []
    reached = 0
    for place, item in enumerate(found):
        if reached < item.start:
            parts.append(text[reached : item.start])
        parts.append(Mark(item.text, item.start, pairs.get(place)))
        reached = item.end
    if reached < len(text):
        parts.append(text[reached:])
    return tuple(parts)


def _name(tag: str) -> str:
    return re.split(r"[\s/>]", tag.lstrip("</"), maxsplit=1)[0].lower()


def lost(source: str, translation: str) -> tuple[str, ...]:
    """What of a text its translation lacks, or has more often than the text has it.

    Placeholders are compared as they are, numbers by their values; see numbers.
    """
    expected = Counter(item.text for item in find(source))
    changed = [text for text, num in expected.items() if translation.count(text) != num]
    # One may be part of another: {a} is in ${a}. Then they are counted as they are found.
    actual = Counter(item.text for item in find(translation))
    problems = [text for text in changed if actual[text] != expected[text]]
    return (*problems, *lost_numbers(_without(source), _without(translation)))


def _without(text: str) -> str:
    """The text without its placeholders, whose digits are no numbers."""
    result, reached = [], 0
    for item in find(text):
        result += [text[reached : item.start], " "]
        reached = item.end
    return "".join([*result, text[reached:]])
