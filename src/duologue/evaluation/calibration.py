"""Are probabilities what they say? Measured, and put right by one number for each language.

tempered              probabilities at another temperature
fit_temperature       the temperature at which they fit best
Temperatures          those of a label set: one for each language that was fitted, one for the rest
fit_temperatures      finds them
temperatures_of       those of a model's configuration; calibrated: a configuration with them
Bin, reliability      how often labels of about the same confidence were right
calibration_error     the expected calibration error of these bins; label_error: of probabilities

Temperature scaling as in Guo et al. 2017 (arXiv:1706.04599, section 4.2), on the probabilities of
labels: one that was given p gets p ** (1 / temperature), and they are made to sum to 1 again. Which
label is the likeliest never changes. A model may be too sure in one language and not sure enough in
another, and so each has its own temperature, if there are LEAST_ROWS of it to fit one to: resampled
rows of reviews give temperatures that differ by 7 to 9 % from 400 rows, by 10 to 17 % from 200.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from duologue.config import ModelConfig, replace
from duologue.errors import InputError
from duologue.text.language import guess_language
from duologue.text.template import LANGUAGES

NUM_BINS = 15
LEAST_ROWS = 400
_TELLING_CHARACTERS = 4000  # of a text's beginning; most models read little more
_DIGITS = 4  # of a temperature that is kept
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.05, 20.0
_LEAST_PROBABILITY = 1e-12  # what a label gets that is said to be impossible
_STEPS = 60  # each leaves 0.618 of the stretch that is searched

Floats = npt.NDArray[np.float64]


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities [..., num_labels] at a temperature; above 1 they are less sure."""
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return result


def mean_loss(probabilities: Floats, expected: Sequence[int], temperature: float = 1.0) -> float:
    """Mean negative log-probability of the right labels, in nats.

    probabilities [num_rows, num_labels]; expected: index of the right label of each row
    """
    found = tempered(probabilities, temperature)[np.arange(len(expected)), list(expected)]
    return float(-np.log(np.maximum(found, _LEAST_PROBABILITY)).mean())


def fit_temperature(probabilities: Floats, expected: Sequence[int]) -> float:
    """The temperature of least mean_loss, between LEAST_ and MOST_TEMPERATURE.

    The loss has one minimum in 1 / temperature, and so a golden-section search finds it.
    Raises InputError for no rows, or as many answers as rows there are not.
    """
    if not len(expected) or len(expected) != len(probabilities):
        raise InputError("a temperature is fitted to rows of which each has its right label")
    share = (math.sqrt(5) - 1) / 2
    low, high = math.log(LEAST_TEMPERATURE), math.log(MOST_TEMPERATURE)
    left, right = high - share * (high - low), low + share * (high - low)
    losses = [mean_loss(probabilities, expected, math.exp(place)) for place in (left, right)]
    for _ in range(_STEPS):
        if losses[0] <= losses[1]:
            high, right, losses[1] = right, left, losses[0]
            left = high - share * (high - low)
            losses[0] = mean_loss(probabilities, expected, math.exp(left))
        else:
            low, left, losses[0] = left, right, losses[1]
            right = low + share * (high - low)
            losses[1] = mean_loss(probabilities, expected, math.exp(right))
    return math.exp((low + high) / 2)


def language_of(text: str) -> str | None:
    """The language whose temperature a text gets, as far as it can be told."""
    return guess_language(text.lstrip()[:_TELLING_CHARACTERS], LANGUAGES)


@dataclass(frozen=True)
class Temperatures:
    """Temperatures of a label set.

    common       of texts in a language that was not fitted, or that cannot be told
    by_language  language code -> temperature of texts in it
    """

    common: float = 1.0
    by_language: Mapping[str, float] = field(default_factory=dict)

    def of(self, language: str | None) -> float:
        """The temperature of texts in a language; None: one that cannot be told."""
        return self.common if language is None else self.by_language.get(language, self.common)

    def applied(self, probabilities: Floats, texts: Sequence[str]) -> Floats:
        """Probabilities [num_texts, num_labels], each row at the temperature of its text."""
        pairs = zip(probabilities, texts, strict=True)
        return np.array([tempered(row, self.of(language_of(text))) for row, text in pairs])


def fit_temperatures(
    probabilities: Floats, expected: Sequence[int], texts: Sequence[str]
) -> Temperatures:
    """One temperature for all texts, and one for each language that LEAST_ROWS of them are in.

    probabilities [num_texts, num_labels]; expected: index of the right label of each text

    Raises InputError as fit_temperature does.
    """
    common = round(fit_temperature(probabilities, expected), _DIGITS)
    languages, right = np.array([language_of(text) for text in texts]), np.array(expected)
    by_language = {}
    for language, num_rows in sorted(Counter(filter(None, languages.tolist())).items()):
        if num_rows >= LEAST_ROWS:
            rows = languages == language
            found = fit_temperature(probabilities[rows], right[rows].tolist())
            by_language[language] = round(found, _DIGITS)
    return Temperatures(common, by_language)


def temperatures_of(config: ModelConfig, label_set: str) -> Temperatures:
    """Those of a label set in a configuration; 1 if it was not calibrated."""
    by_language = config.calibration_by_language.get(label_set, {})
    return Temperatures(config.calibration.get(label_set, 1.0), by_language)


def calibrated(config: ModelConfig, label_set: str, temperatures: Temperatures) -> ModelConfig:
    """The configuration with these temperatures of a label set, in place of those it had."""
    by_language = {**config.calibration_by_language, label_set: dict(temperatures.by_language)}
    return replace(
        config,
        calibration={**config.calibration, label_set: temperatures.common},
        calibration_by_language={name: found for name, found in by_language.items() if found},
    )


@dataclass(frozen=True)
class Bin:
    """Predictions whose confidence is above `low` and at most `high`; the first bin has 0 as well.

    confidence, accuracy  means over them; 0 if there are none
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(
    confidences: Sequence[float], is_right: Sequence[bool], num_bins: int = NUM_BINS
) -> tuple[Bin, ...]:
    """Bins of equal width from 0 to 1, as in Guo et al. 2017 (arXiv:1706.04599, section 2).

    confidences  probability of each predicted label
    """
    if not confidences or len(confidences) != len(is_right):
        raise InputError("calibration needs a confidence for each prediction, at least one")
    given, right = np.array(confidences, dtype=np.float64), np.array(is_right, dtype=np.float64)
    places = np.clip(np.ceil(given * num_bins).astype(int) - 1, 0, num_bins - 1)
    bins = []
    for index in range(num_bins):
        inside = places == index
        count = int(inside.sum())
        means = (float(given[inside].mean()), float(right[inside].mean())) if count else (0.0, 0.0)
        bins.append(Bin(index / num_bins, (index + 1) / num_bins, count, *means))
    return tuple(bins)


def calibration_error(
    confidences: Sequence[float], is_right: Sequence[bool], num_bins: int = NUM_BINS
) -> float:
    """Expected calibration error: the mean over all predictions of how far accuracy and confidence
    of their bin are apart, 0..1 (Guo et al. 2017, equation 3)."""
    bins = reliability(confidences, is_right, num_bins)
    return sum(one.count * abs(one.accuracy - one.confidence) for one in bins) / len(confidences)


def label_error(probabilities: Floats, expected: Sequence[int]) -> float:
    """calibration_error of the likeliest labels.

    probabilities [num_rows, num_labels]; expected: index of the right label of each row
    """
    is_right = probabilities.argmax(axis=1) == np.array(expected)
    return calibration_error(probabilities.max(axis=1).tolist(), is_right.tolist())
