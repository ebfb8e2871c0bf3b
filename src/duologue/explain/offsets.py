"""Where each token of a text stands, in characters.

Source        a segment of a memory and the text that it was made from
token_spans   where each token of a text stands
unread_span   the end of a text that did not fit
shifted       spans in a longer text
whole_words   bounds moved outwards where they cut a word

Offsets count characters of the text (Python's str indices); no span cuts a character.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from duologue.errors import EngineError
from duologue.text.tokenizer import FIRST_CJK, TokenBytes, with_lead
from duologue.types import Span

_MATCH_LETTERS = 32  # how far ahead a letter of a token is looked for in the text


@dataclass(frozen=True)
class Source:
    """One segment of a memory and the text it was made from.

    ids  what the encoder reads. ids[start:stop] are the first tokens of the text, all of them
         unless it was too long; around them stand roles, prompts and the like
    """

    ids: tuple[int, ...]
    text: str
    start: int
    stop: int

    def cut(self, num_tokens: int) -> Source:
        """The source with so many ids at most: what is too much is taken from the text's end.

        Raises EngineError if not even what stands around the text fits.
        """
        excess = max(0, len(self.ids) - num_tokens)
        stop = self.stop - excess
        if stop < self.start:
            raise EngineError(
                f"{len(self.ids) - self.stop + self.start} tokens stand around the text, "
                f"there is room for {num_tokens}"
            )
        return replace(self, ids=(*self.ids[:stop], *self.ids[self.stop :]), stop=stop)


def token_spans(tokenizer: TokenBytes, text: str, ids: Sequence[int]) -> list[tuple[int, int]]:
    """(start, end) of each token; ids are the first ones of the text's encoding.

    Tokens that share a character, because it is spelled as bytes, all span all of it. A token that
    stands for no text, such as one for the unknown, spans nothing. Where a tokenizer changes texts
    before it cuts them, characters are matched as far as they can be.
    """
    pieces = [tokenizer.token_bytes(idx) for idx in ids]
    char_at = _char_at_byte(text, b"".join(pieces))
    spans: list[tuple[int, int]] = []
    first = end = 0
    for piece in pieces:
        if piece:
            chars = char_at[first], char_at[first + len(piece) - 1]
            spans.append((max(0, int(chars[0])), int(chars[1]) + 1))
            first, end = first + len(piece), spans[-1][1]
        else:
            spans.append((end, end))
    return spans


def unread_span(
    tokenizer: TokenBytes, text: str, ids: Sequence[int], num_read: int, segment: int
) -> tuple[Span, ...]:
    """What of the text, with all its tokens, the first num_read leave out: one span, or none."""
    if num_read >= len(ids):
        return ()
    start = token_spans(tokenizer, text, ids)[num_read][0]
    return (Span(segment, start, len(text), text[start:], 0.0),)


def _char_at_byte(text: str, data: bytes) -> npt.NDArray[np.int64]:
    """Index of the character of the text that each byte of its tokens is part of.

    -1 is a blank in front of the text.
    """
    for lead in (with_lead(text), text, " " + text):
        if lead.encode().startswith(data):
            codes = np.frombuffer(data, dtype=np.uint8)
            begins = (codes & 0xC0) != 0x80  # bytes 10xxxxxx go on a character
            result: npt.NDArray[np.int64] = np.cumsum(begins) - 1 - (len(lead) - len(text))
            return result
    return np.array(_matched(text, data.decode(errors="surrogateescape")), dtype=np.int64)


def _matched(text: str, spelled: str) -> list[int]:
    """For each byte of a spelling the character of the text it most likely comes from.

    Compared without case, blanks and compositions; what is not found is where its predecessor is.
    """
    letters = [(letter, place) for place, char in enumerate(text) for letter in _letters(char)]
    places: list[int] = []
    next_letter = place = num_blank = 0
    for char in spelled:
        num_bytes = len(char.encode(errors="surrogateescape"))
        if char.isspace():
            num_blank += num_bytes
            continue
        before = place
        for letter in _letters(char):
            near = letters[next_letter : next_letter + _MATCH_LETTERS]
            found = next((i for i, (other, _) in enumerate(near) if other == letter), None)
            if found is not None:
                place = near[found][1]
                next_letter += found + 1
        blank = max(before, place - text[max(0, place - 1) : place].isspace())
        places += [blank] * num_blank + [place] * num_bytes
        num_blank = 0
    return places + [place] * num_blank


def _letters(char: str) -> str:
    return "".join(unicodedata.normalize("NFKD", char).casefold().split())


def shifted(spans: Sequence[Span], offset: int) -> tuple[Span, ...]:
    """The spans as offsets into a longer text that has `offset` more characters in front."""
    return tuple(replace(span, start=span.start + offset, end=span.end + offset) for span in spans)


def whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """The bounds without outer blanks, and moved outwards where they cut a word.

    Scripts without blanks between words have no word edges to move to.
    """
    while text[start].isspace():
        start += 1
    while text[end - 1].isspace():
        end -= 1
    while start > 0 and _in_word(text[start - 1]) and _in_word(text[start]):
        start -= 1
    while end < len(text) and _in_word(text[end - 1]) and _in_word(text[end]):
        end += 1
    return start, end


def _in_word(char: str) -> bool:
    return char.isalnum() and char < FIRST_CJK
