"""Documents in passages: a few whole sentences each, with the headings that they stand under.

split       sections to passages
sentences   where the sentences of a text stand
Passage     what is found, read and cited
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from duologue.apps.support.outline import Section
from duologue.explain import token_spans
from duologue.text.templates import AnyTokenizer

PASSAGE_TOKENS = 144
SEPARATOR = " › "

# A full stop after a single letter or digit is an abbreviation or a number, not an end.
_END = re.compile(
    r"""(?:(?<![.!?…])(?<!\b\w)[.!?…]++["')\]’”»]*+(?=\s|$)|[。！？；]+[”’」』）》]*|\n\s*\n"""
    r"""|\n(?=[ \t]*(?:[-*+•]|\d+[.)])\s)|$)\s*"""
)


@dataclass(frozen=True)
class Passage:
    """heading  the path of headings above it; may be empty
    text     whole sentences, as they stand in the document
    """

    heading: str
    text: str

    @property
    def lead(self) -> str:
        """What is read before the text."""
        return f"{self.heading}\n" if self.heading else ""

    @property
    def hash(self) -> str:
        """Names what is read: the same for passages that read the same."""
        return hashlib.sha256(f"passage\0{self.lead}\0{self.text}".encode()).hexdigest()


def split(
    tokenizer: AnyTokenizer, sections: Sequence[Section], num_tokens: int = PASSAGE_TOKENS
) -> list[Passage]:
    """The passages of a document in order.

    num_tokens  most tokens of a passage, headings included, of this tokenizer
    """
    passages: list[Passage] = []
    for section in sections:
        heading = _heading(tokenizer, section.headings, num_tokens // 3)
        room = num_tokens - len(tokenizer.encode(Passage(heading, "").lead))
        for start, end in _packed(tokenizer, section.text, max(8, room)):
            passages.append(Passage(heading, section.text[start:end].strip()))
    return [passage for passage in passages if passage.text]


def sentences(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence, without blanks around it; a blank line ends one, too."""
    return [
        (start, start + len(text[start:end].rstrip()))
        for start, end in _stretches(text)
        if text[start:end].strip()
    ]


def _heading(tokenizer: AnyTokenizer, headings: Sequence[str], room: int) -> str:
    """The path of headings; the outermost go first where there is no room for all."""
    for first in range(len(headings)):
        heading = SEPARATOR.join(headings[first:])
        if len(tokenizer.encode(heading)) <= room:
            return heading
    last = headings[-1] if headings else ""
    for start, end in _cut(tokenizer, last, 0, len(last), room):
        return last[start:end].strip()
    return ""


def _stretches(text: str) -> Iterator[tuple[int, int]]:
    """Sentences with the blanks that follow them: all of the text."""
    start = 0
    for match in _END.finditer(text):
        if match.end() > start:
            yield start, match.end()
            start = match.end()


def _packed(tokenizer: AnyTokenizer, text: str, room: int) -> list[tuple[int, int]]:
    """Stretches of whole sentences of at most `room` tokens each, of about the same size."""
    pieces: list[tuple[int, int, int]] = []
    for start, end in _stretches(text):
        size = len(tokenizer.encode(text[start:end]))
        if size <= room:
            pieces.append((start, end, size))
        else:
            for first, last in _cut(tokenizer, text, start, end, room):
                pieces.append((first, last, len(tokenizer.encode(text[first:last]))))
    total = sum(size for _, _, size in pieces)
    wanted = total / max(1, -(-total // room))  # or the last passage might be a scrap
    packed: list[tuple[int, int]] = []
    begin, taken = 0, 0
    for start, _, size in pieces:
        is_full = taken + size > room
        if taken and (is_full or taken + size / 2 > wanted):
            packed.append((begin, start))
            begin, taken = start, 0
        taken += size
    if taken:
        packed.append((begin, len(text)))
    return packed


def _cut(
    tokenizer: AnyTokenizer, text: str, start: int, end: int, room: int
) -> Iterator[tuple[int, int]]:
    """A sentence in pieces of at most `room` tokens, between words where there are blanks."""
    body = text[start:end]
    starts = [first for first, _ in token_spans(tokenizer, body, tokenizer.encode(body))]
    done = 0
    while done < len(body):
        token = bisect_left(starts, done) + max(1, room - 1)  # a new start may cost a token
        stop = max(done + 1, starts[token]) if token < len(starts) else len(body)
        blank = body.rfind(" ", done, stop) + 1
        if stop < len(body) and blank > (done + stop) // 2:
            stop = blank
        yield start + done, start + stop
        done = stop
