"""How likely an answer is right: logistic regressions on a few signs, fitted on validation data.

Signs                what is known of an answer
SPAN, SENTENCE       the regression of answers that the model decoded, and of whole sentences

    python benchmarks/support.py --data DATA --fit

prints the constants. Fitted on as many questions that the documents answer as questions whose
passage was taken out, so that 0.5 is where an answer is as likely wrong as right.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

THRESHOLD = 0.5


@dataclass(frozen=True)
class Signs:
    """All are about 0..1, but for log-probabilities, which are natural.

    span      mean log-probability of the tokens of the answer; 0 of a whole sentence
    against   log-probability of the answer less that of no answer, between -10 and 10; likewise
    coverage  share of the question, weighted by rarity, that stands in the passage
    sentence  the same for the sentence, its headings included
    margin    how much better the passage's words fit than the next one's, -1..1
    """

    span: float
    against: float
    coverage: float
    sentence: float
    margin: float


@dataclass(frozen=True)
class Calibration:
    """A logistic regression: weights of Signs in order, and a constant."""

    weights: tuple[float, ...]
    bias: float

    def probability(self, signs: Signs) -> float:
        """That an answer with these signs is right."""
        total = self.bias
        for weight, value in zip(self.weights, astuple(signs), strict=True):
            total += weight * value
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, total))))


SPAN = Calibration((0.442, 0.511, 1.230, 1.172, 0.808), -2.399)
SENTENCE = Calibration((0.0, 0.0, 3.451, 4.280, 1.862), -4.002)
