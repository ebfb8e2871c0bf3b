"""Cases to predictions to scores.

Predictor      what is evaluated: three methods that the command line joins to a model
evaluate       Predictor and Cases to Evaluation, and a call-back for progress
force_decode   log-probabilities of given texts, for perplexity
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from duologue.evaluation import metrics
from duologue.evaluation.calibration import NUM_BINS, Bin, calibration_error, reliability
from duologue.evaluation.cases import LABEL_TASKS, Case, Cases
from duologue.evaluation.metrics import Score
from duologue.text.template import label_text
from duologue.types import Result

BATCH_CASES = 64


class Predictor(Protocol):
    """A model as evaluation sees it. Each method answers every case, in order."""

    def texts(self, cases: Sequence[Case], task: str) -> list[Result]:
        """Translations, or replies to the turns of each case."""

    def labels(self, cases: Sequence[Case], task: str) -> list[Result]:
        """The most probable label of each case."""

    def logprobs(self, cases: Sequence[Case], task: str) -> list[list[float]]:
        """Natural-log probabilities of the tokens of each expected text, end token included."""


@dataclass(frozen=True)
class Speed:
    """Wall time of predicting; the forced decoding for perplexity is not in it.

    predictions_per_s  translations, labels or replies
    tokens_per_s       tokens produced
    """

    seconds: float
    predictions_per_s: float
    tokens_per_s: float


@dataclass(frozen=True)
class Evaluation:
    """Predictions in the order of the cases, and what they are worth.

    warnings     what the results say of themselves -> how many; see types.Checks
    reliability  of labels: how often they are right by confidence; see evaluation.calibration
    """

    scores: dict[str, Score]
    speed: Speed
    warnings: dict[str, int]
    results: tuple[Result, ...]
    reliability: tuple[Bin, ...] = ()


def evaluate(
    predictor: Predictor,
    cases: Cases,
    progress: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Predict every case and score the predictions.

    progress  is called with the number of cases done so far
    """
    is_text = cases.task in ("translate", "reply")
    predict = predictor.texts if is_text else predictor.labels
    results: list[Result] = []
    logprobs: list[list[float]] = []
    seconds = 1e-9  # a clock may stand still
    for start in range(0, len(cases.items), BATCH_CASES):
        batch = cases.items[start : start + BATCH_CASES]
        started = time.perf_counter()
        results += predict(batch, cases.task)
        seconds += time.perf_counter() - started
        if is_text:
            logprobs += predictor.logprobs(batch, cases.task)
        progress(len(results))
    tokens = sum(result.usage.produced_tokens for result in results)
    return Evaluation(
        scores=_scores(cases, results, logprobs),
        speed=Speed(seconds, len(results) / seconds, tokens / seconds),
        warnings=_warnings(results),
        results=tuple(results),
        reliability=() if is_text else reliability(*_certainty(cases, results)),
    )


def _scores(cases: Cases, results: list[Result], logprobs: list[list[float]]) -> dict[str, Score]:
    texts = [result.text for result in results]
    expected = [case.expected for case in cases.items]
    if cases.task in LABEL_TASKS:
        labels = [label_text(text) for text in texts]
        scores = {name: Score(v) for name, v in metrics.intent_scores(labels, expected).items()}
        error = calibration_error(*_certainty(cases, results))
        return scores | {"ece": Score(error, f"bins:{NUM_BINS}")}
    is_zh = any(case.language == "zh" for case in cases.items)  # its tokenizer splits others too
    scores = {
        "bleu": metrics.bleu(texts, expected, "zh" if is_zh else "en"),
        "chrf": metrics.chrf(texts, expected),
        "perplexity": Score(metrics.perplexity(logprobs)),
        "loop_rate": Score(sum(result.checks.repetition for result in results) / len(results)),
    }
    if cases.task == "reply":
        scores |= {
            "distinct_1": Score(metrics.distinct_n(texts, 1)),
            "distinct_2": Score(metrics.distinct_n(texts, 2)),
            "repetition_rate": Score(metrics.repetition_rate(texts)),
        }
    return scores


def _certainty(cases: Cases, results: Sequence[Result]) -> tuple[list[float], list[bool]]:
    """Confidence of each predicted label, and whether it is right."""
    pairs = zip(results, cases.items, strict=True)
    is_right = [label_text(result.text) == case.expected for result, case in pairs]
    return [result.confidence for result in results], is_right


def _warnings(results: list[Result]) -> dict[str, int]:
    return {
        "source_truncated": sum(bool(result.checks.source_truncated) for result in results),
        "trimmed_turns": sum(bool(result.checks.trimmed_turns) for result in results),
        "cut_at_max_tokens": sum(result.finish_reason == "length" for result in results),
    }


# --- forced decoding ---------------------------------------------------------------------------


class StepForward(Protocol):
    """The part of engine.forward.Forward that forced decoding calls."""

    def start(self, memory: Any) -> Any:
        """An empty decoder state on a memory."""

    def decode_step(self, states: list[Any], ids: list[int]) -> npt.NDArray[np.float32]:
        """Feed one token to each state; logits [len(states), V]."""


@dataclass(frozen=True)
class Forced:
    """A text whose probability is asked for.

    memory  what the decoder reads
    prefix  ids it starts from, at least one
    target  ids of the text, end token included
    """

    memory: Any
    prefix: tuple[int, ...]
    target: tuple[int, ...]


def force_decode(
    forward: StepForward, items: Sequence[Forced], max_rows: int = 64
) -> list[npt.NDArray[np.float64]]:
    """Natural-log probability of each target token, given all tokens before it.

    returns  for each item [len(target)] float64

    Items are fed side by side, up to max_rows of them; each has its own memory and length.
    """
    rows: list[npt.NDArray[np.float64]] = []
    for start in range(0, len(items), max_rows):
        rows += _force_rows(forward, items[start : start + max_rows])
    return rows


def _force_rows(forward: StepForward, items: Sequence[Forced]) -> list[npt.NDArray[np.float64]]:
    states = [forward.start(item.memory) for item in items]
    fed = [(*item.prefix, *item.target[:-1]) for item in items]
    values: list[list[float]] = [[] for _ in items]
    for position in range(max(map(len, fed))):
        active = [row for row, ids in enumerate(fed) if position < len(ids)]
        logits = forward.decode_step(
            [states[row] for row in active], [fed[row][position] for row in active]
        )
        for row, row_logits in zip(active, logits, strict=True):
            index = position - len(items[row].prefix) + 1
            if index >= 0:
                values[row].append(_log_softmax_at(row_logits, items[row].target[index]))
    return [np.array(row) for row in values]


def _log_softmax_at(logits: npt.NDArray[np.float32], idx: int) -> float:
    largest = float(logits.max())
    total = np.exp(logits - largest).sum(dtype=np.float64)
    return float(logits[idx]) - largest - math.log(total)
