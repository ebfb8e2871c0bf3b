"""How passages are found in large bases: what is done roughly finds what would be found in full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duologue.apps.support import retrieval
from duologue.apps.support.retrieval import Table, expression
from duologue.apps.support.terms import any_of, asked_terms, terms
from duologue.storage.knowledge import KnowledgeStore, NewDocument, NewPassage


def embeddings(num: int, size: int, seed: int) -> np.ndarray:
    """Unlike each other in few directions above all, as those of a model are."""
    generator = np.random.default_rng(seed)
    strength = np.geomspace(4, 0.1, size).astype(np.float32)
    return generator.standard_normal((num, size), dtype=np.float32) * strength


@pytest.mark.parametrize(("num", "size"), [(0, 4), (3, 4), (400, 96), (4000, 96)])
def test_the_nearest_are_those_of_all_comparisons(num: int, size: int) -> None:
    raw = embeddings(num, size, 1)
    ids = list(range(10, 10 + 3 * num, 3))
    table = Table.of(1, ids, raw)
    for question in embeddings(20, size, 2):
        vector = table.turned(question)
        cosines = table.vectors @ vector
        best = [ids[place] for place in np.argsort(-cosines, kind="stable")[:5]]
        assert table.nearest(vector, 5) == best
        assert table.cosines(vector, [*best, 11]) == pytest.approx(
            dict(zip(best, np.sort(cosines)[::-1][:5].tolist(), strict=True)), abs=1e-6
        )


def a_passage(number: int, text: str) -> NewPassage:
    return NewPassage("", text, f"{number:064x}", "", " ".join(terms(text)), b"")


@pytest.fixture
def store(tmp_path: Path) -> KnowledgeStore:
    """900 passages on delivery, 300 of these on returns, 40 on refunds, and one on Clovis."""
    texts = [
        "delivery " + "returns " * (number % 3 == 0) + "refunds " * (number % 20 == 0)
        for number in range(900)
    ]
    texts[7] += "Clovis"
    passages = tuple(a_passage(number, text) for number, text in enumerate(texts))
    store = KnowledgeStore(tmp_path / "base")
    store.change(documents=[NewDocument("/a.txt", "0" * 64, 1, 1, "tiny", passages)])
    return store


@pytest.mark.parametrize(
    ("question", "kept"),
    [
        ("Clovis delivery", ["clovi"]),
        ("delivery refunds returns", ["refund", "return"]),
        ("delivery", ["delivery"]),
        ("delivery nowhere", ["nowher", "delivery"]),
        ("??", []),
    ],
)
def test_the_commonest_terms_are_left_out_where_rarer_ones_find_enough(
    store: KnowledgeStore, question: str, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "_MOST_MATCHES", 500)
    with store.reading() as base:
        assert expression(base, question) == any_of(kept)


def test_rare_terms_find_the_passage_that_all_terms_find(
    store: KnowledgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.reading() as base:
        assert expression(base, "Clovis delivery") == any_of(["clovi", "delivery"])
        monkeypatch.setattr(retrieval, "_MOST_MATCHES", 500)
        for question in ("the refunds of Clovis", "refunds and returns after delivery", "Clovis"):
            best = base.match(expression(base, question), 1)
            assert best[0][0] == base.match(any_of(asked_terms(question)), 1)[0][0], question
