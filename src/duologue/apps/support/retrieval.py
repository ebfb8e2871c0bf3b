"""Which passages fit a question: by their words, by the model's embeddings, and both together.

Retriever   ranks the passages of one state of a base; Table: their embeddings
Hit         a passage that was found
spread      makes embeddings that all look alike tell passages apart
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duologue.apps.support.memories import Encoder, Floats
from duologue.apps.support.terms import query
from duologue.storage.knowledge import Snapshot, StoredPassage

CANDIDATES = 50
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
    vectors  [N, D] of length 1, moved and turned as a question's has to be
    """

    number: int
    ids: npt.NDArray[np.int64]
    vectors: Floats
    centre: Floats
    turn: Floats

    def similarities(self, embedding: Floats) -> Floats:
        """[N] cosines with an embedding."""
        result: Floats = self.vectors @ _turned(embedding[None], self.centre, self.turn)[0]
        return result

    def nearest(self, cosines: Floats, limit: int) -> list[int]:
        """The ids of the highest cosines, highest first."""
        best = np.arange(len(cosines))
        if limit < len(cosines):
            best = np.argpartition(-cosines, limit)[:limit]
        found: list[int] = self.ids[best[np.argsort(-cosines[best], kind="stable")]].tolist()
        return found

    def named(self, cosines: Floats, ids: Sequence[int]) -> dict[int, float]:
        """The cosines of these ids; those that are not there are left out."""
        places = np.searchsorted(self.ids, ids)
        pairs = zip(ids, places.tolist(), strict=True)
        return {
            number: float(cosines[place])
            for number, place in pairs
            if place < len(self.ids) and self.ids[place] == number
        }


class Retriever:
    """Ranks passages for one model; keeps their embeddings in memory. Threads may share it."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._table: Table | None = None
        self._lock = threading.Lock()

    def find(self, base: Snapshot, question: str, embedding: Floats, limit: int) -> list[Hit]:
        """At most `limit` passages, best first."""
        table = self.table(base)
        words = dict(base.match(query(question), max(limit, CANDIDATES)))
        cosines = table.similarities(embedding)
        near = table.nearest(cosines, max(limit, CANDIDATES))
        similarity = table.named(cosines, sorted({*words, *near}))
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
            ids = np.array([idx for idx, _ in rows], dtype=np.int64)
            data = b"".join(embedding for _, embedding in rows)
            shape = len(ids), self._encoder.num_dimensions
            raw = np.frombuffer(data, np.float16).astype(np.float32).reshape(shape)
            centre, turn = spread(raw)
            self._table = Table(number, ids, _turned(raw, centre, turn), centre, turn)
            return self._table


def _score(words: float, most: float, similarity: float) -> float:
    """Between 0 and 1: BM25 beside the best passage's, and a part of the cosine."""
    share = words / most if most else 0.0
    return (share + EMBEDDING_WEIGHT * max(0.0, similarity)) / (1 + EMBEDDING_WEIGHT)


def spread(embeddings: Floats) -> tuple[Floats, Floats]:
    """Centre [D] and turn [D, D] of embeddings [N, D]: directions that all share count less.

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
    turn = directions * variances ** (-_SPREAD / 2)
    return centre.astype(np.float32), turn.astype(np.float32)


def _turned(embeddings: Floats, centre: Floats, turn: Floats) -> Floats:
    moved = (embeddings - centre) @ turn
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    result: Floats = moved / np.maximum(lengths, 1e-12)
    return result
