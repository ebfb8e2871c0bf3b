"""Questions answered from a knowledge base: with what stands in it, or an honest "no answer".

    question --encode--> + memories of the nearest passages --decode a span--> answer, citations
                                                           --not sure-->       declined, nearest

ask        the answer to a question
consider   the same before it is decided whether it is good enough
read_together  the memory that an answer is made from
hand_over  what a person has to take over, if the answer was declined
HandOver   that event

A model that has not learnt to answer finds the sentence that has most of the question in it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from duologue.apps.support.confidence import SENTENCE, SPAN, THRESHOLD, Signs
from duologue.apps.support.memories import Question, joined
from duologue.apps.support.passages import Passage, sentences
from duologue.apps.support.retrieval import Hit
from duologue.apps.support.spans import SpanRule, find_span
from duologue.apps.support.terms import terms
from duologue.engine.engine import Constraints, Hypothesis
from duologue.engine.memory import Memory
from duologue.errors import InputError
from duologue.explain import evidence
from duologue.runtime import check_text
from duologue.text.language import guess_language
from duologue.types import Checks, Citation, Options, Result, Span, Usage

if TYPE_CHECKING:
    from duologue.apps.support.base import KnowledgeBase

OPTIONS = Options(max_tokens=48, beam_size=4, length_penalty=1.0)

PASSAGES = 4  # that are read for an answer, as the model learnt it
NEAREST = 3  # that are cited where none answers
_SHOWN_CHARS = 200
_MOST_AGAINST = 10.0

DECLINED = {
    "en": "The documents do not say.",
    "zh": "文档里没有说明。",
    "de": "Das steht nicht in den Dokumenten.",
}


@dataclass(frozen=True)
class HandOver:
    """A question that a person should take over.

    confidence  of the answer that was not given
    citations   the nearest passages
    """

    question: str
    language: str
    confidence: float
    citations: tuple[Citation, ...]


def ask(
    base: KnowledgeBase,
    question: str,
    options: Options | None = None,
    threshold: float = THRESHOLD,
) -> Result:
    """The answer to a question, from the documents of a base alone.

    options    None: OPTIONS; sampling is not possible
    threshold  answers that are less likely to be right are declined

    The text is a span of a passage, which stands around it in the first citation. Where nothing in
    the base fits, `declined` is True, the text says so in the language of the question, and the
    citations are the nearest passages. Raises InputError for a question of no use or an empty base.
    """
    if not 0 <= threshold <= 1:
        raise InputError("threshold must be between 0 and 1")
    before = time.perf_counter()
    found = consider(base, question, options)
    read = found.question
    usage = Usage(
        encoded_tokens=len(read.source.ids),
        reused_tokens=found.reused_tokens,
        produced_tokens=found.produced_tokens,
        encode_ms=read.encode_ms,
        decode_ms=1000 * (time.perf_counter() - before) - read.encode_ms,
    )
    result = _result(found, threshold)
    return replace(result, usage=usage, checks=Checks(source_truncated=read.unread))


def consider(base: KnowledgeBase, question: str, options: Options | None = None) -> Candidate:
    """What ask would answer if it were sure; raises what ask raises."""
    options = options or OPTIONS
    if options.temperature > 0:
        raise InputError("an answer is searched for, not sampled: temperature must be 0")
    read = base.encoder.question(check_text(question).strip())
    hits = base.find(read, PASSAGES + 1)
    if not hits:
        raise InputError("the knowledge base is empty; add documents first")
    asked = _Asked(read, tuple(hits), base.rarity(read.text))
    return _decoded(base, asked, options) if base.encoder.can_answer else _sentence(asked)


def hand_over(question: str, result: Result) -> HandOver | None:
    """The event of a declined answer; None if there is an answer."""
    if not result.declined:
        return None
    return HandOver(question, _language(question), result.confidence, result.citations)


@dataclass(frozen=True)
class Candidate:
    """What may be the answer: text[start:end] of the passage hits[place]; equal: nothing.

    hits  the nearest passages, best first
    """

    question: Question
    hits: tuple[Hit, ...]
    place: int
    start: int
    end: int
    signs: Signs
    confidence: float
    evidence: tuple[Span, ...] = ()
    reused_tokens: int = 0
    produced_tokens: int = 0

    @property
    def text(self) -> str:
        """The span."""
        return self.hits[self.place].passage.text[self.start : self.end]


@dataclass(frozen=True)
class _Asked:
    """weights  of the question's telling terms, by their rarity in the base"""

    question: Question
    hits: tuple[Hit, ...]
    weights: dict[str, float]

    def coverage(self, text: str) -> float:
        """The share of the question that stands in a text."""
        own = set(terms(text))
        covered = sum(weight for term, weight in self.weights.items() if term in own)
        return covered / max(sum(self.weights.values()), 1e-9)

    def signs(self, place: int, start: int, end: int) -> Signs:
        """Signs of a span, but for those of decoding."""
        hit = self.hits[place]
        passage = hit.passage
        others = [other.words for other in self.hits if other.passage.text != passage.text]
        most = max(others, default=0.0)
        around = f"{passage.heading} {_around(passage.text, start, end)}"
        return Signs(
            span=0.0,
            against=0.0,
            coverage=self.coverage(f"{passage.heading} {passage.text}"),
            sentence=self.coverage(around),
            margin=(hit.words - most) / max(hit.words, most, 1e-9),
        )


# --- a model that answers ------------------------------------------------------------------------


def _decoded(base: KnowledgeBase, asked: _Asked, options: Options) -> Candidate:
    """The likeliest span of the nearest passages."""
    runtime = base.runtime
    passages = [Passage(hit.passage.heading, hit.passage.text) for hit in asked.hits[:PASSAGES]]
    memory, num_read = read_together(base, asked.question, passages)
    passages = passages[:num_read]
    texts = [passage.text for passage in passages]
    prefix = runtime.template.prefix("answer")
    rule = SpanRule(base.pieces, texts, runtime.special.eos_ids)
    finished = runtime.engine.generate(
        memory,
        prefix.ids,
        runtime.fit(options, prefix),
        record_attention=True,
        constraints=Constraints(prefix.forced, rule),
    )
    best = finished.best
    span = _place(runtime.tokenizer.decode(list(best.ids)), texts)
    signs = replace(
        asked.signs(*span),
        span=best.logprob / best.num_scored,
        against=_against(base, memory, prefix.ids, best),
    )
    sources = [*map(base.encoder.source, passages), asked.question.source]
    return Candidate(
        asked.question,
        asked.hits,
        *span,
        signs,
        SPAN.probability(signs),
        evidence(finished.attention, sources, runtime.tokenizer),
        memory.num_tokens - len(asked.question.source.ids),
        len(best.ids),
    )


def read_together(
    base: KnowledgeBase, question: Question, passages: Sequence[Passage]
) -> tuple[Memory, int]:
    """The memories of as many passages as there is room for, and the question's after them."""
    assert question.encoded.memory is not None  # every question has one
    memory = question.encoded.memory
    room = base.runtime.config.max_positions - memory.num_tokens
    kept: list[Memory] = []
    for passage in passages:
        part = base.encoded(passage).memory
        assert part is not None  # the model answers
        room -= part.num_tokens
        if room < 0:
            break
        kept.append(part)
    return joined([*kept, memory]), len(kept)


def _place(answer: str, texts: Sequence[str]) -> tuple[int, int, int]:
    """In which passage an answer stands, and where; a cut answer may stand nowhere as a whole."""
    answer = answer.strip()
    for place, text in enumerate(texts):
        start = find_span(text, answer)
        if answer and start >= 0:
            return place, start, start + len(answer)
    for place, text in enumerate(texts):
        if answer and answer in text:
            return place, text.index(answer), text.index(answer) + len(answer)
    return 0, 0, 0


def _against(
    base: KnowledgeBase, memory: Memory, prefix_ids: Sequence[int], best: Hypothesis
) -> float:
    """How much more likely an answer is than none: difference of natural log-probabilities."""
    forward, special = base.runtime.forward, base.runtime.special
    state = forward.start(memory)
    for idx in prefix_ids:
        logits = forward.decode_step([state], [idx])
    absent = [idx for idx in special.absent_ids if idx not in special.eos_ids]
    scores = forward.score(logits, absent)
    none = max(scores.logprob(0, idx) for idx in special.eos_ids)
    return max(-_MOST_AGAINST, min(_MOST_AGAINST, best.logprob - none))


# --- a model that does not -----------------------------------------------------------------------


def _sentence(asked: _Asked) -> Candidate:
    """The sentence of the nearest passages that has most of the question in it.

    The whole passage, where its heading has more of the question than any of its sentences.
    """
    best: tuple[float, int, int, int] = (-1.0, 0, 0, 0)
    for place, hit in enumerate(asked.hits[:PASSAGES]):
        text = hit.passage.text
        spans = sentences(text)
        own = [asked.coverage(text[start:end]) for start, end in spans]
        above = asked.coverage(hit.passage.heading)
        if above >= max(own, default=0.0):
            spans, own = [(0, len(text))], [above]
        for (start, end), coverage in zip(spans, own, strict=True):
            best = max(best, (coverage + hit.score, -place, -start, end))
    _, place, start, end = best
    signs = asked.signs(-place, -start, end)
    confidence = SENTENCE.probability(signs)
    return Candidate(asked.question, asked.hits, -place, -start, end, signs, confidence)


# --- both ----------------------------------------------------------------------------------------


def _result(found: Candidate, threshold: float) -> Result:
    declined = found.confidence < threshold or found.start == found.end
    if declined:
        citations = tuple(_citation(hit) for hit in found.hits[:NEAREST])
        text = DECLINED[_language(found.question.text)]
    else:
        citations = (_citation(found.hits[found.place], found.start, found.end),)
        text = found.text
    return Result(
        text=text,
        finish_reason="stop",
        confidence=found.confidence,
        evidence=() if declined else found.evidence,
        citations=citations,
        declined=declined,
    )


def _citation(hit: Hit, start: int = 0, end: int = 0) -> Citation:
    passage = hit.passage
    return Citation(
        document=passage.document,
        heading=passage.heading,
        passage=passage.id,
        text=passage.text,
        start=start,
        end=end,
        sentence=_around(passage.text, start, end) if end > start else _shown(passage.text),
        score=hit.score,
    )


def _around(text: str, start: int, end: int) -> str:
    """The whole sentences that a span is in."""
    touched = [(first, last) for first, last in sentences(text) if first < end and last > start]
    return text[touched[0][0] : touched[-1][1]] if touched else text[start:end]


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1].rstrip() + "…"


def _language(text: str) -> str:
    return guess_language(text, tuple(DECLINED)) or "en"
