"""Translations that say too little or too much are made again, and the best one is kept.

    drafts  --signs-->  odd ones  --Comparison-->  faulty ones  --again-->  others
            --Comparison-->  the one with fewer wrong words, and what is wrong with it

Again is part by part, which leaves nothing out; what is one part is searched with a wider beam that
does not prefer short translations, and what repeated itself may not: what does so all the same is
said once. Where nothing is odd, nothing is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from duologue.apps.batch import Ask, Decoded, Plan
from duologue.apps.translate.coverage import Comparison, Report, plain_report
from duologue.apps.translate.pieces import blank_of, clauses, sentences
from duologue.apps.translate.signs import language_of, look_of, said_once, signs
from duologue.engine.search import Hypothesis
from duologue.runtime import Runtime
from duologue.text.imported_template import Prefix
from duologue.types import Options, Usage

_WIDE_BEAM, _WIDE_PENALTY = 8, 1.3
_WORTH = 0.25  # what is so likely to be wrong is worth another try, if not to be told
_BETTER_WORDS = 0.5  # a difference of less says nothing
_NGRAM = 3
_END = re.compile(r"[.。]\s*$")
_PAUSE = re.compile(r"[,，、;；:：]\s*$")


@dataclass(frozen=True)
class Task:
    """What all pieces of one call have in common."""

    runtime: Runtime
    to: str | None
    from_: str | None
    prefix: Prefix
    options: Options

    def ask(self, text: str, options: Options | None = None, look: bool = False) -> Ask:
        """A text to be translated; look: its attention is recorded."""
        source = self.runtime.source(text.strip(), "translate", self.from_, self.to)
        return Ask(source, self.prefix, options or self.options, record_attention=look)

    def text_of(self, hypothesis: Hypothesis) -> str:
        """What was produced, without outer blanks."""
        return self.runtime.tokenizer.decode(list(hypothesis.ids)).strip()


@dataclass(frozen=True)
class Draft:
    """A stretch of source without outer blanks, what was made of it, and what is wrong with that.

    first       the answer that the first text is from, with its attention; None: the text was given
    hypotheses  what the text is made of: several if it was translated part by part
    usage       of all that was decoded for its sake; produced_tokens are those of the text
    report      None: nothing odd was seen
    """

    source: str
    text: str
    first: Decoded | None = None
    hypotheses: tuple[Hypothesis, ...] = ()
    usage: Usage = field(default_factory=Usage)
    report: Report | None = None

    def costing(self, answers: Iterable[Decoded]) -> Draft:
        """The draft, with what these answers cost on its account."""
        usage = total([self.usage, *(answer.usage for answer in answers)])
        num_produced = sum(len(hypothesis.ids) for hypothesis in self.hypotheses)
        return replace(self, usage=replace(usage, produced_tokens=num_produced))


def total(usages: Iterable[Usage]) -> Usage:
    """What several cost together."""
    usages = list(usages)
    return Usage(
        encoded_tokens=sum(usage.encoded_tokens for usage in usages),
        reused_tokens=sum(usage.reused_tokens for usage in usages),
        produced_tokens=sum(usage.produced_tokens for usage in usages),
        encode_ms=sum(usage.encode_ms for usage in usages),
        decode_ms=sum(usage.decode_ms for usage in usages),
    )


def drafted(task: Task, source: str, answer: Decoded) -> Draft:
    """What an answer to Task.ask makes."""
    best = answer.finished.best
    return Draft(source.strip(), task.text_of(best), answer, (best,)).costing([answer])


def repaired(task: Task, drafts: Sequence[Draft]) -> Plan[list[Draft]]:
    """The drafts with those that are faulty replaced by better ones, in their order."""
    found = list(drafts)
    odd = [number for number, draft in enumerate(found) if _is_odd(task, draft)]
    judged = yield from reported(task, [found[number] for number in odd])
    faulty: list[int] = []
    for number, draft in zip(odd, judged, strict=True):
        found[number] = draft
        report = draft.report
        assert report is not None
        if not report.is_clean or report.worst > _WORTH or _num_lost(draft):
            faulty.append(number)
    if not faulty:
        return found
    others = yield from _again(task, [found[number] for number in faulty])
    judged = yield from reported(task, others)
    for number, other in zip(faulty, judged, strict=True):
        found[number] = _best(found[number], other)
    return found


def reported(task: Task, drafts: Sequence[Draft]) -> Plan[list[Draft]]:
    """The drafts with a report: their own, of a comparison, or at least of what is plain."""
    comparisons = [None if draft.report else comparison(task, draft) for draft in drafts]
    asks = [[] if one is None else one.asks() for one in comparisons]
    flat = [ask for some in asks for ask in some]
    answers = iter((yield flat) if flat else ())
    found = []
    for draft, one, some in zip(drafts, comparisons, asks, strict=True):
        own = [next(answers) for _ in some]
        report = draft.report if one is None else one.report(own)
        report = report or plain_report(draft.source, draft.text, task.to)
        found.append(replace(draft, report=report).costing(own))
    return found


def comparison(task: Task, draft: Draft) -> Comparison | None:
    """Of a draft with its source.

    None where there is nothing to compare, or the model does not translate back.
    """
    runtime = task.runtime
    from_ = language_of(runtime, draft.source, task.from_)
    if runtime.config.generation is not None or from_ is None or not draft.text:
        return None
    if from_ == task.to or from_ not in runtime.config.languages:
        return None
    back = runtime.template.prefix("translate", task.to, from_)
    return Comparison(runtime, draft.source, draft.text, (from_, task.to), (task.prefix, back))


def _is_odd(task: Task, draft: Draft) -> bool:
    look = None
    if draft.first is not None:
        source = task.ask(draft.source).source
        assert source is not None
        look = look_of(task.runtime, source, draft.first, draft.text)
    from_ = language_of(task.runtime, draft.source, task.from_)
    return signs(draft.source, draft.text, from_, task.to, look)


# --- again -------------------------------------------------------------------------------------


def _again(task: Task, drafts: Sequence[Draft]) -> Plan[list[Draft]]:
    """Another translation of each source: part by part, or of one part with a wider beam."""
    cuts = [_cut(draft.source) for draft in drafts]
    answers = iter(
        (
            yield [
                task.ask(draft.source[start:end], _options(task, draft, len(cut)))
                for draft, cut in zip(drafts, cuts, strict=True)
                for start, end in cut
            ]
        )
    )
    found: list[Draft] = []
    for draft, cut in zip(drafts, cuts, strict=True):
        own = [next(answers) for _ in cut]
        best = tuple(answer.finished.best for answer in own)
        text = _sewn(draft.source, cut, [task.text_of(part) for part in best], task.to)
        text = said_once(draft.source, text)
        report = draft.report if text == draft.text else None
        found.append(replace(draft, text=text, hypotheses=best, report=report).costing(own))
    return found


def _cut(source: str) -> list[tuple[int, int]]:
    """The sentences of a source; of one sentence the clauses."""
    found = sentences(source)
    return found if len(found) > 1 else clauses(source)


def _options(task: Task, draft: Draft, num_parts: int) -> Options:
    """How a part is decoded: what would give the same again is changed."""
    options = task.options
    if num_parts == 1:
        options = replace(
            options,
            beam_size=max(_WIDE_BEAM, options.beam_size),
            length_penalty=_WIDE_PENALTY,
            num_hypotheses=1,
            temperature=0.0,
        )
    if draft.report is not None and draft.report.repeated:
        options = replace(options, no_repeat_ngram_size=options.no_repeat_ngram_size or _NGRAM)
    return options


def _sewn(source: str, cut: Sequence[tuple[int, int]], texts: Sequence[str], to: str | None) -> str:
    """Translated parts as one text; where the source only paused, so does the translation."""
    blank = blank_of(to)
    pause = "，" if blank == "" else ","
    sewn = [
        _END.sub(pause, text) if _PAUSE.search(source[start:end]) else text
        for (start, end), text in zip(cut, texts, strict=True)
    ]
    return blank.join(text for text in sewn if text)


def _best(draft: Draft, other: Draft) -> Draft:
    """The one with fewer wrong words; of equals the one with fewer lost sentences, or clean."""
    assert draft.report is not None
    assert other.report is not None
    fewer = draft.report.num_wrong - other.report.num_wrong
    if abs(fewer) <= _BETTER_WORDS:
        fewer = _num_lost(draft) - _num_lost(other)
        fewer = fewer or other.report.is_clean - draft.report.is_clean
    return other if fewer > 0 else replace(draft, usage=other.usage).costing([])


def _num_lost(draft: Draft) -> int:
    """How many sentences fewer the translation has than the source."""
    return max(0, len(sentences(draft.source)) - len(sentences(draft.text)))
