"""A text in pieces that are translated each by itself, and their translations put together.

A line break is a border that stays where it is. A line of a few words is one piece. A longer line
is cut at sentence ends, and its pieces hold one sentence, or as many short ones as fit. Only a
sentence longer than the model can read is cut inside, and its pieces say so.

split                  texts to pieces
joined, starts         translated pieces to a text, and where each of them stands in it
sentences, clauses     smaller parts of a text, which others look at one by one
cut                    a stretch in parts of so many tokens
num_words              how long a text is, in any script
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from duologue.explain import Source, token_spans
from duologue.runtime import Runtime
from duologue.text.templates import AnyTokenizer
from duologue.text.tokenizer import FIRST_CJK

# Models learn to translate from single sentences and short turns. Of several at a time they skip
# some: lines of two to four captions get 10 BLEU in pieces of 64 tokens, and 31 in pieces of 16
# (docs/lab-log.md).
PIECE_TOKENS = 16
SENTENCE_TOKENS = 192

# Languages whose sentences follow each other without a blank, however a model spells them.
_BLANKLESS = ("zh", "zho", "cmn", "yue", "wuu", "lzh", "ja", "jpn")
# Both match in linear time: a run of full stops is looked at from its beginning alone. A full stop
# after a single letter or digit is an abbreviation or a number ("z. B.", "1. Mai"), not an end.
_LINE = re.compile(r"[^\r\n]+")
_SENTENCE = re.compile(
    r"""(?:(?<![.!?…؟۔।])(?<!\b\w)[.!?…؟۔।]++["')\]’”»]*+(?=\s)|[。！？；]+[”’」』）》]*|$)\s*"""
)


@dataclass(frozen=True)
class Piece:
    """A stretch of the source that is translated by itself; is_cut: it is not whole sentences."""

    start: int
    end: int
    is_cut: bool = False

    def source(
        self, runtime: Runtime, text: str, to: str | None = None, from_: str | None = None
    ) -> Source:
        """What the encoder reads of it."""
        return runtime.source(text[self.start : self.end].strip(), "translate", from_, to)


# --- apart -------------------------------------------------------------------------------------


def split(
    runtime: Runtime, text: str, to: str | None = None, from_: str | None = None
) -> list[Piece]:
    """The pieces of a text in order; everything outside of them is blank."""
    around = runtime.source("", "translate", from_, to)
    room = runtime.config.max_positions - len(around.ids)
    longest = min(SENTENCE_TOKENS, room)
    shortest = min(PIECE_TOKENS, longest)
    pieces: list[Piece] = []
    for line in _LINE.finditer(text):
        start = line.start() + _num_blank(line[0])
        end = line.start() + len(line[0].rstrip())
        pieces += _line_pieces(runtime, text, start, end, shortest, longest)
    return pieces


def _line_pieces(
    runtime: Runtime, text: str, start: int, end: int, room: int, longest: int
) -> Iterator[Piece]:
    """One line in pieces: sentences together while they fit into `room` tokens."""
    first, num_tokens = start, 0
    for begin, stop in sentences(text, start, end):
        size = len(runtime.tokenizer.encode(text[begin:stop])) + 1
        if num_tokens and num_tokens + size > room:
            yield Piece(first, begin)
            first, num_tokens = begin, 0
        if size > longest:
            for place, last in cut(runtime.tokenizer, text, begin, stop, longest):
                place += _num_blank(text[place:last])
                if place < last:
                    yield Piece(place, last, is_cut=True)
            first = stop
        else:
            num_tokens += size
    if first < end:
        yield Piece(first, end)


def _num_blank(text: str) -> int:
    """How many blanks a text begins with."""
    return len(text) - len(text.lstrip())


# --- smaller parts -----------------------------------------------------------------------------

# Signs between clauses; a comma or colon inside of a number or a word is none of them.
_CLAUSE = re.compile(
    r"""(?:[.!?…;]++["')\]’”»]*+(?=\s|$)|[,:](?=\s)|\s[–—-]++(?=\s)"""
    r"""|[。！？；，：、…]++[”’」』）》]*+)\s*"""
)
_WORD = re.compile(rf"[^\W{FIRST_CJK}-\U0010ffff]+")
_HAN = re.compile(rf"(?=[{FIRST_CJK}-\U0010ffff])\w")
_HAN_A_WORD = 1.6  # Chinese characters that say as much as one English word
_CLAUSE_WORDS = 3.0


def num_words(text: str) -> float:
    """How long a text is, in words; of scripts without blanks, in what would be words."""
    return len(_WORD.findall(text)) + len(_HAN.findall(text)) / _HAN_A_WORD


def sentences(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """(start, end) of each sentence with the blanks behind it; together all from start to end.

    Line breaks are blanks like others.
    """
    found = []
    for match in _SENTENCE.finditer(text, start, len(text) if end is None else end):
        if match.end() > start:
            found.append((start, match.end()))
            start = match.end()
    return found


def cut(
    tokenizer: AnyTokenizer, text: str, start: int, end: int, num_tokens: int
) -> Iterator[tuple[int, int]]:
    """Stretches of at most `num_tokens` tokens, cut between words where there are blanks."""
    body = text[start:end]
    starts = [first for first, _ in token_spans(tokenizer, body, tokenizer.encode(body))]
    done = 0
    while done < len(body):
        token = bisect_left(starts, done) + max(1, num_tokens - 1)  # a new start may cost a token
        stop = max(done + 1, starts[token]) if token < len(starts) else len(body)
        blank = body.rfind(" ", done, stop) + 1
        if stop < len(body) and blank > (done + stop) // 2:
            stop = blank
        yield start + done, start + stop
        done = stop


def clauses(text: str) -> list[tuple[int, int]]:
    """(start, end) of stretches between signs, of three words at least where the text has them.

    Together they are all of the text. Signs are not grammar: a list of things is cut as well.
    """
    starts = [0]
    for sign in _CLAUSE.finditer(text):
        if num_words(text[starts[-1] : sign.end()]) >= _CLAUSE_WORDS:
            starts.append(sign.end())
    if len(starts) > 1 and num_words(text[starts[-1] :]) < _CLAUSE_WORDS:
        starts.pop()
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


# --- together ----------------------------------------------------------------------------------


def joined(text: str, pieces: Sequence[Piece], translations: Sequence[str], to: str | None) -> str:
    """The translated pieces, with the line breaks and blanks of the source between lines."""
    return "".join(
        part
        for gap, translation in zip(gaps(text, pieces, to), translations, strict=True)
        for part in (gap, translation.strip())
    )


def starts(gap_texts: Sequence[str], translations: Sequence[str]) -> list[int]:
    """Where each translation begins in what joined gives."""
    found: list[int] = []
    reached = 0
    for gap, translation in zip(gap_texts, translations, strict=True):
        found.append(reached + len(gap))
        reached = found[-1] + len(translation.strip())
    return found


def gaps(text: str, pieces: Sequence[Piece], to: str | None) -> list[str]:
    """What stands in front of each translated piece: what stood there, or what a language needs."""
    blank = blank_of(to)
    ends = [piece.end for piece in pieces]
    between = [
        text[end : piece.start] or blank for end, piece in zip(ends, pieces[1:], strict=False)
    ]
    return ["", *between][: len(pieces)]


def blank_of(to: str | None) -> str:
    """What stands between two sentences of a language."""
    return "" if re.split("[-_]", to or "")[0].lower() in _BLANKLESS else " "
