"""Which passages fit a question: by their words, by the model's embeddings, and both together.

Retriever   ranks the passages of one state of a base; Table: their embeddings
Hit         a passage that was found
expression  what the full-text index is asked for a question
spread      makes embeddings that all look alike tell passages apart
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duologue.apps.support.memories import Encoder, Floats
from duologue.apps.support.terms import any_of, asked_terms
from duologue.storage.knowledge import Snapshot, StoredPassage

CANDIDATES = 50
# A question's terms are looked for from the rarest on, until so many passages hold one of them:
# BM25 scores each of these, and what only the commonest terms would find is no good answer.
_MOST_MATCHES = 2000
# Embeddings are compared by the numbers that vary most, and so many of the nearest by all of them.
_ROUGH_DIMENSIONS = 64
_ROUGHLY_NEAR = 500
# How much a cosine of 1 counts beside the best BM25 score there is, which counts 1. This, and how
# embeddings are spread, was fitted on validation data: benchmarks/support.py --fit.
EMBEDDING_WEIGHT = 0.2
_SPREAD = 0.75
_SHRINKAGE = 0.01
_MIN_SPREAD, _MAX_SPREAD = 64, 4096  # passages to look at


@dataclass(frozen=True)
class Hit:
    """A passage, best first in lists.

    score       of the fused ranking; 1 is the best there can be
    words       BM25 of its words; 0: it has none of the question's
    similarity  cosine of its embedding and the question's; 0 for passages of another model
    """

    passage: StoredPassage
    score: float
    words: float
    similarity: float


@dataclass(frozen=True)
class Table:
    """The embeddings of a state of the base.

    ids      [N] ascending
    vectors  [N, D] of length 1, moved and turned; the numbers that vary most come first
    rough    [N, at most 64] the first of these
    """

    number: int
    ids: npt.NDArray[np.int64]
    vectors: Floats
    rough: Floats
    centre: Floats
    turn: Floats

    @staticmethod
    def of(number: int, ids: Sequence[int], embeddings: Floats) -> Table:
        """From embeddings [N, D] as the model gives them; number: of the state."""
        centre, turn = spread(embeddings)
        vectors = _turned(embeddings, centre, turn)
        rough = np.ascontiguousarray(vectors[:, :_ROUGH_DIMENSIONS])
        return Table(number, np.array(ids, dtype=np.int64), vectors, rough, centre, turn)

    def turned(self, embedding: Floats) -> Floats:
        """[D] an embedding, moved and turned as the vectors are."""
        vector: Floats = _turned(embedding[None], self.centre, self.turn)[0]
        return vector

    def nearest(self, vector: Floats, limit: int) -> list[int]:
        """The ids of the highest cosines with a turned vector, highest first."""
        places = np.arange(len(self.ids))
        if len(places) > (most := max(limit, _ROUGHLY_NEAR)):
            roughly = self.rough @ vector[: self.rough.shape[1]]
            places = np.argpartition(-roughly, most)[:most]
        cosines = self.vectors[places] @ vector
        best: list[int] = self.ids[places[np.argsort(-cosines, kind="stable")[:limit]]].tolist()
        return best

    def cosines(self, vector: Floats, ids: Sequence[int]) -> dict[int, float]:
        """The cosines of these ids with a turned vector; ids that are not there are left out."""
        places = np.searchsorted(self.ids, ids)
        there = places < len(self.ids)
        there[there] = self.ids[places[there]] == np.asarray(ids)[there]
        found = self.vectors[places[there]] @ vector
        return dict(zip(np.asarray(ids)[there].tolist(), found.tolist(), strict=True))


class Retriever:
    """Ranks passages for one model; keeps their embeddings in memory. Threads may share it."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._table: Table | None = None
        self._lock = threading.Lock()

    def find(self, base: Snapshot, question: str, embedding: Floats, limit: int) -> list[Hit]:
        """At most `limit` passages, best first."""
        table = self.table(base)
        vector = table.turned(embedding)
        words = dict(base.match(expression(base, question), max(limit, CANDIDATES)))
        near = table.nearest(vector, max(limit, CANDIDATES))
        similarity = table.cosines(vector, sorted({*words, *near}))
        most = max(words.values(), default=0.0)
        scores = {
            number: _score(words.get(number, 0.0), most, similarity.get(number, 0.0))
            for number in (*near, *words)
        }
        best = sorted(scores, key=lambda number: -scores[number])[:limit]
        return [
            Hit(
                passage,
                scores[passage.id],
                words.get(passage.id, 0.0),
                similarity.get(passage.id, 0.0),
            )
            for passage in base.passages(best)
        ]

    def table(self, base: Snapshot) -> Table:
        """The embeddings of a state of the base."""
        number = base.number
        with self._lock:
            table = self._table
            if table is not None and table.number == number:
                return table
            rows = base.embeddings(self._encoder.model)
            data = b"".join(embedding for _, embedding in rows)
            shape = len(rows), self._encoder.num_dimensions
            raw = np.frombuffer(data, np.float16).astype(np.float32).reshape(shape)
            self._table = Table.of(number, [idx for idx, _ in rows], raw)
            return self._table


def expression(base: Snapshot, question: str) -> str:
    """What the full-text index is asked; terms that no passage has say nothing."""
    counts = {term: base.count(any_of([term])) for term in asked_terms(question)}
    kept: list[str] = []
    for term, count in sorted(counts.items(), key=lambda item: item[1]):
        num_matches = sum(counts[other] for other in kept)
        if num_matches and num_matches + count > _MOST_MATCHES:
            break
        kept.append(term)
    return any_of(kept)


def _score(words: float, most: float, similarity: float) -> float:
    """Between 0 and 1: BM25 beside the best passage's, and a part of the cosine."""
    share = words / most if most else 0.0
    return (share + EMBEDDING_WEIGHT * max(0.0, similarity)) / (1 + EMBEDDING_WEIGHT)


def spread(embeddings: Floats) -> tuple[Floats, Floats]:
    """Centre [D] and turn [D, D] of embeddings [N, D]: directions that all share count less.

    Turned, the numbers that vary most come first.

    Means of encoder states lie in a narrow cone. A part of whitening (Su et al. 2021,
    arXiv:2103.15316), with the covariance shrunk towards a sphere (Ledoit & Wolf 2004). Of few
    embeddings nothing can be learnt: they stay as they are.
    """
    num, size = embeddings.shape
    if num < _MIN_SPREAD:
        return np.zeros(size, np.float32), np.eye(size, dtype=np.float32)
    sample = embeddings[:: -(-num // _MAX_SPREAD)].astype(np.float64)
    centre = sample.mean(axis=0)
    covariance = (sample - centre).T @ (sample - centre) / len(sample)
    mean_variance = np.trace(covariance) / size
    if mean_variance <= 1e-12:
        return np.zeros(size, np.float32), np.eye(size, dtype=np.float32)
    variances, directions = np.linalg.eigh(covariance + _SHRINKAGE * mean_variance * np.eye(size))
    turn = (directions * variances ** (-_SPREAD / 2))[:, ::-1]
    return centre.astype(np.float32), np.ascontiguousarray(turn, np.float32)


def _turned(embeddings: Floats, centre: Floats, turn: Floats) -> Floats:
    moved = (embeddings - centre) @ turn
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    result: Floats = moved / np.maximum(lengths, 1e-12)
    return result
