"""Translate texts of any length: lines and sentences are put in pieces, and nothing is lost.

    text  --split-->  pieces  --encode, beam search, many at a time-->  pieces  --join-->  text

A line break is a border that stays where it is. A line of few tokens is one piece. A longer line
is cut at sentence ends, and its pieces hold as many whole sentences as fit. Only a sentence longer
than the model can read is cut inside, and then checks.source_split says where.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from duologue.engine.engine import Finished
from duologue.engine.memory import Memory
from duologue.errors import EngineError, InputError
from duologue.explain import confidence, has_loop, shifted, token_spans
from duologue.runtime import Runtime, check_text
from duologue.types import Alternative, Checks, Options, Result, Span, Usage

OPTIONS = Options(max_tokens=256, beam_size=4, length_penalty=1.0)

# Models learn to translate from single sentences and short turns: in a long line they would skip.
PIECE_TOKENS = 64
SENTENCE_TOKENS = 192

_BLANKLESS = ("zh",)  # languages whose sentences follow each other without a blank
# Both match in linear time: a run of full stops is looked at from its beginning alone. A full stop
# after a single letter or digit is an abbreviation or a number ("z. B.", "1. Mai"), not an end.
_LINE = re.compile(r"[^\r\n]+")
_SENTENCE = re.compile(
    r"""(?:(?<![.!?…])(?<!\b\w)[.!?…]++["')\]’”»]*+(?=\s)|[。！？；]+[”’」』）》]*|$)\s*"""
)


@dataclass(frozen=True)
class _Piece:
    """A stretch of the source that is translated by itself; is_cut: it is not whole sentences."""

    start: int
    end: int
    is_cut: bool = False


@dataclass(frozen=True)
class _Read:
    """What reading a piece cost, and what of it did not fit."""

    unread: tuple[Span, ...]
    num_tokens: int
    encode_ms: float


def translate(
    runtime: Runtime, text: str, to: str, from_: str | None = None, options: Options | None = None
) -> Result:
    """Translate one text; see translate_batch."""
    return translate_batch(runtime, [text], to, from_, options)[0]


def translate_batch(
    runtime: Runtime,
    texts: Sequence[str],
    to: str,
    from_: str | None = None,
    options: Options | None = None,
) -> list[Result]:
    """Translate texts together; results in their order.

    to       language code
    from_    is checked to be a language of the model and not used otherwise: the model
             sees what language it reads
    options  None: OPTIONS (beam search)

    Results lack evidence; they have alternatives if the text was one piece. decode_ms is a text's
    share, by produced tokens, of the time that the batch took. Raises InputError for a language or
    a text of no use, which it names by number if there are several.
    """
    if isinstance(texts, str):
        raise InputError("translate_batch needs a list of texts, not one text")
    prefix = runtime.prefix("translate", to)
    if from_ is not None:
        runtime.require_language(from_)
    options = runtime.fit(options or OPTIONS, prefix)
    plans = [
        split(runtime, _checked(text, number, len(texts))) for number, text in enumerate(texts, 1)
    ]
    reads: list[_Read] = []

    def memories() -> Iterator[tuple[Memory, list[int]]]:
        for text, pieces in zip(texts, plans, strict=True):
            for piece in pieces:
                reading = runtime.read(runtime.source("user", text[piece.start : piece.end]))
                unread = shifted(reading.unread, piece.start)
                reads.append(_Read(unread, reading.memory.encoded_tokens, reading.encode_ms))
                yield reading.memory, prefix

    before = time.perf_counter()
    finished = runtime.engine.generate_batch(memories(), options)
    decode_ms = 1000 * (time.perf_counter() - before) - sum(read.encode_ms for read in reads)
    if any(item.best.finish_reason in ("abort", "error") for item in finished):
        raise EngineError("the translation was ended from outside")
    num_produced = sum(len(item.best.ids) for item in finished)
    ms_per_token = decode_ms / max(1, num_produced)
    results = []
    done = 0
    for text, pieces in zip(texts, plans, strict=True):
        part = slice(done, done + len(pieces))
        done += len(pieces)
        joined = _Joined(text, pieces, reads[part], finished[part])
        results.append(joined.result(runtime, to, ms_per_token))
    return results


def _checked(text: str, number: int, num_texts: int) -> str:
    try:
        return check_text(text)
    except InputError as error:
        if num_texts == 1:
            raise
        raise InputError(f"text {number}: {error}") from None


# --- apart -------------------------------------------------------------------------------------


def split(runtime: Runtime, text: str) -> list[_Piece]:
    """The pieces of a text in order; everything outside of them is blank."""
    longest = min(SENTENCE_TOKENS, runtime.config.max_positions - 1)
    shortest = min(PIECE_TOKENS, longest)
    pieces: list[_Piece] = []
    for line in _LINE.finditer(text):
        start = line.start() + _num_blank(line[0])
        end = line.start() + len(line[0].rstrip())
        pieces += _line_pieces(runtime, text, start, end, shortest, longest)
    return pieces


def _line_pieces(
    runtime: Runtime, text: str, start: int, end: int, room: int, longest: int
) -> Iterator[_Piece]:
    """One line in pieces: sentences together while they fit into `room` tokens."""
    first, num_tokens = start, 0
    for sentence in _sentences(text, start, end):
        size = len(runtime.tokenizer.encode(text[sentence.start : sentence.end])) + 1
        if num_tokens and num_tokens + size > room:
            yield _Piece(first, sentence.start)
            first, num_tokens = sentence.start, 0
        if size > longest:
            yield from _cut(runtime, text, sentence, longest)
            first = sentence.end
        else:
            num_tokens += size
    if first < end:
        yield _Piece(first, end)


def _sentences(text: str, start: int, end: int) -> Iterator[_Piece]:
    for match in _SENTENCE.finditer(text, start, end):
        if match.end() > start:
            yield _Piece(start, match.end())
            start = match.end()


def _cut(runtime: Runtime, text: str, sentence: _Piece, longest: int) -> Iterator[_Piece]:
    """A sentence in pieces of at most `longest` tokens, between words where there are blanks."""
    tokenizer = runtime.tokenizer
    body = text[sentence.start : sentence.end]
    starts = [start for start, _ in token_spans(tokenizer, body, tokenizer.encode(body))]
    done = 0
    while done < len(body):
        token = bisect_left(starts, done) + longest - 1  # one less: a new start may cost a token
        stop = max(done + 1, starts[token]) if token < len(starts) else len(body)
        blank = body.rfind(" ", done, stop) + 1
        if stop < len(body) and blank > (done + stop) // 2:
            stop = blank
        start = done + _num_blank(body[done:stop])
        if start < stop:
            yield _Piece(sentence.start + start, sentence.start + stop, is_cut=True)
        done = stop


def _num_blank(text: str) -> int:
    """How many blanks a text begins with."""
    return len(text) - len(text.lstrip())


# --- together ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Joined:
    """One text with all that belongs to it, piece by piece."""

    text: str
    pieces: list[_Piece]
    reads: list[_Read]
    finished: list[Finished]

    def result(self, runtime: Runtime, to: str, ms_per_token: float) -> Result:
        """The translation of the whole text."""
        best = [item.best for item in self.finished]
        translation = self._translation(runtime, to)
        num_produced = sum(len(hypothesis.ids) for hypothesis in best)
        is_cut = any(hypothesis.finish_reason == "length" for hypothesis in best)
        return Result(
            text=translation,
            finish_reason="length" if is_cut else "stop",
            confidence=confidence(best),
            checks=Checks(
                source_truncated=tuple(span for read in self.reads for span in read.unread),
                repetition=has_loop(translation) and not has_loop(self.text),
                source_split=tuple(self._span(piece) for piece in self.pieces if piece.is_cut),
            ),
            alternatives=self._alternatives(runtime),
            usage=Usage(
                encoded_tokens=sum(read.num_tokens for read in self.reads),
                produced_tokens=num_produced,
                encode_ms=sum(read.encode_ms for read in self.reads),
                decode_ms=num_produced * ms_per_token,
            ),
        )

    def _translation(self, runtime: Runtime, to: str) -> str:
        """The translated pieces, with the line breaks and blanks of the source between lines."""
        parts: list[str] = []
        blank = "" if to in _BLANKLESS else " "
        reached = 0
        for piece, item in zip(self.pieces, self.finished, strict=True):
            gap = self.text[reached : piece.start]
            parts.append("" if not parts else gap or blank)
            parts.append(runtime.tokenizer.decode(list(item.best.ids)).strip())
            reached = piece.end
        return "".join(parts)

    def _alternatives(self, runtime: Runtime) -> tuple[Alternative, ...]:
        if len(self.finished) > 1:
            return ()
        return tuple(
            Alternative(runtime.tokenizer.decode(list(other.ids)), other.logprob)
            for other in self.finished[0].hypotheses[1:]
        )

    def _span(self, piece: _Piece) -> Span:
        return Span(0, piece.start, piece.end, self.text[piece.start : piece.end], 0.0)
