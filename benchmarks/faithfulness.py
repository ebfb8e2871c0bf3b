"""Do explanations name what the model really used? Parts of sources are taken away to see.

    python benchmarks/faithfulness.py --data DATA [--model duo-s] [--rows 60] [--exact FOLDER]

On test splits: translations, as the model makes them; answers to questions, the reference forced;
labels, as the model chooses them. For each, words are ranked by

    erasure    what the answer loses without the word: explain.erasure, as it ships
    masking    the same with <mask> in place of what is left out
    attention  the share of cross-attention, as in Result.evidence
    gradients  integrated gradients of the torch model in float32, a reference; see gradients.py
    random

and then taken away, the highest first. What is reported, per set and method:

    span   what each token of the answer loses, in nats, when the highest word is taken away; the
           same of random stretches of as many tokens; and how often it is more
    AUC    area under the deletion curve: the mean probability of a token of the answer, as a share
           of what it was (2 at most), over the share of words that are gone. Less is better

Writes benchmarks/results/faithfulness.json and docs/images/faithfulness.svg.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from faithfulness_cases import SETS, Case, cases_of
from gradients import Gradients
from plots import IMAGES, shares
from report import RESULTS, surroundings, write

import duologue
from duologue.explain.erasure import Effects, ErasureOptions, erasing, finished
from duologue.explain.units import Unit
from duologue.runtime import Runtime

Floats = npt.NDArray[np.float64]

METHODS = ("erasure", "masking", "attention", "gradients", "random")
FRACTIONS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
NUM_RANDOM = 4  # random stretches, and random orders, for each case
SEED = 6


@dataclass(frozen=True)
class Measured:
    """One case. Probabilities of the answer are means over its tokens.

    span     method -> nats a token that taking the highest word away costs
    beats    method -> share of random stretches of as many tokens that cost less
    chance   what those cost, for each method
    curves   method -> [FRACTIONS] share of the token probability that is left
    """

    span: dict[str, float]
    beats: dict[str, float]
    chance: dict[str, float]
    curves: dict[str, Floats]


# --- rankings ------------------------------------------------------------------------------------


def by_effects(found: Effects, words: Sequence[Unit]) -> Floats:
    """What each word has of the effects; a unit of several words is shared out by their tokens."""
    values = np.zeros(len(words))
    for effect in found.effects:
        unit = effect.unit
        inside = [
            number
            for number, word in enumerate(words)
            if word.segment == unit.segment and unit.first <= word.first and word.last <= unit.last
        ]
        tokens = sum(words[number].num_tokens for number in inside)
        for number in inside:
            values[number] = effect.drop * words[number].num_tokens / tokens
    return values


def by_tokens(case: Case, values: Sequence[Floats]) -> Floats:
    """The sums over the tokens of each word; values: for each source, one for each token."""
    return np.array([values[word.segment][word.first : word.last].sum() for word in case.words])


def rankings(case: Case, runtime: Runtime, gradients: Gradients) -> dict[str, Floats]:
    """For each method but random what it gives to each word."""
    values = {}
    mask_id = runtime.tokenizer.control_id("<mask>")  # type: ignore[union-attr]
    for name, mask in (("erasure", None), ("masking", mask_id)):
        options = ErasureOptions(mask_id=mask, max_s=math.inf)
        found = finished(
            erasing(
                case.context,
                case.score,
                runtime.tokenizer,
                options,
                case.num_ids,
                case.segments,
            )
        )
        values[name] = by_effects(found, case.words)
    looks = case.attention.mean(axis=0).astype(np.float64)
    bounds = np.cumsum([len(source.ids) for source in case.context.sources])[:-1]
    values["attention"] = by_tokens(case, np.split(looks, bounds))
    sources, prefix = case.context.sources, case.prefix_ids
    given = gradients.attributions(sources, case.alone, prefix, case.answers)
    values["gradients"] = by_tokens(case, given)
    return values


# --- what taking away costs ----------------------------------------------------------------------


def scores(case: Case, erasures: Iterable[Sequence[Unit]]) -> Floats:
    """Nats a token of the answer, for each erasure."""
    found = case.score(case.context.without(units) for units in erasures)
    return np.array(found) / case.num_ids


def stretch(words: Sequence[Unit], num_tokens: int, generator: random.Random) -> list[Unit]:
    """Neighbouring words from a random one on, of at least so many tokens if there are."""
    first = generator.randrange(len(words))
    taken: list[Unit] = []
    for word in [*words[first:], *words[:first]]:
        taken.append(word)
        if sum(one.num_tokens for one in taken) >= num_tokens:
            break
    return taken


def measure(case: Case, values: dict[str, Floats], generator: random.Random) -> Measured:
    words = case.words
    orders = {name: [np.argsort(-value, kind="stable")] for name, value in values.items()}
    shuffled = [generator.sample(range(len(words)), len(words)) for _ in range(NUM_RANDOM)]
    orders["random"] = [np.array(order) for order in shuffled]
    base = scores(case, [()])[0]
    span, beats, chance, curves = {}, {}, {}, {}
    for name, own in orders.items():
        erasures = [
            [words[number] for number in order[: round(fraction * len(words))]]
            for order in own
            for fraction in FRACTIONS
        ]
        left = scores(case, erasures).reshape(len(own), len(FRACTIONS))
        curves[name] = np.exp(np.minimum(left - base, 0.7)).mean(axis=0)
        top = words[own[0][0]]
        others = [stretch(words, top.num_tokens, generator) for _ in range(NUM_RANDOM)]
        costs = base - scores(case, [[top], *others])
        span[name] = float(costs[0])
        chance[name] = float(costs[1:].mean())
        wins = (costs[0] > costs[1:]) + 0.5 * (costs[0] == costs[1:])
        beats[name] = float(wins.mean())
    return Measured(span, beats, chance, curves)


# --- results -------------------------------------------------------------------------------------


def area(curve: Floats) -> float:
    """Under a deletion curve, by trapezia."""
    return float(np.trapezoid(curve, FRACTIONS))


def interval(values: Floats) -> list[float]:
    """95 % of the means of samples drawn again (bootstrap)."""
    generator = np.random.default_rng(SEED)
    drawn = generator.choice(values, (2000, len(values))).mean(axis=1)
    return [round(float(bound), 4) for bound in np.quantile(drawn, (0.025, 0.975))]


def summary(found: Sequence[Measured]) -> dict[str, Any]:
    """Means over cases, for each method."""
    result: dict[str, Any] = {"cases": len(found)}
    for name in METHODS:
        curve = np.mean([one.curves[name] for one in found], axis=0)
        result[name] = {
            "auc": round(area(curve), 4),
            "span_nats": round(float(np.mean([one.span[name] for one in found])), 4),
            "random_span_nats": round(float(np.mean([one.chance[name] for one in found])), 4),
            "beats_random": round(float(np.mean([one.beats[name] for one in found])), 4),
            "curve": [round(float(value), 4) for value in curve],
        }
    for other in ("attention", "gradients", "random"):
        gains = np.array([area(one.curves[other]) - area(one.curves["erasure"]) for one in found])
        result[f"erasure_gains_on_{other}"] = [round(float(gains.mean()), 4), *interval(gains)]
    return result


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row["split"] == "test":
                yield row


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    model = duologue.load(arguments.model, threads=1)
    runtime = model._runtime
    folder = duologue.api.model_folder(arguments.exact or arguments.model)
    gradients = Gradients(folder, arguments.steps)
    found: dict[str, list[Measured]] = {}
    times: list[float] = []
    for kind in SETS:
        rows = list(rows_of(arguments.data / f"{kind.path}.jsonl.gz"))
        random.Random(SEED).shuffle(rows)
        generator = random.Random(SEED)
        own: list[Measured] = []
        for case in cases_of(model, kind, rows):
            begin = time.perf_counter()
            values = rankings(case, runtime, gradients)
            own.append(measure(case, values, generator))
            times.append(time.perf_counter() - begin)
            print(f"\r{kind.name} {len(own)}", end="", file=sys.stderr, flush=True)
            if len(own) == arguments.rows:
                break
        print(file=sys.stderr)
        if own:
            found[kind.name] = own
    groups = {task: [one for kind in SETS if kind.task == task for one in found.get(kind.name, [])]
              for task in dict.fromkeys(kind.task for kind in SETS)}  # fmt: skip
    every = [one for own in found.values() for one in own]
    return {
        "answers": "answer" if "answer" in model.config.tasks else "reply, the reference forced",
        "fractions": FRACTIONS,
        "seconds_per_case": round(float(np.median(times)), 2),
        "sets": {name: summary(own) for name, own in found.items()},
        "tasks": {name: summary(own) for name, own in groups.items() if own}
        | {"all": summary(every)},
    }


def show(values: dict[str, Any]) -> None:
    for name, result in (values["sets"] | values["tasks"]).items():
        print(f"{name}: {result['cases']} cases")
        for method in METHODS:
            own = result[method]
            print(
                f"  {method:10} AUC {own['auc']:.3f}  span {own['span_nats']:+.3f} nats a token, "
                f"random {own['random_span_nats']:+.3f}, beats {own['beats_random']:.0%}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", default="duo-s")
    parser.add_argument("--exact", help="folder of the same weights before they were rounded")
    parser.add_argument("--rows", type=int, default=60, help="cases of each set")
    parser.add_argument("--steps", type=int, default=16, help="of integrated gradients")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--images", type=Path, default=IMAGES)
    arguments = parser.parse_args()
    values = run(arguments)
    show(values)
    packages = ("duologue", "torch", "numpy")
    write("faithfulness", surroundings(packages) | {"model": arguments.model} | values,
          arguments.output)  # fmt: skip
    panels = {
        name: {method: result[method]["curve"] for method in METHODS}
        for name, result in values["tasks"].items()
        if name != "all"
    }
    labels = "share of words taken away", "token probability, as a share"
    shares("faithfulness", FRACTIONS, panels, labels, arguments.images)


if __name__ == "__main__":
    main()
