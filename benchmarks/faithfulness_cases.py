"""Cases of benchmarks/faithfulness.py: an answer, what it was made from, and how it is scored.

SETS       the data sets
cases_of   rows to cases, one for each row that will do
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import duologue
from duologue.engine.memory import Memory
from duologue.engine.scoring import scoring
from duologue.engine.search import Prompt
from duologue.engine.trie import score_labels
from duologue.explain import Source
from duologue.explain.erasure import Context, Scorer, answer_scorer
from duologue.explain.units import Unit, words_of
from duologue.text.imported_template import Prefix
from duologue.types import Options

MIN_WORDS, MAX_TOKENS = 5, 200
WINDOW = {"en": 500, "zh": 200}  # characters of a context around the answer


@dataclass(frozen=True)
class Set:
    """direction: of translations; labels: to choose from."""

    name: str
    path: str
    task: str
    direction: tuple[str, str] | None = None
    labels: tuple[str, ...] = ()


_FEELINGS = ("negative", "positive")
SETS = (
    Set("multi30k en-de", "mt/multi30k", "translation", ("en", "de")),
    Set("tatoeba en-zh", "mt/tatoeba_enzh", "translation", ("en", "zh")),
    Set("tatoeba zh-en", "mt/tatoeba_enzh", "translation", ("zh", "en")),
    Set("squad_subset", "qa/squad_subset", "answers"),
    Set("cmrc2018", "qa/cmrc2018", "answers"),
    Set("sst2", "sentiment/sst2", "sentiment", labels=_FEELINGS),
    Set("chnsenticorp", "sentiment/chnsenticorp", "sentiment", labels=_FEELINGS),
)


@dataclass(frozen=True)
class Case:
    """One answer.

    alone      for each source, whether it is encoded by itself
    segments   whose words may be taken away; words: those
    answers    ids of the answer, and of the labels that it stands against
    attention  [T, tokens of all sources]
    """

    context: Context
    alone: tuple[bool, ...]
    segments: tuple[int, ...]
    words: list[Unit]
    score: Scorer
    prefix_ids: tuple[int, ...]
    answers: list[list[int]]
    attention: npt.NDArray[np.float32]

    @property
    def num_ids(self) -> int:
        """Tokens of the answer; a label counts as one."""
        return len(self.answers[0]) if len(self.answers) == 1 else 1


def cases_of(model: duologue.Model, kind: Set, rows: Iterable[dict[str, Any]]) -> Iterator[Case]:
    """The cases of a set, in the order of its rows; rows that are too short or long are left out.

    Nothing if the model has not learnt the task; questions are then asked as in a conversation.
    """
    make = {"translation": _translated, "answers": _answered, "sentiment": _judged}[kind.task]
    needed = {"translation": "translate", "answers": "reply", "sentiment": "sentiment"}[kind.task]
    if needed not in model.config.tasks:
        return
    for row in rows:
        case = make(model, kind, row)
        if case is not None and len(case.words) >= MIN_WORDS:
            yield case


def _translated(model: duologue.Model, kind: Set, row: dict[str, Any]) -> Case | None:
    """The model's own translation, by greedy search."""
    assert kind.direction is not None
    runtime, (from_, to) = model._runtime, kind.direction
    texts = {row["src_lang"]: row["source"], row["tgt_lang"]: row["target"]}
    source = runtime.source(texts[from_].strip(), "translate", from_, to)
    if len(source.ids) > MAX_TOKENS:
        return None
    prefix = runtime.template.prefix("translate", from_, to)
    memory = runtime.read(source).memory
    options = runtime.fit(Options(), prefix)
    best = runtime.engine.generate(memory, prefix.ids, options).best
    if not best.ids:
        return None
    return _case(model, memory, [source], (False,), prefix, best.ids)


def _answered(model: duologue.Model, kind: Set, row: dict[str, Any]) -> Case | None:
    """The reference, a document and a question; the question stays whole."""
    if not row["answers"] or row["answers"][0] not in row["context"]:
        return None
    runtime, answer = model._runtime, row["answers"][0]
    place, width = row["context"].index(answer), WINDOW[row["lang"]]
    first = max(0, place + len(answer) // 2 - width // 2)
    context = row["context"][first : first + width].strip()
    sources = [runtime.turn("document", context), runtime.turn("user", row["question"])]
    memory = Memory.empty()
    for source, is_document in zip(sources, (True, False), strict=True):
        memory = runtime.forward.encode(source.ids, memory, is_document)
    prefix = (
        runtime.template.prefix("answer")
        if "answer" in model.config.tasks
        else runtime.reply_prefix(memory)
    )
    ids = runtime.answer_ids(answer, prefix)
    return _case(model, memory, sources, (True, False), prefix, ids)


def _judged(model: duologue.Model, kind: Set, row: dict[str, Any]) -> Case | None:
    """The label that the model chooses."""
    runtime = model._runtime
    source = runtime.source(row["text"].strip(), "sentiment")
    if len(source.ids) > MAX_TOKENS:
        return None
    prefix = runtime.template.prefix("sentiment")
    memory = runtime.read(source).memory
    label_ids = [runtime.tokenizer.encode(label) for label in kind.labels]

    def shares(one: Memory) -> npt.NDArray[np.float64]:
        eos_id = runtime.tokenizer.eos_id
        return score_labels(runtime.forward, one, prefix.ids, label_ids, eos_id)

    chosen = int(shares(memory).argmax())

    def score(memories: Iterable[Memory]) -> list[float]:
        return [math.log(max(float(shares(one)[chosen]), 1e-30)) for one in memories]

    answers = [label_ids[chosen], *(ids for n, ids in enumerate(label_ids) if n != chosen)]
    prompt = Prompt(prefix.ids, Options(max_tokens=1), record_attention=True)
    (look,) = runtime.engine.finish_all([(memory, prompt)])
    return _made(model, memory, [source], (False,), prefix, answers, score, look.attention)


def _case(
    model: duologue.Model,
    memory: Memory,
    sources: list[Source],
    alone: tuple[bool, ...],
    prefix: Prefix,
    ids: Sequence[int],
) -> Case:
    runtime = model._runtime
    ids = ids[: runtime.config.target_positions - len(prefix.ids) - 1]
    prompt = scoring(prefix.ids, prefix.forced, ids, record_attention=True)
    (look,) = runtime.engine.finish_all([(memory, prompt)])
    score = answer_scorer(runtime.engine, prefix.ids, prefix.forced, ids)
    return _made(model, memory, sources, alone, prefix, [list(ids)], score, look.attention)


def _made(
    model: duologue.Model,
    memory: Memory,
    sources: list[Source],
    alone: tuple[bool, ...],
    prefix: Prefix,
    answers: list[list[int]],
    score: Scorer,
    attention: npt.NDArray[np.float32] | None,
) -> Case:
    runtime = model._runtime
    assert attention is not None  # it was recorded
    segments = (0,)  # the document, or all there is
    return Case(
        context=Context(runtime.forward, memory, sources, alone),
        alone=alone,
        segments=segments,
        words=words_of(sources[0], 0, runtime.tokenizer),
        score=score,
        prefix_ids=prefix.ids,
        answers=answers,
        attention=attention,
    )
