"""The output product in two stages beside the whole one: the same tokens, and in what time?

    python benchmarks/two_stage.py --data DATA [--sentences 1000] [--model duo-s] [--threads 2]

Real sentences of test sets are translated and answered greedily, one at a time. At each step both
products get the same token, on states of their own, and what they would choose next is compared;
both are then fed what the whole product chose. The steps are timed in turn, whole, staged, whole.
Writes benchmarks/results/two_stage.json.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from identical import Asked, read, requests, sentences
from report import surroundings, write

from duologue.api import model_folder
from duologue.checkpoint.store import load_model
from duologue.engine.cores import default_threads
from duologue.runtime import Runtime


@dataclass
class Found:
    """What the steps of all requests brought.

    different  steps whose best id is not the same
    whole_ms   of each step; staged_ms likewise
    """

    different: int = 0
    whole_ms: list[float] = field(default_factory=list)
    staged_ms: list[float] = field(default_factory=list)


def compare(
    whole: Runtime, staged: Runtime, asked: Asked, suppressed: list[int], found: Found
) -> None:
    """Decode one request with both; suppressed ids are never chosen."""
    sides = [(whole, found.whole_ms), (staged, found.staged_ms)]
    states = [side.forward.start(read(side, asked.sources)) for side, _ in sides]
    eos_id = whole.tokenizer.eos_id
    fed, produced = list(asked.prefix), 0
    while produced < asked.max_tokens:
        idx = fed.pop(0)
        best = []
        for (side, times), state in zip(sides, states, strict=True):
            begin = time.perf_counter()
            logits = side.forward.decode_step([state], [idx])
            best.append(side.forward.score(logits, suppressed).best[0])
            times.append(1e3 * (time.perf_counter() - begin))
        if fed:
            continue
        found.different += best[0] != best[1]
        if best[0] == eos_id:
            return
        fed, produced = [best[0]], produced + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--model", default="duo-s")
    parser.add_argument("--threads", type=int, default=default_threads())
    arguments = parser.parse_args()
    model = load_model(model_folder(arguments.model))
    whole, staged = (Runtime(model, arguments.threads, two) for two in (False, True))
    suppressed = [idx for idx in whole.special.absent_ids if idx != whole.tokenizer.eos_id]
    found = Found()
    for asked in requests(whole, sentences(arguments.data, arguments.sentences)):
        compare(whole, staged, asked, suppressed, found)
    steps = len(found.whole_ms)
    ratio = float(np.median(np.array(found.staged_ms) / found.whole_ms))
    figures = {
        "steps": steps,
        "different": found.different,
        "same_share": 1 - found.different / steps,
        "whole_ms_median": float(np.median(found.whole_ms)),
        "staged_ms_median": float(np.median(found.staged_ms)),
        "staged_over_whole_median": ratio,
    }
    for name, value in figures.items():
        print(f"{name:26} {value:.6g}")
    settings = {"sentences": arguments.sentences, "model": arguments.model}
    values = {**settings, "threads": arguments.threads, "figures": figures}
    write("two_stage", surroundings(("duologue", "numpy")) | values)


if __name__ == "__main__":
    main()
