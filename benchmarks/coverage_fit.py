"""The constants of apps/translate/coverage.py, fitted on planted faults of validation splits.

fit         prints them, and what they find
asked_once  a plan of one round
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from planted import Case, Item, plant

from duologue.api import Model
from duologue.apps.batch import Ask, Decoded, Plan, run_plan
from duologue.apps.translate.coverage import Weights
from duologue.apps.translate.pieces import num_words
from duologue.apps.translate.repair import Draft, Task, comparison

FALSE_FLAGS_GOAL = 0.05
_SHARE = 0.4  # of the false flags that may be, for each side; ends and repetitions have the rest
_MARGIN = 1.6  # of log-odds: texts that were not fitted on are flagged more often
_KINDS = ("clean", "delete", "swap", "truncate")
NUM_FEATURES = len(Weights._fields) - 1
_SIDES = ("UNCOVERED", "INVENTED")


class _Measured(NamedTuple):
    """One side of one case: features of its parts, and which of them are planted."""

    case: Case
    side: int
    regime: int
    features: Any
    labels: list[int]
    end_logprob: float


def fit(model: Model, items: Sequence[Item], random_: random.Random) -> None:
    """Print the constants that fit the items best."""
    cases = [plant(item, kind, item.target, random_) for item in items for kind in _KINDS]
    measured = [one for case in cases for one in _measured(model, case)]
    _lengths([case for case in cases if case.kind == "clean"])
    for side, name in enumerate(_SIDES):
        mine = [one for one in measured if one.side == side and one.case.kind != "truncate"]
        _weights(name, mine)
    for kind in _KINDS:
        ends = [one.end_logprob for one in measured if one.case.kind == kind]
        print(f"end of {kind}: {np.quantile(ends, [0.01, 0.02, 0.05, 0.5, 0.9, 0.95]).round(2)}")


def asked_once(asks: Sequence[Ask]) -> Plan[Sequence[Decoded]]:
    """A plan that gives the answers to its only round."""
    return (yield asks)


def _measured(model: Model, case: Case) -> list[_Measured]:
    from_, to = case.item.languages
    prefix = model._runtime.template.prefix("translate", from_, to)
    task = Task(model._runtime, to, from_, prefix, model.options("translate"))
    one = comparison(task, Draft(case.source_text, case.text))
    assert one is not None
    measures = one.measures(run_plan(model._runtime, asked_once(one.asks())))
    found = []
    for side, bad in enumerate((case.bad_source, case.bad_target)):
        labels = [_label(bounds, bad) for bounds in one.parts[side]]
        features = one.features(measures, side)
        regime, end = one.regime(side), measures.end_logprob
        found.append(_Measured(case, side, regime, features, labels, end))
    return found


def _label(bounds: tuple[int, int], bad: tuple[int, int] | None) -> int:
    """1: a part is planted, 0: it is not, -1: half of it is."""
    if bad is None:
        return 0
    share = (min(bounds[1], bad[1]) - max(bounds[0], bad[0])) / max(1, bounds[1] - bounds[0])
    return 1 if share > 0.6 else 0 if share < 0.2 else -1


def _lengths(cases: Sequence[Case]) -> None:
    ratios: Mapping[tuple[str, str], list[float]] = defaultdict(list)
    for case in cases:
        words = num_words(case.text) + 1, num_words(case.source_text) + 1
        ratios[case.item.languages].append(math.log(words[0] / words[1]))
    for pair, values in sorted(ratios.items()):
        median = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(np.array(values) - median)))
        print(f"{pair}: ({median:.2f}, {spread:.2f}),")


def _weights(name: str, measured: Sequence[_Measured]) -> None:
    """Print the weights of each regime, and what they find at the goal's false flags."""
    weights = [_logistic([one for one in measured if one.regime == regime]) for regime in range(3)]
    odds: Mapping[str, list[float]] = defaultdict(list)
    for one in measured:
        by = weights[one.regime]
        odds[one.case.kind].append(float((one.features @ by[:-1] + by[-1]).max()))
    least = float(np.quantile(odds["clean"], 1 - FALSE_FLAGS_GOAL * _SHARE))
    for by in weights:
        print(name, [*by[:-1].round(2).tolist(), round(float(by[-1]) - least - _MARGIN, 2)])
    for kind, values in odds.items():
        print(f"  {kind}: {np.mean(np.array(values) > least):.3f} of {len(values)}")


def _logistic(measured: Sequence[_Measured]) -> Any:
    """Weights and bias by Newton's method, a little shrunk."""
    if not measured:
        return np.zeros(NUM_FEATURES + 1)
    x = np.concatenate([one.features for one in measured])
    y = np.concatenate([one.labels for one in measured])
    x, y = np.c_[x, np.ones(len(x))][y >= 0], y[y >= 0]
    weights = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (p - y) + 0.1 * weights
        curvature = (x * (p * (1 - p) + 1e-6)[:, None]).T @ x + 0.1 * np.eye(len(weights))
        weights -= np.linalg.solve(curvature, gradient)
    return weights
