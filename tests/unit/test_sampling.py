from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.engine.sampling import (
    Sampler,
    Scores,
    filter_repeats,
    has_repeat_filter,
    log_softmax,
    lower_bounds,
    ngram_endings,
    top_k_ids,
    top_p_ids,
)
from duologue.types import Options

# Eighths: sums and differences are exact, and equal logits are common.
LOGITS = st.lists(st.integers(-160, 160), min_size=2, max_size=12).map(
    lambda eighths: np.array(eighths, np.float32) / np.float32(8)
)


def softmax(logits: np.ndarray) -> np.ndarray:
    exps = np.exp(logits.astype(np.float64))
    return exps / exps.sum()


@given(LOGITS)
def test_scores_agree_with_a_plain_log_softmax(logits: np.ndarray) -> None:
    scores = Scores.of(np.stack([logits, logits[::-1]]), np.array([], np.int64))
    expected = np.log(softmax(logits))
    for idx, logprob in enumerate(expected):
        assert scores.logprob(0, idx) == pytest.approx(logprob, abs=1e-4)
    assert logits[scores.best[0]] == logits.max()


def test_suppressed_ids_are_impossible_and_the_rest_sums_to_one() -> None:
    scores = Scores.of(np.array([[9.0, 1.0, 2.0, 8.0]], np.float32), np.array([0, 3]))
    assert scores.best[0] == 2
    assert scores.logprob(0, 0) == -np.inf
    assert np.exp(scores.logprob(0, 1)) + np.exp(scores.logprob(0, 2)) == pytest.approx(1)


@given(LOGITS, st.integers(0, 14))
def test_top_k_keeps_the_k_largest_and_equals_of_the_last(logits: np.ndarray, k: int) -> None:
    expected = [i for i, value in enumerate(logits) if k == 0 or (logits > value).sum() < k]
    assert top_k_ids(logits, k).tolist() == expected


@given(st.integers(1, 400), st.integers(1, 9), st.integers(0, 99))
def test_lower_bounds_are_reached_by_enough_entries(size: int, count: int, seed: int) -> None:
    logits = np.random.default_rng(seed).standard_normal((3, size), dtype=np.float32)
    for row, bound in zip(logits, lower_bounds(logits, count), strict=True):
        assert (row >= bound).sum() >= min(count, size)
        assert bound in row
    assert top_k_ids(logits[0], count).tolist() == sorted(np.argsort(-logits[0])[:count].tolist())


@given(LOGITS, st.floats(0.01, 1.0))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits: np.ndarray, p: float) -> None:
    kept = top_p_ids(logits, p)
    probabilities = softmax(logits)
    order = np.argsort(-probabilities, kind="stable")
    assert set(kept) == set(order[: len(kept)]), "kept ids are not the likeliest"
    assert probabilities[kept].sum() >= p - 1e-6
    if p < 1:
        assert probabilities[order[: len(kept) - 1]].sum() < p + 1e-6, "one id less would do"


def test_repetition_penalty_lowers_produced_ids_whatever_their_sign() -> None:
    options = Options(repetition_penalty=2.0)
    logits = np.array([4.0, -4.0, 4.0, 1.0], np.float32)
    filtered = filter_repeats(logits, [0, 1, 1], options, eos_ids=[3])
    assert filtered.tolist() == [2.0, -8.0, 4.0, 1.0]
    assert logits.tolist() == [4.0, -4.0, 4.0, 1.0], "the input was changed"


def test_repeat_filters_leave_the_end_token_alone() -> None:
    options = Options(repetition_penalty=2.0, no_repeat_ngram_size=1)
    filtered = filter_repeats(np.ones(3, np.float32), [0, 2], options, eos_ids=[2])
    assert filtered.tolist() == [-np.inf, 1.0, 1.0]


def test_repeat_filter_is_off_by_default() -> None:
    assert not has_repeat_filter(Options())
    assert has_repeat_filter(Options(no_repeat_ngram_size=2))
    assert has_repeat_filter(Options(repetition_penalty=1.1))


@given(st.lists(st.integers(0, 2), max_size=12), st.integers(1, 4))
def test_ngram_endings_are_what_would_complete_an_ngram_twice(ids: list[int], size: int) -> None:
    def ngrams(sequence: list[int]) -> list[tuple[int, ...]]:
        return [tuple(sequence[i : i + size]) for i in range(len(sequence) - size + 1)]

    seen = set(ngrams(ids))
    for idx in range(3):
        completed = ngrams([*ids, idx])[len(ngrams(ids)) :]
        assert (idx in ngram_endings(ids, size)) == (bool(completed) and completed[0] in seen)


def test_log_softmax_survives_forbidden_ids() -> None:
    assert np.exp(log_softmax(np.array([-np.inf, 0.0, 0.0], np.float32))).tolist() == [0, 0.5, 0.5]


def test_sampler_repeats_itself_for_the_same_seed_and_not_for_another() -> None:
    logits = np.zeros((40, 50), np.float32)

    def draw(seed: int | None) -> list[int]:
        sampler = Sampler(Options(temperature=1.0, seed=seed))
        return [sampler.choose(row) for row in logits]

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)
    assert draw(None) != draw(None)


@settings(max_examples=20)
@given(LOGITS.filter(lambda logits: len(logits) <= 6), st.integers(0, 1000))
def test_sampler_draws_with_the_frequencies_of_the_softmax(logits: np.ndarray, seed: int) -> None:
    sampler = Sampler(Options(temperature=2.0, seed=seed))
    counts = np.bincount([sampler.choose(logits) for _ in range(200)], minlength=len(logits))
    expected = softmax(logits / 2)
    # Five standard deviations of a binomial share, and one count for tiny expectations.
    slack = 5 * np.sqrt(expected * (1 - expected) / 200) + 1 / 200
    assert (np.abs(counts / 200 - expected) <= slack).all()


@given(LOGITS, st.integers(0, 1000))
def test_sampler_never_draws_what_the_filters_forbid(logits: np.ndarray, seed: int) -> None:
    logits[0] = -np.inf
    sampler = Sampler(Options(temperature=2.0, top_k=2, top_p=0.9, seed=seed))
    first = top_k_ids(logits, 2)
    allowed = set(first[top_p_ids(logits[first] / np.float32(2), 0.9)])
    assert 0 not in allowed
    assert {sampler.choose(logits) for _ in range(10)} <= allowed


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e-3])
def test_sampler_with_hardly_any_temperature_is_greedy(temperature: float) -> None:
    sampler = Sampler(Options(temperature=temperature, seed=1))
    assert sampler.choose(np.array([1.0, 3.0, 2.0], np.float32)) == 1


def test_sampler_cannot_hit_a_forbidden_id_even_with_the_smallest_random_number() -> None:
    sampler = Sampler(Options(temperature=1.0, seed=1))
    sampler._random = SimpleNamespace(random=lambda: 0.0)  # type: ignore[assignment]
    assert sampler.choose(np.array([-np.inf, 0.0, 0.0], np.float32)) == 1
