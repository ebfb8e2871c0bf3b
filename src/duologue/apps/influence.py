"""Which parts of a text made a translation, a label or another answer what it is.

Asked        what was to be done with the text
explain      a result with its evidence and influence; explaining does it in pieces of bounded work
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace

from duologue.apps.labels import Choice, probabilities_of
from duologue.apps.sentiment import choice
from duologue.apps.translate.pieces import sentences
from duologue.engine.memory import Memory
from duologue.engine.scoring import scoring
from duologue.engine.search import Finished
from duologue.engine.trie import score_labels_batch
from duologue.errors import InputError
from duologue.explain import MAX_EVIDENCE, Source, evidence, shifted
from duologue.explain.erasure import (
    MAX_INFLUENCE,
    Context,
    Effects,
    ErasureOptions,
    Scorer,
    erasing,
    finished,
    influence,
)
from duologue.runtime import Runtime, check_text
from duologue.text.imported_template import Prefix
from duologue.text.language import guess_language
from duologue.text.template import label_text
from duologue.types import Result, Span

MAX_PIECES = 24  # of a translation that are explained one by one

Pieces = Generator[None, None, Result]


@dataclass(frozen=True)
class Asked:
    """What was to be done with a text.

    task       translate, summarize, generate, sentiment, intent
    to, from_  of a translation, as it was asked for
    labels     that there were to choose from; None: those of the result, or it is no label
    """

    task: str
    to: str | None = None
    from_: str | None = None
    labels: Sequence[str] | None = None


def explain(
    runtime: Runtime,
    text: str,
    answer: Result | str,
    asked: Asked,
    options: ErasureOptions | None = None,
) -> Result:
    """The result with `influence`, and `evidence` if it lacked any; see explaining."""
    return finished(explaining(runtime, text, answer, asked, options))


def explaining(
    runtime: Runtime,
    text: str,
    answer: Result | str,
    asked: Asked,
    options: ErasureOptions | None = None,
) -> Pieces:
    """What explain does; yields between pieces of its work.

    answer   what came of the text; a text may be from elsewhere
    options  None: ErasureOptions()

    A translation is explained sentence by sentence where source and translation have as many, else
    line by line, else as a whole; an empty one stays as it is. Of a label, what counts is its
    probability among all labels. Raises InputError for texts, tasks, languages and labels of no
    use, and for what is too long.
    """
    options = options or ErasureOptions()
    check_text(text)
    result = answer if isinstance(answer, Result) else Result(answer, "stop")
    if not result.text.strip():
        return result
    if asked.from_ == "auto":
        asked = replace(asked, from_=guess_language(text, runtime.config.languages))
    labels = tuple(result.probabilities) if asked.labels is None else tuple(asked.labels)
    if labels:
        return (yield from _label(runtime, text, result, replace(asked, labels=labels), options))
    if asked.task in ("sentiment", "intent"):
        raise InputError("which labels were there to choose from? Give labels, or a Result")
    prefix = runtime.template.prefix(asked.task, asked.from_, asked.to)
    pairs = _pairs(text, result.text) if asked.task == "translate" else [(0, text, result.text)]
    if len(pairs) > MAX_PIECES:
        raise InputError(f"{len(pairs)} sentences are too many to explain; at most {MAX_PIECES}")
    found = []
    for offset, source_text, answer_text in pairs:
        lead = len(source_text) - len(source_text.lstrip())
        source = runtime.source(source_text.strip(), asked.task, asked.from_, asked.to)
        piece = yield from _piece(runtime, source, answer_text.strip(), prefix, options, len(pairs))
        found.append((offset + lead, source, *piece))
    total = sum(effects.total for _, _, effects, _ in found) or 1.0
    spans = [
        replace(span, score=span.score * effects.total / total)
        for offset, source, effects, _ in found
        for span in shifted(influence(effects, [source]), offset)
    ]
    looks = [
        replace(span, score=span.score / len(found))
        for offset, source, _, look in found
        for span in shifted(evidence(look.attention, [source], runtime.tokenizer), offset)
    ]
    if not isinstance(answer, Result):
        num_ids = sum(len(look.best.ids) for *_, look in found)
        logprob = sum(effects.base for _, _, effects, _ in found)
        result = replace(result, confidence=math.exp(logprob / max(1, num_ids)))
    return replace(
        result,
        influence=_best(spans, MAX_INFLUENCE),
        evidence=result.evidence or _best(looks, MAX_EVIDENCE),
    )


def _best(spans: Sequence[Span], most: int) -> tuple[Span, ...]:
    return tuple(sorted(spans, key=lambda span: -span.score)[:most])


# --- free text ---------------------------------------------------------------------------------


def _piece(
    runtime: Runtime,
    source: Source,
    answer: str,
    prefix: Prefix,
    options: ErasureOptions,
    num_pieces: int,
) -> Generator[None, None, tuple[Effects, Finished]]:
    """The effects of one source and what the decoder looked at; options are for all pieces."""
    runtime.require_room(source, Memory.empty())
    memory = runtime.read(source).memory
    yield
    ids = runtime.answer_ids(answer, prefix)
    asked = scoring(prefix.ids, prefix.forced, ids, record_attention=True)
    (look,) = runtime.engine.finish_all([(memory, asked)])
    context = Context(runtime.forward, memory, [source], [False])
    own = replace(
        options,
        max_erasures=options.max_erasures // num_pieces,
        max_tokens=options.max_tokens // num_pieces,
        max_s=options.max_s / num_pieces,
    )
    effects = yield from runtime.effects(context, prefix, ids, own)
    return effects, look


def _pairs(source: str, translation: str) -> list[tuple[int, str, str]]:
    """(place in the source, stretch of it, its translation), as small as can be told."""
    ours, theirs = _lines(source), _lines(translation)
    if len(ours) != len(theirs):
        return [(0, source, translation)]
    found = []
    for (start, line), (_, other) in zip(ours, theirs, strict=True):
        own, its = sentences(line), sentences(other)
        if len(own) != len(its):
            own, its = [(0, len(line))], [(0, len(other))]
        for (first, last), bounds in zip(own, its, strict=True):
            found.append((start + first, line[first:last], other[slice(*bounds)]))
    return found


def _lines(text: str) -> list[tuple[int, str]]:
    """Where lines that are not blank begin, and the lines without their breaks."""
    found, start = [], 0
    for line in text.splitlines(keepends=True):
        if line.strip():
            found.append((start, line.rstrip()))
        start += len(line)
    return found


# --- labels ------------------------------------------------------------------------------------


def _label(
    runtime: Runtime, text: str, result: Result, asked: Asked, options: ErasureOptions
) -> Pieces:
    """The influence on a label."""
    labels = tuple(asked.labels or ())
    if result.text not in labels:
        raise InputError(f"{result.text!r} is none of the labels {', '.join(labels)}")
    if len(labels) < 2:
        raise InputError("there must be at least 2 labels")
    prefix = runtime.template.prefix(asked.task)
    reading = runtime.read(runtime.source(text.strip(), asked.task))
    yield
    context = Context(runtime.forward, reading.memory, [reading.source], [False])
    score = _label_scorer(runtime, prefix, labels, labels.index(result.text))
    effects = yield from erasing(context, score, runtime.tokenizer, options)
    lead = len(text) - len(text.lstrip())
    if not result.confidence:
        sure = choice(runtime, labels) if asked.task == "sentiment" else Choice(asked.task, labels)
        found = probabilities_of(runtime, text, reading.memory, sure)
        result = replace(result, confidence=found[result.text])
    return replace(result, influence=shifted(influence(effects, [reading.source]), lead))


def _label_scorer(runtime: Runtime, prefix: Prefix, labels: Sequence[str], chosen: int) -> Scorer:
    label_ids = [runtime.tokenizer.encode(label_text(label)) for label in labels]
    forward, eos_id = runtime.forward, runtime.tokenizer.eos_id

    def score(memories: Iterable[Memory]) -> list[float]:
        found = score_labels_batch(forward, list(memories), prefix.ids, label_ids, eos_id)
        return [math.log(max(float(share), 1e-30)) for share in found[:, chosen]]

    return score
