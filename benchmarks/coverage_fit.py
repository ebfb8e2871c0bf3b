"""The constants of apps/translate/weighing.py, fitted on planted faults of validation splits.

fit         prints them, and what they find
asked_once  a plan of one round
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from planted import Case, Item, plant

from duologue.api import Model
from duologue.apps.batch import Ask, Decoded, Plan, run_plan
from duologue.apps.translate.pieces import num_words
from duologue.apps.translate.repair import Draft, Task, comparison
from duologue.apps.translate.weighing import Weights, features

FALSE_FLAGS_GOAL = 0.05
_SHARE = 0.7  # of the false flags that may be; ends, repetitions and languages have the rest
_FOLDS = 4
_KINDS = ("clean", "delete", "swap", "truncate")
_SIDES = ("UNCOVERED", "INVENTED")
NUM_FEATURES = len(Weights._fields) - 1


class _Measured(NamedTuple):
    """One side of one case: features of its parts, and which of them are planted.

    item   by number
    whose  translation it is: a person's, the model's, or the model's of one part
    """

    item: int
    whose: str
    case: Case
    side: int
    regime: int
    features: Any
    labels: list[int]
    end_logprob: float


def fit(model: Model, items: Sequence[Item], random_: random.Random) -> None:
    """Print the constants that fit the items best."""
    measured = [
        one
        for number, item in enumerate(items)
        for whose, case in _cases(model, item, random_)
        for one in _measured(model, number, whose, case)
    ]
    human = [one for one in measured if one.whose == "human" and one.side == 0]
    _lengths([one.case for one in human if one.case.kind == "clean"])
    _print_weights(measured)
    for kind in _KINDS:
        ends = [one.end_logprob for one in human if one.case.kind == kind]
        print(f"end of {kind}: {np.quantile(ends, [0.01, 0.02, 0.05, 0.5, 0.9, 0.95]).round(2)}")


def asked_once(asks: Sequence[Ask]) -> Plan[Sequence[Decoded]]:
    """A plan that gives the answers to its only round."""
    return (yield asks)


def _cases(model: Model, item: Item, random_: random.Random) -> Iterator[tuple[str, Case]]:
    """Translations by a person and by the model, as the check and as the loop meet them."""
    from_, to = item.languages
    own = [result.text for result in model.translate_batch(item.source, to, from_, check=False)]
    one = replace(item, source=item.source[:1], target=item.target[:1])
    for whose, some, target in (
        ("human", item, item.target),
        ("own", item, own),
        ("one", one, own),
    ):
        for kind in _KINDS:
            case = plant(some, kind, target[: len(some.source)], random_)
            if case.text:
                yield whose, case


def _measured(model: Model, number: int, whose: str, case: Case) -> Iterator[_Measured]:
    from_, to = case.item.languages
    prefix = model._runtime.template.prefix("translate", from_, to)
    task = Task(model._runtime, to, from_, prefix, model.options("translate"))
    one = comparison(task, Draft(case.source_text, case.text))
    assert one is not None
    measures = one.measures(run_plan(model._runtime, asked_once(one.asks())))
    for side, bad in enumerate((case.bad_source, case.bad_target)):
        labels = [_label(bounds, bad) for bounds in one.sides.parts[side]]
        values = features(one.sides, measures, side)
        regime, end = one.sides.regime(side), measures.end_logprob
        yield _Measured(number, whose, case, side, regime, values, labels, end)


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


def _print_weights(measured: Sequence[_Measured]) -> None:
    """Print the weights, and what they find in items that they were not fitted on."""
    odds = np.zeros((len(measured) // 2, 2))
    for fold in range(_FOLDS):
        by = _weights([one for one in measured if one.item % _FOLDS != fold])
        for place, one in enumerate(measured):
            if one.item % _FOLDS == fold:
                weights = by[one.side][one.regime]
                odds[place // 2, one.side] = (one.features @ weights[:-1] + weights[-1]).max()
    names = [f"{one.whose} {one.case.kind}" for one in measured if one.side == 0]
    least, both = _least(odds[np.array(names) == "human clean"])
    for side, regimes in enumerate(_weights(measured)):
        for weights in regimes:
            values = [*weights[:-1], weights[-1] - least[side]]
            print(_SIDES[side], [round(float(value), 2) for value in values])
    print(f"TOGETHER = {-both:.2f}")
    for name in sorted(set(names)):
        flagged = _flagged(odds[np.array(names) == name], least, both)
        print(f"  {name}: {flagged.mean():.3f} of {len(flagged)}")


def _least(clean: Any) -> tuple[Any, float]:
    """Log-odds at which each side, and both together, flag as many as the goal lets them."""
    for share in np.linspace(FALSE_FLAGS_GOAL, 0.0, 100):
        least = np.quantile(clean, 1 - share, axis=0)
        both = float(np.quantile(_together(clean, least), 1 - share))
        if _flagged(clean, least, both).mean() <= FALSE_FLAGS_GOAL * _SHARE:
            break
    return least, both


def _together(odds: Any, least: Any) -> Any:
    return np.minimum(odds - least, 0).sum(axis=1)


def _flagged(odds: Any, least: Any, both: float) -> Any:
    return (odds > least).any(axis=1) | (_together(odds, least) > both)


def _weights(measured: Sequence[_Measured]) -> list[list[Any]]:
    """Of each side, for each regime; parts that are cut in the middle are for the ends to find."""
    return [
        [
            _logistic(
                [
                    one
                    for one in measured
                    if one.side == side and one.regime == regime and one.case.kind != "truncate"
                ]
            )
            for regime in range(3)
        ]
        for side in (0, 1)
    ]


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
