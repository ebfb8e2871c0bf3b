"""Temperatures and calibration errors, against values by hand and on made predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.config import ModelConfig, from_dict, replace
from duologue.errors import ConfigError, InputError
from duologue.evaluation.calibration import (
    LEAST_ROWS,
    MOST_TEMPERATURE,
    Temperatures,
    calibrated,
    calibration_error,
    fit_temperature,
    fit_temperatures,
    label_error,
    language_of,
    mean_loss,
    reliability,
    temperatures_of,
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

    assert label_error(probabilities, expected) > 0.15
    better = tempered(probabilities, fit_temperature(probabilities, expected))
    assert label_error(better, expected) < 0.02


# --- languages -----------------------------------------------------------------------------------

TEXTS = {"en": "this was good for me", "zh": "很好", "de": "das war nicht schön", None: "Lovely"}


def test_each_language_with_enough_rows_gets_the_temperature_it_was_made_with() -> None:
    parts = {"en": made(0.8, 4000), "zh": made(1.6, 4000), "de": made(3.0, LEAST_ROWS - 1)}
    parts[None] = made(1.0, LEAST_ROWS)
    probabilities = np.concatenate([found for found, _ in parts.values()])
    expected = [label for _, labels in parts.values() for label in labels]
    texts = [TEXTS[language] for language, (_, labels) in parts.items() for _ in labels]
    found = fit_temperatures(probabilities, expected, texts)
    assert found.common == pytest.approx(fit_temperature(probabilities, expected), abs=1e-4)
    assert set(found.by_language) == {"en", "zh"}
    assert found.of("en") == pytest.approx(0.8, rel=0.05)
    assert found.of("zh") == pytest.approx(1.6, rel=0.05)
    assert found.of("de") == found.of(None) == found.common
    applied = found.applied(probabilities, texts)
    assert mean_loss(applied, expected) < mean_loss(probabilities, expected, found.common)
    assert label_error(applied, expected) < label_error(tempered(probabilities, 1.2), expected)


def test_one_row_more_is_enough_for_a_temperature_of_its_own() -> None:
    probabilities, expected = made(2.0, LEAST_ROWS)
    found = fit_temperatures(probabilities, expected, [TEXTS["de"]] * LEAST_ROWS)
    assert found.by_language == {"de": found.common}


def test_each_row_is_at_the_temperature_of_its_text() -> None:
    probabilities = np.array([[0.9, 0.1]] * 4)
    found = Temperatures(2.0, {"en": 1.0, "zh": 4.0}).applied(probabilities, list(TEXTS.values()))
    for row, temperature in zip(found, (1, 4, 2, 2), strict=True):
        assert row.tolist() == tempered(probabilities[0], temperature).tolist()


def test_the_beginning_of_a_text_tells_its_language() -> None:
    assert language_of(" " * 5000 + "这家店很好" * 2000 + "this was good for me " * 2000) == "zh"


def test_a_configuration_keeps_temperatures_and_those_before_make_way() -> None:
    plain = ModelConfig(vocab_size=8)
    assert temperatures_of(plain, "shop") == Temperatures(1.0)
    first = calibrated(plain, "shop", Temperatures(1.5, {"en": 0.9}))
    first = calibrated(first, "film", Temperatures(3.0, {"zh": 2.0}))
    assert temperatures_of(first, "shop") == Temperatures(1.5, {"en": 0.9})
    second = calibrated(first, "shop", Temperatures(1.2))
    assert temperatures_of(second, "shop") == Temperatures(1.2)
    assert second.calibration_by_language == {"film": {"zh": 2.0}}


def test_a_calibration_without_languages_is_read_as_before() -> None:
    config = from_dict(ModelConfig, {"vocab_size": 8, "calibration": {"shop": 1.4}}, "x")
    assert temperatures_of(config, "shop") == Temperatures(1.4)


def test_temperatures_of_languages_that_cannot_be_are_refused() -> None:
    config = ModelConfig(vocab_size=8, calibration={"shop": 1.4})
    for value in (0, -1, math.inf, math.nan):
        with pytest.raises(ConfigError, match="must be positive"):
            replace(config, calibration_by_language={"shop": {"en": value}})
    with pytest.raises(ConfigError, match="names film, which calibration does not"):
        replace(config, calibration_by_language={"film": {"en": 1.0}})


# --- errors --------------------------------------------------------------------------------------


def test_the_calibration_error_weighs_bins_by_what_is_in_them() -> None:
    confidences = [0.95, 0.95, 0.95, 0.55]
    is_right = [True, True, False, False]
    # 10 bins: three of accuracy 2/3 at 0.95, one of accuracy 0 at 0.55
    expected = 3 / 4 * (0.95 - 2 / 3) + 1 / 4 * 0.55
    assert calibration_error(confidences, is_right, 10) == pytest.approx(expected)


def test_the_error_of_labels_is_that_of_the_likeliest() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    expected = calibration_error([0.9, 0.8, 0.6], [True, False, True])
    assert label_error(probabilities, [0, 0, 0]) == pytest.approx(expected)


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
