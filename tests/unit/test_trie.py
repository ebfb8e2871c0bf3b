from __future__ import annotations

import numpy as np
import pytest
from fake_forward import FakeForward, FakeMemory
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.engine import trie
from duologue.engine.sampling import log_softmax
from duologue.engine.trie import score_labels
from duologue.errors import EngineError

EOS = 1
LABELS = st.lists(
    st.lists(st.sampled_from([0, 2, 3]), max_size=4).map(tuple), min_size=1, max_size=8, unique=True
)


def score_by_hand(forward: FakeForward, memory: FakeMemory, prefix: list, labels: list) -> list:
    """Each label by itself: at each token, softmax over what any label allows there."""
    closed = [(*label, EOS) for label in labels]
    probabilities = []
    for label in closed:
        logprob = 0.0
        for position, idx in enumerate(label):
            before = label[:position]
            allowed = sorted({o[position] for o in closed if o[:position] == before})
            logits = forward.logits_after(memory, [*prefix, *before])
            logprob += log_softmax(logits[allowed])[allowed.index(idx)]
        probabilities.append(np.exp(logprob))
    return probabilities


@settings(max_examples=60, deadline=None)
@given(labels=LABELS, source=st.lists(st.integers(0, 9), max_size=3), num_prefix=st.integers(1, 3))
def test_label_probabilities_sum_to_one_and_equal_brute_force(labels, source, num_prefix) -> None:
    forward, memory = FakeForward(5), FakeMemory(tuple(source))
    prefix = [0, 4, 2][:num_prefix]
    found = score_labels(forward, memory, prefix, labels, EOS)  # type: ignore[arg-type]
    assert found.sum() == pytest.approx(1)
    assert found == pytest.approx(score_by_hand(forward, memory, prefix, labels), abs=1e-6)


def test_label_scores_do_not_depend_on_how_many_rows_go_in_one_step(monkeypatch) -> None:
    labels = [(a, b, c) for a in (0, 2, 3) for b in (0, 2, 3) for c in (0, 2)]
    whole, pieces = FakeForward(5), FakeForward(5)
    expected = score_labels(whole, FakeMemory((7,)), [0], labels, EOS)  # type: ignore[arg-type]
    monkeypatch.setattr(trie, "MAX_ROWS", 2)
    found = score_labels(pieces, FakeMemory((7,)), [0], labels, EOS)  # type: ignore[arg-type]
    assert found.tolist() == expected.tolist()
    assert max(whole.batch_sizes) == 9
    assert max(pieces.batch_sizes) == 2


def test_scoring_makes_one_step_per_open_level_and_stops_where_labels_are_told_apart() -> None:
    forward = FakeForward(5)
    labels = [(0, 2, 2, 2, 2), (0, 3, 2, 2, 2), (2, 2, 2, 2, 2)]
    score_labels(forward, FakeMemory(), [0], labels, EOS)  # type: ignore[arg-type]
    assert forward.batch_sizes == [1, 1]


def test_a_single_label_is_certain() -> None:
    forward = FakeForward(5)
    assert score_labels(forward, FakeMemory(), [0], [(2, 3)], EOS).tolist() == [1.0]  # type: ignore[arg-type]


def test_labels_that_are_equal_or_missing_are_refused() -> None:
    with pytest.raises(EngineError, match="labels 0 and 2 are the same tokens"):
        score_labels(FakeForward(5), FakeMemory(), [0], [(2,), (3,), (2,)], EOS)  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="no labels"):
        score_labels(FakeForward(5), FakeMemory(), [0], [], EOS)  # type: ignore[arg-type]
