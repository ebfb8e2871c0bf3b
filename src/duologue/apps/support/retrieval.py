"""Which passages fit a question: by their words, by the model's embeddings, and both together.

Retriever   ranks the passages of one state of a base
Hit         a passage that was found
fused       two rankings as one
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from duologue.apps.support.memories import Encoded, Encoder, Floats
from duologue.apps.support.terms import query
from duologue.storage.knowledge import Snapshot, StoredPassage

CANDIDATES = 50
# Reciprocal rank fusion: Cormack et al. 2009 (SIGIR). Fitted: benchmarks/support.py --fit.
RANK_OFFSET = 10.0
EMBEDDING_WEIGHT = 0.3


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
class _Table:
    """The embeddings of a state of the base: ids [N] ascending, vectors [N, D] of length 1."""

    number: int
    ids: np.ndarray
    vectors: Floats


class Retriever:
    """Ranks passages for one model; keeps their embeddings in memory. Threads may share it."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._table: _Table | None = None
        self._lock = threading.Lock()

    def find(self, base: Snapshot, question: str, encoded: Encoded, limit: int) -> list[Hit]:
        """At most `limit` passages, best first."""
        table = self._current(base)
        by_words = base.match(query(question), max(limit, CANDIDATES))
        similarity = table.vectors @ encoded.embedding if len(table.ids) else np.zeros(0)
        order = np.argsort(-similarity, kind="stable")[: max(limit, CANDIDATES)]
        by_embedding = [int(table.ids[place]) for place in order]
        scores = fused([number for number, _ in by_words], by_embedding)
        best = sorted(scores, key=lambda number: -scores[number])[:limit]
        words = dict(by_words)
        places = np.searchsorted(table.ids, best)
        hits = []
        for passage in base.passages(best):
            place = int(places[best.index(passage.id)])
            is_known = place < len(table.ids) and table.ids[place] == passage.id
            hits.append(
                Hit(
                    passage,
                    scores[passage.id],
                    words.get(passage.id, 0.0),
                    float(similarity[place]) if is_known else 0.0,
                )
            )
        return hits

    def _current(self, base: Snapshot) -> _Table:
        number = base.number
        with self._lock:
            table = self._table
            if table is not None and table.number == number:
                return table
            rows = base.embeddings(self._encoder.model)
            ids = np.array([idx for idx, _ in rows], dtype=np.int64)
            data = b"".join(embedding for _, embedding in rows)
            vectors = np.frombuffer(data, np.float16).astype(np.float32).reshape(len(ids), -1)
            self._table = _Table(number, ids, vectors)
            return self._table


def fused(by_words: Sequence[int], by_embedding: Sequence[int]) -> dict[int, float]:
    """Score of each id in two rankings, best first in each: weighted reciprocal ranks."""
    scores: dict[int, float] = {}
    weights = (1 - EMBEDDING_WEIGHT, EMBEDDING_WEIGHT)
    for ranking, weight in zip((by_words, by_embedding), weights, strict=True):
        for rank, number in enumerate(ranking):
            share = weight * RANK_OFFSET / (RANK_OFFSET + rank)
            scores[number] = scores.get(number, 0.0) + share
    return scores
