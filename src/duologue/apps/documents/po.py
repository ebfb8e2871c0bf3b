"""Gettext catalogues (.po): what has no translation yet, or a fuzzy one, gets one.

msgid is read and msgstr written; comments, flags, contexts and finished translations stay. A fuzzy
entry stays fuzzy, because somebody wanted it looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from duologue.apps.documents.document import Render, Segment
from duologue.apps.documents.tokens import has_words
from duologue.apps.translate.parts import Parts, text_of
from duologue.errors import InputError

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r|\Z)")
_FIELD = re.compile(
    r'[ \t]*(?P<name>msgctxt|msgid_plural|msgid|msgstr(?:\[(?P<number>\d{1,2})\])?)[ \t]*(?=")'
)
_STRING = re.compile(r'[ \t]*"(?P<body>(?:[^"\\\r\n]|\\.)*+)"[ \t]*')
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_SPELLED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a",
            "\b": "\\b", "\f": "\\f", "\v": "\\v"}  # fmt: skip


@dataclass
class _Value:
    """A string over one or more lines: from its first quote to its last."""

    start: int
    end: int
    text: str


@dataclass
class _Entry:
    """One message."""

    values: dict[str, _Value] = field(default_factory=dict)
    is_fuzzy: bool = False


def segments(text: str) -> Iterator[Segment]:
    """The messages that need a translation. Raises InputError for what is no catalogue."""
    newline = "\r\n" if "\r\n" in text else "\n"
    found = False
    for entry in _entries(text):
        found = found or "msgid" in entry.values
        yield from _segments(entry, newline)
    if not found:
        raise InputError("it is no gettext catalogue: it has no msgid")


def _segments(entry: _Entry, newline: str) -> Iterator[Segment]:
    source, plural = entry.values.get("msgid"), entry.values.get("msgid_plural")
    targets = {name: v for name, v in entry.values.items() if name.startswith("msgstr")}
    if source is None or not source.text:
        return  # the header
    for name, target in targets.items():
        is_singular = name == "msgstr[0]" and len(targets) > 1
        said = source.text if plural is None or is_singular else plural.text
        if (target.text and not entry.is_fuzzy) or not has_words(said):
            continue
        words = said.strip()
        before, after = said[: said.index(words)], said[said.index(words) + len(words) :]
        yield Segment(
            target.start, target.end, (words,), _renderer(before, after, newline), is_filled=True
        )


def _renderer(before: str, after: str, newline: str) -> Render:
    def render(parts: Parts) -> str:
        lines = re.findall(r"[^\n]*\n|[^\n]+", before + text_of(parts) + after)
        spelled = [f'"{line.translate(str.maketrans(_SPELLED))}"' for line in lines]
        return spelled[0] if len(spelled) == 1 else newline.join(['""', *spelled])

    return render


def _entries(text: str) -> Iterator[_Entry]:
    """The messages in order; obsolete ones are comments."""
    entry, current = _Entry(), None
    for number, line in enumerate(_LINE.finditer(text), 1):
        body = line[0].rstrip("\r\n")
        if body.lstrip().startswith("#"):
            if "msgstr" in "".join(entry.values):
                yield entry
                entry = _Entry()
            current = None
            if body.lstrip().startswith("#,") and re.search(r"\bfuzzy\b", body):
                entry.is_fuzzy = True
            continue
        named = _FIELD.match(text, line.start(), line.start() + len(body))
        string = _STRING.fullmatch(
            text, named.end() if named else line.start(), line.start() + len(body)
        )
        if named is not None and string is not None:
            name = named["name"]
            if name in ("msgctxt", "msgid") and "msgstr" in "".join(entry.values):
                yield entry
                entry = _Entry()
            quote = text.index('"', named.end())
            current = _Value(quote, 0, "")
            entry.values[name] = current
        elif not body.strip():
            current = None
            continue
        if string is None or current is None:
            raise InputError(f"it is no gettext catalogue: line {number} cannot be read")
        current.text += _unescaped(string["body"])
        current.end = text.rindex('"', 0, string.end()) + 1
    if entry.values:
        yield entry


def _unescaped(body: str) -> str:
    def said(escape: re.Match[str]) -> str:
        if escape[1]:
            return chr(int(escape[1], 8))
        return chr(int(escape[2], 16)) if escape[2] else _LETTERS.get(escape[3], escape[3])

    return _ESCAPE.sub(said, body)
