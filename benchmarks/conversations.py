"""Sampled conversations: do replies loop, and does a late turn cost what an early one does?

    python benchmarks/conversations.py --data dialogue/sgd.jsonl.gz dialogue/crosswoz.jsonl.gz

Takes the user's turns of test dialogues, says them to the model one after another and samples
every reply with the options of the chat. Counts replies that end in a loop, and reports distinct
n-grams, the repetition rate, and the time to encode turn 20 over that of turn 2 with turns of equal
length. Writes benchmarks/results/conversations.json.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from report import surroundings, write

import duologue
from duologue.config import DataConfig, DatasetConfig
from duologue.data.dataset import open_datasets
from duologue.evaluation.metrics import distinct_n, repetition_rate
from duologue.types import Options

MAX_USER_TURNS = 8
LATE_TURNS = 20


def user_turns(path: Path, count: int) -> list[list[str]]:
    """What the user says in each of the first `count` test dialogues."""
    (dataset,) = open_datasets(DataConfig(sets=(DatasetConfig(str(path)),)))
    dialogues = []
    for example in dataset.examples("test"):
        said = [turn.text for turn in example.segments if turn.role == "user"]
        dialogues.append(said[:MAX_USER_TURNS])
        if len(dialogues) == count:
            break
    return dialogues


def converse(model: Any, said: list[str], options: Options) -> list[Any]:
    """The results of one conversation."""
    conversation = model.conversation()
    return [conversation.say(text, options) for text in said]


def late_turns(model: Any) -> list[Any]:
    """Usage of each turn of a long conversation whose turns are all the same."""
    conversation = model.conversation()
    options = Options(max_tokens=4)
    text = "I would like a room with a view for two nights, please."
    return [conversation.say(text, options).usage for _ in range(LATE_TURNS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--model", default="duo-s")
    parser.add_argument("--conversations", type=int, default=200, help="over all files")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-p", type=float, default=0.9)
    arguments = parser.parse_args()

    model = duologue.load(arguments.model)
    each = arguments.conversations // len(arguments.data)
    dialogues = [said for path in arguments.data for said in user_turns(path, each)]
    results, looping = [], 0
    for seed, said in enumerate(dialogues):
        options = replace(
            model.conversation().REPLY_OPTIONS,
            temperature=arguments.temperature,
            top_p=arguments.top_p,
            seed=seed,
        )
        spoken = converse(model, said, options)
        looping += any(result.checks.repetition for result in spoken)
        results += spoken

    texts = [result.text for result in results]
    runs = [late_turns(model) for _ in range(5)]
    ratios = [run[-1].encode_ms / run[1].encode_ms for run in runs]
    figures = {
        "conversations": len(dialogues),
        "replies": len(results),
        "conversations_with_a_loop": looping,
        "replies_cut_at_max_tokens": sum(item.finish_reason == "length" for item in results),
        "distinct_1": distinct_n(texts, 1),
        "distinct_2": distinct_n(texts, 2),
        "repetition_rate": repetition_rate(texts),
        "turn_20_encoded_tokens": runs[0][-1].encoded_tokens,
        "turn_20_reused_tokens": runs[0][-1].reused_tokens,
        "turn_20_over_turn_2_encode_time": statistics.median(ratios),
    }
    for name, value in figures.items():
        print(f"{name:34} {value:.4g}" if isinstance(value, float) else f"{name:34} {value}")
    settings = {
        "data": [path.name for path in arguments.data],
        "temperature": arguments.temperature,
        "top_p": arguments.top_p,
        "model": arguments.model,
    }
    write("conversations", surroundings(("duologue",)) | settings | {"figures": figures})


if __name__ == "__main__":
    main()
