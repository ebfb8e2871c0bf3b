"""YAML: strings that are values are translated; keys, comments, anchors and order stay.

A value keeps its style: plain, quoted, or a block. Where a translation cannot be plain it is put in
double quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from duologue.apps.documents.document import Render, Segment
from duologue.apps.documents.tokens import Token, has_words, segment_of, soft_break
from duologue.apps.translate.parts import Parts, text_of
from duologue.errors import InputError

MAX_YAML_BYTES = 4 * 2**20
MAX_DEPTH = 200
_STRING_TAG = "tag:yaml.org,2002:str"
_LINE = re.compile(r"[^\r\n]+")
_PARAGRAPH = re.compile(r"[ ]*[^\s][^\r\n]*(?:(?:\r\n|\n|\r)[ ]*[^\s][^\r\n]*)*")
_BREAK = re.compile(r"[ \t]*(?:\r\n|\n|\r)[ \t]*")


def segments(text: str) -> Iterator[Segment]:
    """The values that say something. Raises InputError for what is no YAML."""
    if len(text) > MAX_YAML_BYTES:
        raise InputError(f"YAML of more than {MAX_YAML_BYTES:,} characters is not read")
    try:
        for token in _values(text):
            yield from _segments(text, token)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"it is no YAML: {_problem(error)}") from None


def _problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    return f"{where}{getattr(error, 'problem', None) or error}"


def _values(text: str) -> Iterator[yaml.ScalarToken]:
    """The tokens of the strings that are values, in order."""
    tokens = (t for t in yaml.scan(text, Loader=yaml.SafeLoader) if isinstance(t, yaml.ScalarToken))
    waiting: list[bool | None] = []  # for each open collection: is a key next; None in a sequence
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            waiting.pop()
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        is_key = bool(waiting) and waiting[-1] is True
        if waiting and waiting[-1] is not None:
            waiting[-1] = not waiting[-1]
        if isinstance(event, yaml.CollectionStartEvent):
            waiting.append(True if isinstance(event, yaml.MappingStartEvent) else None)
            if len(waiting) > MAX_DEPTH:
                raise InputError(f"YAML is nested more than {MAX_DEPTH} deep")
        elif isinstance(event, yaml.ScalarEvent) and (event.value or event.style):
            token = next(tokens)
            tag = event.tag or _tag(event)
            if not is_key and tag in (_STRING_TAG, "!"):
                yield token


def _tag(event: yaml.ScalarEvent) -> str:
    """What kind of value a scalar is, if it does not say so itself."""
    resolver: Any = yaml.resolver.Resolver()
    return str(resolver.resolve(yaml.ScalarNode, event.value, event.implicit))


def _segments(text: str, token: yaml.ScalarToken) -> Iterator[Segment]:
    start, end = token.start_mark.index, token.end_mark.index
    if token.style in ("|", ">"):
        yield from _block(text, start, end, token.style)
    elif has_words(token.value):
        said = token.value
        words = said.strip()
        parts = (words,)
        before, after = said[: said.index(words)], said[said.index(words) + len(words) :]
        yield Segment(start, end, parts, _renderer(before, after, token.style))


def _renderer(before: str, after: str, style: str | None) -> Render:
    def render(parts: Parts) -> str:
        value = before + text_of(parts) + after
        is_one_line = "\n" not in value and value.isprintable()
        if style is None and is_one_line and _is_plain(value):
            return value
        if style == "'" and is_one_line:
            return "'" + value.replace("'", "''") + "'"
        return (
            json.dumps(value, ensure_ascii=False).replace("\x7f", "\\x7f").replace("\x85", "\\x85")
        )

    return render


def _is_plain(value: str) -> bool:
    """Whether it can stand without quotes anywhere, and is a string then."""
    try:
        for document, expected in ((f"k: {value}", (3, 2)), (f"[{value}]", (2, 1))):
            events = [*yaml.parse(document, Loader=yaml.SafeLoader)]
            scalars = [event for event in events if isinstance(event, yaml.ScalarEvent)]
            num_nodes = sum(isinstance(event, yaml.NodeEvent) for event in events)
            last = scalars[-1]
            if (num_nodes, len(scalars)) != expected or last.value != value:
                return False
            if last.tag or last.anchor or _tag(last) != _STRING_TAG:
                return False
    except (yaml.YAMLError, ValueError):
        return False
    return True


def _block(text: str, start: int, end: int, style: str) -> Iterator[Segment]:
    """The lines of a literal block, or the paragraphs of a folded one."""
    head = _BREAK.search(text, start, end)
    if head is None:
        return
    pattern = _LINE if style == "|" else _PARAGRAPH
    first = re.compile(r"(?:\r\n|\n|\r)").search(text, start, end)
    assert first is not None
    for found in pattern.finditer(text, first.end(), end):
        if "#" in found[0] and not found[0].startswith(" "):
            continue  # a comment after the block
        tokens: list[Token] = []
        place = found.start()
        for line_break in _BREAK.finditer(text, *found.span()):
            said = text[place : line_break.start()]
            tokens += [Token(place, said, said), soft_break(text, *line_break.span())]
            place = line_break.end()
        tokens.append(Token(place, text[place : found.end()], text[place : found.end()]))
        segment = segment_of(tokens)
        if segment is not None:
            yield segment
