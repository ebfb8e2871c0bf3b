"""Which intent, judged by the declared examples alone: fitted in a moment, and always the same.

Prior       ridge regression on hashed n-grams and the encoder's mean, with probabilities
Features    an utterance as a vector

Typed values ("ten minutes") are replaced by their kind, so that one example stands for all values.
The temperature of the probabilities is that of the least loss when each example is judged by the
others: for ridge regression that has a closed form (Hastie et al., Elements of Statistical
Learning, section 7.10; here with one-hot targets).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from duologue.apps.assistant.utterance import Utterance

Floats = npt.NDArray[np.float32]

NUM_BUCKETS = 4096
RIDGE = 0.1
EMBEDDING_WEIGHT = 0.8
_WORD_WEIGHT = 2  # of whole words and runs of them; parts of words weigh 1
_PART = "~"  # begins the names of parts of words
_MAX_DUAL = 4500  # with fewer examples than features their products are the smaller matrix


def ngrams(utterance: Utterance, skip: Sequence[tuple[int, int]] = ()) -> Iterator[str]:
    """Words in ones, twos and threes, parts of words, and the same with choices as their slots.

    skip  stretches that are not looked at
    """
    words = _words(utterance, {}, skip)
    for word in words:
        if len(word) > 1 and word[0] != "<":
            edged = f"^{word}$"
            for size in (3, 4, 5):
                yield from (f"{_PART}{edged[i : i + size]}" for i in range(len(edged) - size + 1))
    yield from _runs(words)
    if utterance.marks:
        slots = {first: (stop, slot) for first, stop, slot in utterance.marks}
        yield from _runs(_words(utterance, slots, skip))


def _runs(words: Sequence[str]) -> Iterator[str]:
    for index, word in enumerate(words):
        yield word
        yield f"2 {' '.join(words[index : index + 2])}"
        if len(word) == 1:
            yield f"3 {' '.join(words[index : index + 3])}"


def _words(
    utterance: Utterance, slots: Mapping[int, tuple[int, str]], skip: Sequence[tuple[int, int]]
) -> list[str]:
    """The words, with kinds for typed values and names of slots for the choices of `slots`."""
    words = ["^"]
    end = stop = 0
    for index, token in enumerate(utterance.tokens):
        if token.start < end or index < stop or any(a <= token.start < b for a, b in skip):
            continue
        meaning = next((m for m in utterance.meanings if m.start <= token.start < m.end), None)
        if index in slots:
            stop, slot = slots[index]
            words.append(f"<={slot}>")
        elif meaning is not None:
            words.append(f"<{meaning.kind}>")
            end = meaning.end
        elif token.text[0].isalnum():
            words.append(token.text.casefold())
    return [*words, "$"]


class Features:
    """Vectors of NUM_BUCKETS n-gram features, the encoder's D, and a constant.

    Made from all examples: rare n-grams weigh more, and embeddings are centred.
    """

    def __init__(self, counts: Floats, embeddings: Floats) -> None:
        seen = (counts != 0).sum(axis=0)
        self._idf = (np.log((1 + len(counts)) / (1 + seen)) + 1).astype(np.float32)
        self._centre = embeddings.mean(axis=0)

    def __call__(self, counts: Floats, embeddings: Floats) -> Floats:
        """[n, NUM_BUCKETS] and [n, D] to [n, NUM_BUCKETS + D + 1]."""
        texts = _unit(counts * self._idf)
        meanings = _unit(embeddings - self._centre) * np.float32(EMBEDDING_WEIGHT)
        return np.hstack([texts, meanings, np.ones((len(counts), 1), np.float32)])


def counted(utterance: Utterance, skip: Sequence[tuple[int, int]] = ()) -> Floats:
    """[NUM_BUCKETS] n-grams of an utterance, hashed with signs (Weinberger et al. 2009)."""
    row = np.zeros(NUM_BUCKETS, np.float32)
    for gram in set(ngrams(utterance, skip)):
        code = zlib.crc32(gram.encode())
        weight = 1 if gram[0] == _PART else _WORD_WEIGHT
        row[code % NUM_BUCKETS] += weight if code & 0x8000_0000 else -weight
    return row


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    result: Floats = (rows / np.maximum(lengths, 1e-6)).astype(np.float32)
    return result


class Prior:
    """Fitted to examples.

    rows     [n, F] features of the examples
    targets  [n] index of the intent of each
    classes  number of intents

    scores_without    (attribute) [n, C]: the scores of each example if it had not been there
    temperature       (attribute) what scores are divided by
    """

    def __init__(self, rows: Floats, targets: npt.NDArray[np.int64], classes: int) -> None:
        wanted = np.eye(classes, dtype=np.float32)[targets]
        leaving: npt.NDArray[Any]  # what each example's scores owe to itself
        if len(rows) <= _MAX_DUAL:
            inverse = np.linalg.inv(rows @ rows.T + RIDGE * np.eye(len(rows), dtype=np.float32))
            dual = inverse @ wanted
            self._weights: npt.NDArray[Any] = rows.T @ dual
            leaving = np.asarray(dual / np.diag(inverse)[:, None])
        else:
            products = rows.T @ rows + RIDGE * np.eye(rows.shape[1], dtype=np.float32)
            inverse = np.linalg.inv(products)
            self._weights = inverse @ (rows.T @ wanted)
            leverage = np.einsum("nf,nf->n", rows @ inverse, rows)
            leaving = (wanted - rows @ self._weights) / np.maximum(1 - leverage, 1e-3)[:, None]
        self.scores_without: Floats = (wanted - leaving).astype(np.float32)
        self.temperature = self._fitted_temperature(targets)

    def _fitted_temperature(self, targets: npt.NDArray[np.int64]) -> float:
        grid = np.geomspace(0.02, 0.5, 24)
        losses = []
        for temperature in grid:
            logprobs = log_softmax(self.scores_without / temperature)
            losses.append(-float(logprobs[np.arange(len(targets)), targets].mean()))
        return float(grid[int(np.argmin(losses))])

    def scores(self, rows: Floats) -> Floats:
        """[n, C]: about 1 for an intent whose examples are like the row, about 0 for others."""
        result: Floats = rows @ self._weights
        return result

    def logprobs(self, scores: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """[n, C] natural log-probabilities."""
        return log_softmax(scores / self.temperature)


def log_softmax(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Along the last axis, in float64."""
    shifted = values.astype(np.float64) - values.max(axis=-1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
