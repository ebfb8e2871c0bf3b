"""What a result leaned on, how sure it is, and what is wrong with it.

token_spans    where each token of a text stands, in characters
unread_span    the end of a text that did not fit
evidence       source spans that the decoder attended to most
Explanation    evidence and the confidence of each piece of a reply
has_loop       whether a text repeats a phrase to no purpose

Offsets count characters of the text (Python's str indices); no span cuts a character.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from duologue.engine.search import Hypothesis
from duologue.errors import EngineError
from duologue.text.tokenizer import FIRST_CJK, StreamDecoder, TokenBytes, with_lead
from duologue.types import Span

MAX_EVIDENCE = 5
_MIN_SHARE = 2.0  # a token is evidence from this many times its even share of attention on
_MAX_PERIOD = 64
_MIN_COPIES, _MIN_LOOP = 3, 6
_MATCH_LETTERS = 32  # how far ahead a letter of a token is looked for in the text
_WORD = re.compile(rf"[{FIRST_CJK}-\U0010ffff]|[^\W{FIRST_CJK}-\U0010ffff]+")


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


@dataclass(frozen=True)
class Explanation:
    """Why a reply is what it is.

    confidence  geometric mean of its token probabilities
    tokens      (piece of text, probability): the pieces in a row are the text; a piece that takes
                several tokens has the product of their probabilities
    evidence    see evidence()
    """

    text: str
    confidence: float
    tokens: tuple[tuple[str, float], ...]
    evidence: tuple[Span, ...]


# --- offsets -----------------------------------------------------------------------------------


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


# --- evidence ----------------------------------------------------------------------------------


def evidence(
    attention: npt.NDArray[np.float32] | None, sources: Sequence[Source], tokenizer: TokenBytes
) -> tuple[Span, ...]:
    """At most MAX_EVIDENCE source spans that got most of the decoder's attention, best first.

    attention  [T, S] float32, rows sum to 1: cross-attention of each produced token over the
               tokens of all sources in a row, mean over heads and layers; None: no evidence

    A span's score is its share of all cross-attention, 0..1, mean over the produced tokens. Spans
    are made of tokens with at least twice an even share; neighbours are merged, and cut words are
    made whole. Attention says where the decoder looked, not what made it decide: read a
    high score as a hint (Jain & Wallace 2019, arXiv:1902.10186).
    """
    if attention is None or attention.size == 0:
        return ()
    shares = attention.mean(axis=0)
    num_text_tokens = sum(source.stop - source.start for source in sources)
    threshold = _MIN_SHARE / max(1, num_text_tokens)
    spans: list[Span] = []
    start = 0
    for segment, source in enumerate(sources):
        own = shares[start + source.start : start + source.stop]
        spans.extend(_segment_evidence(segment, source, own, threshold, tokenizer))
        start += len(source.ids)
    return tuple(sorted(spans, key=lambda span: -span.score)[:MAX_EVIDENCE])


def _segment_evidence(
    segment: int,
    source: Source,
    shares: npt.NDArray[np.float32],
    threshold: float,
    tokenizer: TokenBytes,
) -> list[Span]:
    """The evidence in one segment; shares [tokens of the text] float32."""
    text = source.text
    tokens = token_spans(tokenizer, text, source.ids[source.start : source.stop])
    bounds: list[tuple[int, int]] = []
    for (start, end), share in zip(tokens, shares, strict=True):
        if share < threshold or not text[start:end].strip():
            continue
        start, end = _whole_words(text, start, end)
        if bounds and not text[bounds[-1][1] : start].strip():
            start, end = bounds[-1][0], max(end, bounds.pop()[1])
        bounds.append((start, end))
    spans = []
    for start, end in bounds:
        inside = [first < end and last > start for first, last in tokens]
        score = float(shares[np.array(inside)].sum())
        spans.append(Span(segment, start, end, text[start:end], score))
    return spans


def _whole_words(text: str, start: int, end: int) -> tuple[int, int]:
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


# --- confidence and repetition -----------------------------------------------------------------


def confidence(hypotheses: Sequence[Hypothesis]) -> float:
    """Geometric mean of all token probabilities, end tokens included, 0..1."""
    logprob = sum(hypothesis.logprob for hypothesis in hypotheses)
    return math.exp(logprob / max(1, sum(hypothesis.num_scored for hypothesis in hypotheses)))


def token_confidences(
    tokenizer: TokenBytes, hypothesis: Hypothesis
) -> tuple[tuple[str, float], ...]:
    """Pieces of text with their probabilities; see Explanation.tokens."""
    stream = StreamDecoder(tokenizer)
    pieces: list[tuple[str, float]] = []
    pending = 0.0
    for idx, logprob in zip(hypothesis.ids, hypothesis.token_logprobs, strict=True):
        pending += logprob
        if text := stream.push(idx):
            pieces.append((text, math.exp(pending)))
            pending = 0.0
    if rest := stream.flush():
        pieces.append((rest, math.exp(pending)))
    return tuple(pieces)


def has_loop(text: str) -> bool:
    """Whether a phrase stands three times or more in a row and fills six words or more.

    A character of a script without blanks counts as a word; case and punctuation do not count.
    """
    words = _WORD.findall(text.casefold())
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    sequence = np.array([numbers[word] for word in words], dtype=np.int64)
    for period in range(1, min(len(words) // _MIN_COPIES, _MAX_PERIOD) + 1):
        wanted = max(_MIN_COPIES * period, _MIN_LOOP) - period
        if _longest_run(sequence[period:] == sequence[:-period]) >= wanted:
            return True
    return False


def _longest_run(flags: npt.NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(~np.concatenate(([False], flags, [False])))
    return int(np.diff(edges).max()) - 1
