"""Temperatures and calibration errors, against values by hand and on made predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.errors import InputError
from duologue.evaluation.calibration import (
    MOST_TEMPERATURE,
    calibration_error,
    fit_temperature,
    mean_loss,
    reliability,
    tempered,
)

ROWS = st.lists(
    st.tuples(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.01, 1)), min_size=1, max_size=20
)


def made(temperature: float, num_rows: int = 20_000) -> tuple[np.ndarray, list[int]]:
    """Probabilities that would be right at a temperature, and labels drawn as they then say."""
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(num_rows, 3)) * 2
    right = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    drawn = (generator.random(num_rows)[:, None] > right.cumsum(axis=1)).sum(axis=1)
    return tempered(right, 1 / temperature), drawn.clip(0, 2).tolist()


@given(rows=ROWS, temperature=st.floats(0.1, 10))
def test_tempered_rows_sum_to_one_and_keep_their_order(rows, temperature: float) -> None:
    given_ = np.array(rows) / np.array(rows).sum(axis=1, keepdims=True)
    found = tempered(given_, temperature)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(rows)))
    for before, after in zip(given_, found, strict=True):
        assert np.all(np.diff(after[np.argsort(before, kind="stable")]) >= -1e-12)


def test_tempered_is_a_power_and_takes_impossible_labels() -> None:
    assert tempered(np.array([[0.8, 0.2]]), 2)[0] == pytest.approx(
        [math.sqrt(0.8) / (math.sqrt(0.8) + math.sqrt(0.2)), 1 / (1 + 2)]
    )
    assert tempered(np.array([[1.0, 0.0]]), 2)[0] == pytest.approx([1, 0], abs=1e-100)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7, 4.0])
def test_the_temperature_is_found_that_the_predictions_were_made_with(temperature: float) -> None:
    probabilities, expected = made(temperature)
    assert fit_temperature(probabilities, expected) == pytest.approx(temperature, rel=0.05)


def test_no_other_temperature_has_a_smaller_loss() -> None:
    probabilities, expected = made(1.7, 500)
    best = fit_temperature(probabilities, expected)
    least = mean_loss(probabilities, expected, best)
    assert all(least <= mean_loss(probabilities, expected, t) for t in np.geomspace(0.06, 19, 60))


def test_what_is_always_wrong_becomes_as_unsure_as_may_be() -> None:
    probabilities = np.array([[0.9, 0.1]] * 4)
    assert fit_temperature(probabilities, [1, 1, 1, 1]) == pytest.approx(MOST_TEMPERATURE, rel=1e-3)


def test_the_fitted_temperature_makes_the_calibration_error_small() -> None:
    probabilities, expected = made(3.0)

    def error(found: np.ndarray) -> float:
        is_right = (found.argmax(axis=1) == np.array(expected)).tolist()
        return calibration_error(found.max(axis=1).tolist(), is_right)

    assert error(probabilities) > 0.15
    assert error(tempered(probabilities, fit_temperature(probabilities, expected))) < 0.02


def test_the_calibration_error_weighs_bins_by_what_is_in_them() -> None:
    confidences = [0.95, 0.95, 0.95, 0.55]
    is_right = [True, True, False, False]
    # 10 bins: three of accuracy 2/3 at 0.95, one of accuracy 0 at 0.55
    expected = 3 / 4 * (0.95 - 2 / 3) + 1 / 4 * 0.55
    assert calibration_error(confidences, is_right, 10) == pytest.approx(expected)


def test_bins_hold_their_upper_edge_and_the_first_holds_zero() -> None:
    bins = reliability([0.0, 0.1, 0.1000001, 1.0], [False, False, True, True], 10)
    assert [one.count for one in bins] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert (bins[0].low, bins[0].high) == (0, 0.1)
    assert bins[9].accuracy == bins[9].confidence == 1


def test_nothing_to_fit_to_or_to_measure_is_refused() -> None:
    with pytest.raises(InputError):
        fit_temperature(np.zeros((0, 2)), [])
    with pytest.raises(InputError):
        fit_temperature(np.array([[0.5, 0.5]]), [0, 1])
    with pytest.raises(InputError):
        calibration_error([], [])
    with pytest.raises(InputError):
        calibration_error([0.5], [])
