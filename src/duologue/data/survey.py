"""What is in the training data: texts for the tokenizer, labels, tasks and languages.

Each function reads the train rows once, in the order of the files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from duologue.data.augment import can_train
from duologue.data.dataset import Dataset


def texts(datasets: Sequence[Dataset], max_set_chars: int | None = None) -> Iterator[str]:
    """The texts of the train rows, sources and targets, for training a tokenizer.

    max_set_chars  about how many characters of each set, so that no set decides alone; None is all
    """
    for dataset in datasets:
        room = max_set_chars if max_set_chars is not None else math.inf
        for example in dataset.examples("train"):
            if room <= 0:
                break
            seen = {turn.text for turn in example.segments}  # replies are segments as well
            targets = [target.text for target in example.targets if target.text not in seen]
            for text in [*(turn.text for turn in example.segments), *targets]:
                room -= len(text)
                yield text


def label_sets(datasets: Sequence[Dataset]) -> dict[str, tuple[str, ...]]:
    """Name of each set that has labels -> its labels as the data spells them, sorted."""
    found: dict[str, set[str]] = {}
    for dataset in datasets:
        for example in dataset.examples("train"):
            if example.labels:
                found.setdefault(dataset.name, set()).update(example.labels)
    return {name: tuple(sorted(labels)) for name, labels in found.items()}


def tasks(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """The decoder prefixes that the train rows train, sorted."""
    found: set[str] = set()
    for dataset in datasets:
        for example in dataset.examples("train"):
            found.update(target.task for target in example.targets)
            if example.is_plain_text and dataset.config.augment.denoise:
                found.add("denoise")
    return tuple(sorted(found))


def languages(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """The languages that the train rows train translation into, sorted."""
    found: set[str] = set()
    for dataset in datasets:
        for example in dataset.examples("train"):
            for target in example.targets:
                if target.language is not None:
                    found.add(target.language)
                    if dataset.config.augment.pair_swap and example.language is not None:
                        found.add(example.language)
    return tuple(sorted(found))


def count_rows(dataset: Dataset) -> int:
    """How many train rows of a set can be trained on."""
    return sum(can_train(row, dataset.config.augment) for row in dataset.examples("train"))
