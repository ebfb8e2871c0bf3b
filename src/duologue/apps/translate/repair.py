"""Translations that say too little or too much are made again, and the best one is kept.

    drafts  --signs-->  odd ones  --Comparison-->  faulty ones  --again, in two ways-->
    candidates  --Comparison-->  the one with the fewest wrong words, and what is wrong with it

The two ways: part by part, which leaves nothing out, and as a whole with a wider beam that does not
prefer short translations. Where nothing is odd, nothing is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from duologue.apps.batch import Ask, Decoded, Plan
from duologue.apps.translate.coverage import Comparison, Report, plain_report
from duologue.apps.translate.pieces import blank_of, clauses, sentences
from duologue.apps.translate.signs import language_of, look_of, signs
from duologue.engine.search import Hypothesis
from duologue.explain import confidence
from duologue.runtime import Runtime
from duologue.text.imported_template import Prefix
from duologue.types import Options, Usage

_WIDE_BEAM, _WIDE_PENALTY = 8, 1.3
_WORTH = 0.25  # what is so likely to be wrong is worth another try, if not to be told
_BETTER_WORDS = 0.5  # fewer wrong ones, or what there was is kept
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
        if report is not None and (not report.is_clean or report.worst > _WORTH):
            faulty.append(number)
    if not faulty:
        return found
    candidates = yield from _again(task, [found[number] for number in faulty])
    flat = yield from reported(task, [one for some in candidates for one in some])
    rest = iter(flat)
    for number, some in zip(faulty, candidates, strict=True):
        found[number] = _best(found[number], [next(rest) for _ in some])
    return found


def reported(task: Task, drafts: Sequence[Draft]) -> Plan[list[Draft]]:
    """The drafts with a report: of a comparison, or where there can be none, of what is plain."""
    comparisons = [comparison(task, draft) for draft in drafts]
    asks = [[] if one is None else one.asks() for one in comparisons]
    flat = [ask for some in asks for ask in some]
    answers = iter((yield flat) if flat else ())
    found = []
    for draft, one, some in zip(drafts, comparisons, asks, strict=True):
        own = [next(answers) for _ in some]
        report = plain_report(draft.source, draft.text, task.to) if one is None else one.report(own)
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


def _again(task: Task, drafts: Sequence[Draft]) -> Plan[list[list[Draft]]]:
    """Other translations of each source."""
    wide = replace(
        task.options,
        beam_size=max(_WIDE_BEAM, task.options.beam_size),
        length_penalty=_WIDE_PENALTY,
        num_hypotheses=1,
        temperature=0.0,
    )
    ways = [_ways(draft.source) for draft in drafts]
    asks: list[Ask] = []
    for draft, cuts in zip(drafts, ways, strict=True):
        asks.append(task.ask(draft.source, wide))
        asks += [task.ask(draft.source[start:end]) for cut in cuts for start, end in cut]
    answers = iter((yield asks))
    found: list[list[Draft]] = []
    for draft, cuts in zip(drafts, ways, strict=True):
        whole = next(answers)
        text = task.text_of(whole.finished.best)
        again = replace(draft, report=None)
        candidates = [replace(again, text=text, hypotheses=(whole.finished.best,))]
        spent = [whole]
        for cut in cuts:
            own = [next(answers) for _ in cut]
            spent += own
            best = tuple(answer.finished.best for answer in own)
            text = _sewn(draft.source, cut, [task.text_of(part) for part in best], task.to)
            candidates.append(replace(again, text=text, hypotheses=best))
        found.append([candidate.costing(spent) for candidate in candidates])
    return found


def _ways(source: str) -> list[list[tuple[int, int]]]:
    """Ways to cut a source into parts."""
    cuts = [sentences(source), clauses(source)]
    different = [cut for number, cut in enumerate(cuts) if cut not in cuts[:number]]
    return [cut for cut in different if len(cut) > 1]


def _sewn(source: str, cut: Sequence[tuple[int, int]], texts: Sequence[str], to: str | None) -> str:
    """Translated parts as one text; where the source only paused, so does the translation."""
    blank = blank_of(to)
    pause = "，" if blank == "" else ","
    sewn = [
        _END.sub(pause, text) if _PAUSE.search(source[start:end]) else text
        for (start, end), text in zip(cut, texts, strict=True)
    ]
    return blank.join(text for text in sewn if text)


def _best(draft: Draft, others: Sequence[Draft]) -> Draft:
    """The draft with the fewest wrong words; of about equals the likelier one."""
    known = [(one, one.report.num_wrong) for one in (draft, *others) if one.report is not None]
    fewest = min(num_wrong for _, num_wrong in known)
    good = [one for one, num_wrong in known if num_wrong <= fewest + _BETTER_WORDS]
    return draft if draft in good else max(good, key=lambda one: confidence(one.hypotheses))
