"""Documents in passages: a few whole sentences each, with the headings that they stand under.

split       sections to passages
sentences   where the sentences of a text stand
Passage     what is found, read and cited
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from duologue.apps.support.outline import Section
from duologue.apps.translate import pieces
from duologue.text.templates import AnyTokenizer

PASSAGE_TOKENS = 144
SEPARATOR = " › "

# Blank lines and items of lists end a sentence, too.
_BORDER = re.compile(r"(?:\n\s*\n|\n(?=[ \t]*(?:[-*+•]|\d+[.)])\s)|$)\s*")


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
    for start, end in pieces.cut(tokenizer, last, 0, len(last), room):
        return last[start:end].strip()
    return ""


def _stretches(text: str) -> Iterator[tuple[int, int]]:
    """Sentences with the blanks that follow them: all of the text."""
    start = 0
    for border in _BORDER.finditer(text):
        yield from pieces.sentences(text, start, border.end())
        start = border.end()


def _packed(tokenizer: AnyTokenizer, text: str, room: int) -> list[tuple[int, int]]:
    """Stretches of whole sentences of at most `room` tokens each, of about the same size."""
    found: list[tuple[int, int, int]] = []
    for start, end in _stretches(text):
        size = len(tokenizer.encode(text[start:end]))
        if size <= room:
            found.append((start, end, size))
        else:
            for first, last in pieces.cut(tokenizer, text, start, end, room):
                found.append((first, last, len(tokenizer.encode(text[first:last]))))
    total = sum(size for _, _, size in found)
    wanted = total / max(1, -(-total // room))  # or the last passage might be a scrap
    packed: list[tuple[int, int]] = []
    begin, taken = 0, 0
    for start, _, size in found:
        is_full = taken + size > room
        if taken and (is_full or taken + size / 2 > wanted):
            packed.append((begin, start))
            begin, taken = start, 0
        taken += size
    if taken:
        packed.append((begin, len(text)))
    return packed
