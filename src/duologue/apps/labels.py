"""Choosing one of a few labels for texts: what sentiment and intent have in common.

Choice          what there is to choose from
classify_batch  texts to results; classifying does the same a bounded piece of work at a time
choices_of      a choice among the labels of a set that the model was trained on
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from duologue.engine.memory import Memory
from duologue.engine.search import Finished, Prompt
from duologue.engine.trie import score_labels_batch
from duologue.errors import EngineError, InputError
from duologue.evaluation.calibration import Temperatures, temperatures_of
from duologue.explain import evidence, shifted
from duologue.explain.erasure import finished
from duologue.runtime import Reading, Runtime, check_text
from duologue.text.template import label_text
from duologue.types import Checks, Options, Result

MAX_LABELS = 1000
BATCH_TEXTS = 16  # whose memories are held at the same time
_ONE_TOKEN = Options(max_tokens=1)


@dataclass(frozen=True)
class Choice:
    """What there is to choose from.

    task          what of a text the labels tell: sentiment, intent
    labels        at least two different ones; `_` reads as a blank
    temperatures  of their probabilities; see evaluation.calibration
    """

    task: str
    labels: tuple[str, ...]
    temperatures: Temperatures = field(default_factory=Temperatures)


def classify_batch(
    runtime: Runtime, texts: Sequence[str], choice: Choice, has_evidence: bool = True
) -> list[Result]:
    """The likeliest label for each text, with the probability of each label; results in order.

    A text is read as far as it fits; the rest is in checks.source_truncated. The decoder may say
    nothing but the labels, so the probabilities sum to 1 even for a text to which none applies.
    Evidence is what the decoder attended to where it chose the first token; spans are offsets into
    the text. Raises InputError for texts, tasks and labels of no use.
    """
    return finished(classifying(runtime, texts, choice, has_evidence))


def classifying(
    runtime: Runtime, texts: Sequence[str], choice: Choice, has_evidence: bool = True
) -> Generator[None, None, list[Result]]:
    """What classify_batch gives; yields between pieces of its work."""
    runtime.template.prefix(choice.task)  # refuses a model that cannot, and below labels and texts
    label_ids = _label_ids(runtime, choice.labels)
    for text in texts:
        check_text(text)
    results: list[Result] = []
    for start in range(0, len(texts), BATCH_TEXTS):
        batch = texts[start : start + BATCH_TEXTS]
        readings = []
        for text in batch:
            readings.append((yield from reading(runtime, text, choice.task)))
        yield
        results += _chosen(runtime, batch, readings, choice, label_ids, has_evidence)
        yield
    return results


def reading(runtime: Runtime, text: str, task: str) -> Generator[None, None, Reading]:
    """A text read by itself, without the blanks around it; yields between pieces of its work."""
    source = runtime.source(text.strip(), task)
    kept, unread = runtime.cut(source, runtime.config.max_positions, 0)
    encode_ms = 0.0
    encoding = runtime.forward.begin_encode(kept.ids, Memory.empty())
    while True:
        before = time.perf_counter()
        is_read = encoding.advance()
        encode_ms += 1000 * (time.perf_counter() - before)
        if is_read:
            return Reading(encoding.memory, kept, unread, encode_ms)
        yield


def probabilities_of(
    runtime: Runtime, text: str, memory: Memory, choice: Choice
) -> dict[str, float]:
    """The labels of a text that is encoded already, likeliest first; raises as classify_batch."""
    scores = _scores(runtime, [text], [memory], choice, _label_ids(runtime, choice.labels))[0]
    found = zip(choice.labels, scores.tolist(), strict=True)
    return dict(sorted(found, key=lambda item: -item[1]))


def choices_of(runtime: Runtime, task: str, name: str) -> Choice:
    """The labels of a set that the model was trained on; InputError lists the sets for another."""
    sets = runtime.config.label_sets
    if name not in sets:
        known = ", ".join(sorted(sets)) or "none"
        raise InputError(f"unknown label set {name!r}; this model knows {known}")
    return Choice(task, sets[name], temperatures_of(runtime.config, name))


def _chosen(
    runtime: Runtime,
    texts: Sequence[str],
    readings: Sequence[Reading],
    choice: Choice,
    label_ids: list[list[int]],
    has_evidence: bool,
) -> list[Result]:
    before = time.perf_counter()
    memories = [reading.memory for reading in readings]
    scores = _scores(runtime, texts, memories, choice, label_ids)
    looks = _looks(runtime, memories, choice.task) if has_evidence else [None] * len(texts)
    decode_ms = 1000 * (time.perf_counter() - before) / len(texts)
    results = []
    for text, reading, look, row in zip(texts, readings, looks, scores, strict=True):
        best = int(row.argmax())
        lead = len(text) - len(text.lstrip())
        attention = look.attention if look is not None else None
        spans = evidence(attention, [reading.source], runtime.tokenizer)
        num_produced = len(label_ids[best])
        results.append(
            Result(
                text=choice.labels[best],
                finish_reason="stop",
                confidence=float(row[best]),
                checks=Checks(source_truncated=shifted(reading.unread, lead)),
                evidence=shifted(spans, lead),
                probabilities=dict(zip(choice.labels, row.tolist(), strict=True)),
                usage=replace(reading.usage, produced_tokens=num_produced, decode_ms=decode_ms),
            )
        )
    return results


def _scores(
    runtime: Runtime,
    texts: Sequence[str],
    memories: Sequence[Memory],
    choice: Choice,
    label_ids: list[list[int]],
) -> npt.NDArray[np.float64]:
    """[num_texts, num_labels], calibrated; rows sum to 1."""
    prefix, eos_id = runtime.template.prefix(choice.task).ids, runtime.tokenizer.eos_id
    found = score_labels_batch(runtime.forward, memories, prefix, label_ids, eos_id)
    return choice.temperatures.applied(found, texts)


def _looks(runtime: Runtime, memories: Sequence[Memory], task: str) -> list[Finished]:
    """What the decoder looks at where it chooses the first token, whatever it would say."""
    prompt = Prompt(runtime.template.prefix(task).ids, _ONE_TOKEN, record_attention=True)
    looks = runtime.engine.finish_all((memory, prompt) for memory in memories)
    if any(look.best.finish_reason in ("abort", "error") for look in looks):
        raise EngineError("the decoding was ended from outside")
    return looks


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
