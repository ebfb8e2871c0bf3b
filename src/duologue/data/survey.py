"""What is in the training data: texts for the tokenizer, labels, tasks and languages.

texts        every text, for training a tokenizer
contents     languages, tasks, label sets
count_rows   rows that can be trained on

Each function reads the train rows once, in the order of the files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Contents:
    """What the train rows of a mix train.

    languages        codes that something is translated into, sorted
    pairs            (source, target) codes of translations, sorted
    reply_languages  codes that replies name, sorted
    tasks            decoder prefixes, sorted
    label_sets       name of each set that has labels -> its labels as the data spells them, sorted
    """

    languages: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    reply_languages: tuple[str, ...]
    tasks: tuple[str, ...]
    label_sets: dict[str, tuple[str, ...]]


def contents(datasets: Sequence[Dataset]) -> Contents:
    """Read all train rows and say what they train."""
    pairs: set[tuple[str, str]] = set()
    reply_languages: set[str | None] = set()
    tasks: set[str] = set()
    label_sets: dict[str, set[str]] = {}
    for dataset in datasets:
        config = dataset.config.augment
        for example in dataset.examples("train"):
            tasks.update(target.task for target in example.targets)
            if example.is_plain_text and config.denoise:
                tasks.add("denoise")
            replies = [target for target in example.targets if target.task == "reply"]
            reply_languages.update(target.language for target in replies)
            into = {target.language for target in example.targets if target.task == "translate"}
            found = {(example.language, code) for code in into if example.language and code}
            pairs |= found | ({pair[::-1] for pair in found} if config.pair_swap else set())
            if example.labels:
                label_sets.setdefault(dataset.name, set()).update(example.labels)
    return Contents(
        languages=tuple(sorted({target for _, target in pairs})),
        pairs=tuple(sorted(pairs)),
        reply_languages=tuple(sorted(code for code in reply_languages if code)),
        tasks=tuple(sorted(tasks)),
        label_sets={name: tuple(sorted(labels)) for name, labels in label_sets.items()},
    )


def count_rows(dataset: Dataset) -> int:
    """How many train rows of a set can be trained on."""
    return sum(can_train(row, dataset.config.augment) for row in dataset.examples("train"))
