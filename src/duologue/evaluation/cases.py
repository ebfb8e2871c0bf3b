"""Rows of a data file become cases: what a model is given, and what it should answer.

Selection    which rows, in which direction
Case         one thing to predict
Cases        those of a file, and what was left out and why
read_cases   Selection to Cases

A dialogue gives one case for each of its agent turns, in order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from duologue.config import DataConfig, DatasetConfig
from duologue.data.dataset import Dataset, open_datasets
from duologue.data.lines import read_lines
from duologue.data.rows import Example
from duologue.errors import DataError, InputError
from duologue.text.template import LANGUAGES, label_text
from duologue.types import Turn

TASKS = ("translate", "sentiment", "intent", "reply")
LABEL_TASKS = ("sentiment", "intent")


@dataclass(frozen=True)
class Selection:
    """Which rows of a file to evaluate on.

    task       None is the task of the first row
    direction  translate: `en-zh`; rows stored the other way round are swapped
    part       only rows with this value in their field `part` (JSONL)
    limit      at most this many rows; None is all
    """

    path: Path
    split: str = "test"
    task: str | None = None
    direction: str | None = None
    part: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Case:
    """One thing to predict.

    line      of the data file
    segments  what the model reads, documents first
    expected  the reference: a text, or a label as the decoder spells it
    language  of the expected text; None where the row does not say
    source_language  of what is translated; None where the row does not say, and for other tasks
    """

    line: int
    segments: tuple[Turn, ...]
    expected: str
    language: str | None = None
    source_language: str | None = None


@dataclass(frozen=True)
class Cases:
    """All cases of a selection.

    set       name of the data set
    num_rows  rows that gave them
    left_out  why rows were not used -> how many
    """

    task: str
    set: str
    items: tuple[Case, ...]
    num_rows: int
    left_out: dict[str, int] = field(default_factory=dict)


def read_cases(selection: Selection) -> Cases:
    """Read and check the rows of a selection.

    Raises DataError for a file that cannot be read or has no fitting row, InputError for a task
    that cannot be evaluated, and for translations in several directions when none is chosen.
    """
    path = selection.path
    examples = _of_part(_dataset(selection).examples(selection.split), selection)
    first = next(examples, None)
    if first is None:
        part = f" and part {selection.part}" if selection.part else ""
        raise DataError(path, None, f"no row of split {selection.split}{part}")
    task = selection.task or _task_of(first)
    if task not in TASKS:
        raise InputError(f"{path}: cannot evaluate {task!r}; tasks are {', '.join(TASKS)}")
    items: list[Case] = []
    left_out: Counter[str] = Counter()
    num_rows = 0
    for example in islice(_chain(first, examples), selection.limit):
        found, reason = _cases_of(example, task, selection.direction)
        items += found
        num_rows += bool(found)
        left_out.update([reason] if reason else [])
    if not items:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise DataError(path, None, f"no row can be used: {reasons}")
    _check_languages(items, task)
    return Cases(task, first.set, tuple(items), num_rows, dict(left_out))


def _dataset(selection: Selection) -> Dataset:
    path, direction = selection.path, selection.direction
    if not path.is_file():
        raise DataError(path, None, "no such file")
    codes = direction.split("-") if direction else [None, None]
    if len(codes) != 2 or not {*codes} <= {None, *LANGUAGES}:
        raise InputError(
            f"no direction {direction!r}; write two of {', '.join(LANGUAGES)}, such as en-zh"
        )
    # Rows that name no languages, such as a TSV without a header, are of the chosen direction.
    config = DatasetConfig(path=path.name, src_lang=codes[0], tgt_lang=codes[1])
    return open_datasets(DataConfig(sets=(config,), root=str(path.parent)))[0]


def _chain(first: Example, rest: Iterator[Example]) -> Iterator[Example]:
    yield first
    yield from rest


def _of_part(examples: Iterator[Example], selection: Selection) -> Iterator[Example]:
    if selection.part is None:
        yield from examples
        return
    # Examples do not carry `part`, which only evaluation asks for: the file is read beside them.
    lines = read_lines(selection.path)
    for example in examples:
        text = next(text for line, text in lines if line == example.line)
        try:
            part = json.loads(text).get("part")
        except (ValueError, AttributeError):
            raise InputError("--part needs a JSONL file, whose rows have a field 'part'") from None
        if part == selection.part:
            yield example


def _task_of(example: Example) -> str:
    return example.targets[0].task if example.targets else "text"


def _cases_of(example: Example, task: str, direction: str | None) -> tuple[list[Case], str]:
    """The cases of a row; if there are none, the reason."""
    targets = [target for target in example.targets if target.task == task]
    if not targets:
        return [], f"of task {_task_of(example)}"
    if task == "translate":
        source, target = example.segments[0].text, targets[0].text
        languages = targets[0].language, example.language
        stored = "-".join(map(str, reversed(languages)))
        if direction in (None, stored):
            return [Case(example.line, example.segments, target, *languages)], ""
        if direction != "-".join(reversed(stored.split("-"))):
            return [], f"of direction {stored}"
        swapped = (Turn("user", target),)
        return [Case(example.line, swapped, source, *reversed(languages))], ""
    if task == "reply":
        segments = example.segments
        return [
            Case(example.line, segments[: target.limit], target.text, example.language)
            for target in targets
        ], ""
    if len(example.labels) > 1:
        return [], "with several labels"
    label = label_text(example.labels[0])
    return [Case(example.line, example.segments, label, example.language)], ""


def _check_languages(items: list[Case], task: str) -> None:
    languages = sorted({item.language or "" for item in items})
    if task == "translate" and len(languages) > 1:
        raise InputError(
            f"the rows translate into {' and '.join(languages)}, whose scores cannot be "
            f"averaged; choose one with --direction, such as en-{languages[-1]}"
        )
