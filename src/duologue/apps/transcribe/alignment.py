"""When each word was spoken, from where the decoder looked while it wrote.

align          cross-attention of some heads -> the position at which each token begins
split_words    tokens -> words

Attention is made a cost, and dynamic time warping finds the cheapest way through it on which
neither tokens nor time go back (Sakoe & Chiba 1978, doi:10.1109/TASSP.1978.1163055, with unit
steps). Which heads follow the time of speech, GenerationConfig.alignment_heads says.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duologue.engine.sampling import Floats, Ints

_MEDIAN_WIDTH = 7
_ROUNDING = 1e-5  # weights that differ by a smaller share are the same
_BLANKLESS = ("zh", "ja", "th", "lo", "my", "yue")
_OPENING = "\"'“‘¿([{-«「『（《"
_CLOSING = "\"'”’.。,，!！?？:：;；)]}、»」』）》…"


@dataclass(frozen=True)
class WordTokens:
    """A word and the tokens that spell it."""

    text: str
    tokens: tuple[int, ...]


def align(attention: Floats, num_given: int) -> Ints:
    """The positions [n + 1] at which each of n produced tokens begins, and the last one ends.

    attention  [T, heads, S] cross-attention while each of T = num_given + n tokens was fed, over
               the positions that hold sound; num_given tokens came before the produced ones
    """
    matrix = alignment_matrix(attention)[num_given - 1 :]
    rows, columns = warp(-matrix)
    begins = np.concatenate(([True], np.diff(rows) > 0))
    found: Ints = columns[begins]
    return found


def alignment_matrix(attention: Floats) -> npt.NDArray[np.float64]:
    """How much each token belongs to each position [T, S], the mean of the heads of [T, heads, S].

    Each head's weights are standardised over the tokens, so that positions at which all tokens look
    count for nothing, and smoothed over time by a median.
    """
    weights = attention.astype(np.float64)
    weights /= np.maximum(weights.sum(axis=2, keepdims=True), np.finfo(np.float32).tiny)
    mean = weights.mean(axis=0)
    spread = np.maximum(weights.std(axis=0), _ROUNDING * mean + np.finfo(np.float32).tiny)
    matrix: npt.NDArray[np.float64] = median((weights - mean) / spread).mean(axis=1)
    return matrix


def median(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The median of each value and its neighbours on the last axis, mirrored at the ends."""
    half = min(_MEDIAN_WIDTH // 2, values.shape[-1] - 1)
    widths = [(0, 0)] * (values.ndim - 1) + [(half, half)]
    padded = np.pad(values, widths, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=-1)
    result: npt.NDArray[np.float64] = np.partition(windows, half, axis=-1)[..., half]
    return result


def warp(cost: npt.NDArray[np.float64]) -> tuple[Ints, Ints]:
    """Rows and columns of the cheapest path through cost [N, M], from corner to corner.

    A step goes one down, one right, or both. Cells of one anti-diagonal do not depend on each
    other, so each is computed at once: N + M steps in all.
    """
    num_rows, num_columns = cost.shape
    total = np.full((num_rows + 1, num_columns + 1), np.inf)
    total[0, 0] = 0
    came = np.zeros((num_rows + 1, num_columns + 1), np.int8)
    for diagonal in range(num_rows + num_columns - 1):
        row = np.arange(max(0, diagonal - num_columns + 1), min(num_rows, diagonal + 1))
        column = diagonal - row
        before = np.stack((total[row, column], total[row, column + 1], total[row + 1, column]))
        best = before.argmin(axis=0)
        came[row + 1, column + 1] = best
        total[row + 1, column + 1] = before.min(axis=0) + cost[row, column]
    path = []
    row_at, column_at = num_rows, num_columns
    while row_at and column_at:
        path.append((row_at - 1, column_at - 1))
        step = came[row_at, column_at]
        row_at -= step != 2
        column_at -= step != 1
    rows, columns = np.array(path[::-1], np.int64).T
    return rows, columns


# --- words -------------------------------------------------------------------------------------


def split_words(
    tokens: Sequence[int], token_bytes: Callable[[int], bytes], language: str
) -> list[WordTokens]:
    """The tokens of a text as words with their punctuation; all texts joined are the whole text.

    A word begins with a blank; where none are written, every token or group of tokens that
    completes a character is one.
    """
    words: list[WordTokens] = []
    for text, ids in _whole_characters(tokens, token_bytes):
        is_apart = text.startswith(" ") or text.strip() in string.punctuation
        if words and language not in _BLANKLESS and not is_apart:
            words[-1] = WordTokens(words[-1].text + text, (*words[-1].tokens, *ids))
        else:
            words.append(WordTokens(text, ids))
    return _with_punctuation(words)


def _whole_characters(
    tokens: Sequence[int], token_bytes: Callable[[int], bytes]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Tokens in the smallest groups that end with a whole character; the rest, whatever it is."""
    pending: list[int] = []
    for number, idx in enumerate(tokens, 1):
        pending.append(idx)
        raw = b"".join(map(token_bytes, pending))
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data" and number < len(tokens):
                continue
            text = raw.decode(errors="replace")
        yield text, tuple(pending)
        pending = []


def _with_punctuation(words: list[WordTokens]) -> list[WordTokens]:
    """Opening marks join the word after them, closing ones the word before."""
    merged: list[WordTokens] = []
    is_open = False
    for word in words:
        mark = word.text.strip()
        closes = bool(mark) and all(char in _CLOSING for char in mark)
        if merged and (is_open or (closes and not word.text.startswith(" "))):
            last = merged.pop()
            word = WordTokens(last.text + word.text, (*last.tokens, *word.tokens))
        is_open = mark in _OPENING and bool(mark) and (word.text.startswith(" ") or not closes)
        merged.append(word)
    return merged
