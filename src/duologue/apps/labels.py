"""Choosing one of a few labels for a text: what sentiment and intent have in common."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from duologue.engine.memory import Memory
from duologue.engine.trie import score_labels
from duologue.errors import InputError
from duologue.explain import evidence, shifted
from duologue.runtime import Reading, Runtime, check_text
from duologue.text.template import label_text
from duologue.types import Checks, Options, Result

MAX_LABELS = 1000
_ONE_TOKEN = Options(max_tokens=1)


def classify(
    runtime: Runtime,
    text: str,
    task: str,
    labels: Sequence[str],
    reading: Reading | None = None,
) -> Result:
    """The likeliest label for a text, with the probability of each.

    text     is read as far as it fits; the rest is in checks.source_truncated
    labels   at least two different ones; `_` reads as a blank
    reading  of the text, without the blanks around it, where it was read already

    The decoder may say nothing but the labels, so the probabilities sum to 1 even for a text to
    which none applies. Evidence is what the decoder attended to where it chose the first token;
    spans are offsets into `text`. Raises InputError for texts, tasks and labels of no use.
    """
    tokenizer = runtime.tokenizer
    prefix = runtime.template.prefix(task).ids
    label_ids = _label_ids(runtime, labels)
    if reading is None:
        reading = runtime.read(runtime.source(check_text(text).strip(), task))
    before = time.perf_counter()
    probabilities = _scores(runtime, reading.memory, prefix, label_ids)
    look = runtime.engine.generate(reading.memory, prefix, _ONE_TOKEN, record_attention=True)
    decode_ms = 1000 * (time.perf_counter() - before)
    best = int(probabilities.argmax())
    lead = len(text) - len(text.lstrip())
    return Result(
        text=labels[best],
        finish_reason="stop",
        confidence=float(probabilities[best]),
        checks=Checks(source_truncated=shifted(reading.unread, lead)),
        evidence=shifted(evidence(look.attention, [reading.source], tokenizer), lead),
        probabilities=dict(zip(labels, probabilities.tolist(), strict=True)),
        usage=replace(reading.usage, produced_tokens=len(label_ids[best]), decode_ms=decode_ms),
    )


def probabilities_of(
    runtime: Runtime, memory: Memory, task: str, labels: Sequence[str]
) -> dict[str, float]:
    """The labels of a text that is encoded already, likeliest first; raises as classify does."""
    prefix = runtime.template.prefix(task).ids
    scores = _scores(runtime, memory, prefix, _label_ids(runtime, labels))
    found = zip(labels, scores.tolist(), strict=True)
    return dict(sorted(found, key=lambda item: -item[1]))


def label_set(runtime: Runtime, name: str) -> tuple[str, ...]:
    """The labels of a set the model was trained on; InputError lists the sets for another."""
    sets = runtime.config.label_sets
    if name not in sets:
        known = ", ".join(sorted(sets)) or "none"
        raise InputError(f"unknown label set {name!r}; this model knows {known}")
    return sets[name]


def _scores(
    runtime: Runtime, memory: Memory, prefix: tuple[int, ...], label_ids: list[list[int]]
) -> npt.NDArray[np.float64]:
    return score_labels(runtime.forward, memory, prefix, label_ids, runtime.tokenizer.eos_id)


def _label_ids(runtime: Runtime, labels: Sequence[str]) -> list[list[int]]:
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise InputError("labels must be a list of texts")
    if not 2 <= len(labels) <= MAX_LABELS:
        raise InputError(f"there must be 2 to {MAX_LABELS} labels, not {len(labels)}")
    seen: dict[str, str] = {}
    for label in labels:
        text = label_text(label)
        if not text:
            raise InputError("a label is empty")
        if text in seen:
            raise InputError(f"labels {seen[text]!r} and {label!r} are the same")
        seen[text] = label
    return [runtime.tokenizer.encode(text) for text in seen]
