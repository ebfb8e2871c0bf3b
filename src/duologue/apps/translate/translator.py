"""From texts to translations: pieces are decoded many at a time, checked, and put together again.

    text  --split-->  pieces  --beam search, many at a time-->  drafts  --repaired-->  drafts
    --join-->  text

translation   all of it as a plan, for whoever runs it
check         a translation from elsewhere
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from duologue.apps.batch import Plan, check_texts, run_plan
from duologue.apps.translate.coverage import Finding
from duologue.apps.translate.glossary import Glossary
from duologue.apps.translate.pieces import Piece, gaps, split, starts
from duologue.apps.translate.repair import Draft, Task, drafted, repaired, reported, total
from duologue.apps.translate.terms import enforced
from duologue.explain import confidence, has_loop, shifted
from duologue.runtime import Runtime
from duologue.types import Alternative, Checks, Options, Result, Span

OPTIONS = Options(max_tokens=256, beam_size=4, length_penalty=1.0)


@dataclass(frozen=True)
class TranslateOptions:
    """How texts are translated.

    to        language code; None where the model has but one target
    from_     language code; must be given to a model that has to be told what it reads, and is
              otherwise only checked; "auto" is guessed, text by text, for Duologue's own models,
              and where nothing tells, the model has to see it
    options   how to decode; None: as the model was published, or OPTIONS (beam search)
    check     look for what is missing or too much, decode such pieces again, and say what remains
    glossary  terms that are put into the translations; Checks.glossary says which could not be
    """

    to: str | None = None
    from_: str | None = None
    options: Options | None = None
    check: bool = True
    glossary: Glossary | None = None


def translation(
    runtime: Runtime, texts: Sequence[str], how: TranslateOptions
) -> Plan[list[Result]]:
    """Translations of texts in which nothing has to stay, as a plan.

    how  where from_ is "auto", the model itself must know what that means

    Results hold, and errors are, what protected.translate_batch says.
    """
    to, from_, glossary = how.to, how.from_, how.glossary
    prefix = runtime.template.prefix("translate", from_, to)
    check_texts(texts)
    if glossary is not None:
        glossary.require_pair(from_, to)
    task = Task(runtime, to, from_, prefix, how.options or runtime.options(OPTIONS))
    plans = [split(runtime, text, to, from_) for text in texts]
    sources = [
        text[piece.start : piece.end]
        for text, pieces in zip(texts, plans, strict=True)
        for piece in pieces
    ]
    look = how.check or glossary is not None
    answers = yield [task.ask(source, look=look) for source in sources]
    drafts = [drafted(task, *pair) for pair in zip(sources, answers, strict=True)]
    if how.check:
        drafts = yield from repaired(task, drafts)
    if glossary is not None:
        drafts = yield from _with_terms(task, glossary, drafts)
    rest = iter(drafts)
    return [
        _Joined(text, pieces, [next(rest) for _ in pieces]).result(task, glossary)
        for text, pieces in zip(texts, plans, strict=True)
    ]


def _with_terms(task: Task, glossary: Glossary, drafts: Sequence[Draft]) -> Plan[list[Draft]]:
    """The drafts with the terms of a glossary, and those looked at again that had a report."""
    found = yield from enforced(task, glossary, drafts)
    again = [
        number
        for number, (before, after) in enumerate(zip(drafts, found, strict=True))
        if before.report is not None and after.report is None
    ]
    judged = yield from reported(task, [found[number] for number in again])
    for number, draft in zip(again, judged, strict=True):
        found[number] = draft
    return found


def check(
    runtime: Runtime, source: str, translated: str, to: str, from_: str | None = None
) -> Checks:
    """What is wrong with a translation from elsewhere; offsets are those of the two texts.

    Lines are compared one by one where both texts have as many, else all with all. A model that
    does not translate both ways sees repetitions and wrong languages alone. Raises InputError for a
    language or a text of no use.
    """
    prefix = runtime.template.prefix("translate", from_, to)
    check_texts([source])
    check_texts([translated])
    task = Task(runtime, to, from_, prefix, runtime.options(OPTIONS))
    ours, theirs = _lines(source), _lines(translated)
    if len(ours) != len(theirs):
        ours, theirs = [(0, source)], [(0, translated)]
    drafts = run_plan(
        runtime,
        reported(
            task,
            [Draft(a.strip(), b.strip()) for (_, a), (_, b) in zip(ours, theirs, strict=True)],
        ),
    )
    return _checks(
        drafts,
        [(start + _indent(line)) for start, line in ours],
        [(start + _indent(line)) for start, line in theirs],
        source,
        translated,
    )


def _lines(text: str) -> list[tuple[int, str]]:
    """Where lines that are not blank begin, and the lines."""
    found, start = [], 0
    for line in text.splitlines(keepends=True):
        if line.strip():
            found.append((start, line))
        start += len(line)
    return found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


# --- together ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Joined:
    """One text with all that belongs to it, piece by piece."""

    text: str
    pieces: list[Piece]
    drafts: list[Draft]

    def result(self, task: Task, glossary: Glossary | None) -> Result:
        """The translation of the whole text."""
        best = [hypothesis for draft in self.drafts for hypothesis in draft.hypotheses]
        texts = [draft.text for draft in self.drafts]
        between = gaps(self.text, self.pieces, task.to)
        translated = "".join(part for pair in zip(between, texts, strict=True) for part in pair)
        is_cut = any(hypothesis.finish_reason == "length" for hypothesis in best)
        checks = _checks(
            self.drafts,
            [piece.start for piece in self.pieces],
            starts(between, texts),
            self.text,
            translated,
        )
        return Result(
            text=translated,
            finish_reason="length" if is_cut else "stop",
            confidence=confidence(best),
            checks=replace(
                checks,
                source_truncated=tuple(self._unread()),
                source_split=tuple(
                    self._span(piece.start, piece.end) for piece in self.pieces if piece.is_cut
                ),
                glossary=tuple(self._missed(glossary)) if glossary is not None else (),
            ),
            alternatives=self._alternatives(task),
            usage=total(draft.usage for draft in self.drafts),
        )

    def _unread(self) -> Iterable[Span]:
        for piece, draft in zip(self.pieces, self.drafts, strict=True):
            if draft.first is not None:
                yield from shifted(draft.first.unread, piece.start)

    def _alternatives(self, task: Task) -> tuple[Alternative, ...]:
        first = self.drafts[0].first
        if len(self.drafts) > 1 or first is None:
            return ()
        found = first.finished.hypotheses
        others = [other for other in found if self.drafts[0].hypotheses != (other,)]
        decode = task.runtime.tokenizer.decode
        return tuple(
            Alternative(decode(list(other.ids)), other.logprob)
            for other in others[: len(found) - 1]
        )

    def _missed(self, glossary: Glossary) -> Iterable[Span]:
        for piece, draft in zip(self.pieces, self.drafts, strict=True):
            for one in glossary.missing(draft.source, draft.text):
                yield self._span(piece.start + one.start, piece.start + one.end)

    def _span(self, start: int, end: int) -> Span:
        return Span(0, start, end, self.text[start:end], 0.0)


def _checks(
    drafts: Sequence[Draft],
    source_starts: Sequence[int],
    starts_: Sequence[int],
    source: str,
    translated: str,
) -> Checks:
    """What the reports of drafts say of the whole texts."""
    uncovered: list[Span] = []
    invented: list[Span] = []
    foreign: list[Span] = []
    is_repeated = has_loop(translated) and not has_loop(source)
    for draft, ours, theirs in zip(drafts, source_starts, starts_, strict=True):
        if draft.report is None:
            continue
        uncovered += _spans(draft.report.uncovered, ours, source)
        invented += _spans(draft.report.invented, theirs, translated)
        foreign += _spans(draft.report.foreign, theirs, translated)
        is_repeated = is_repeated or bool(draft.report.repeated)
    return Checks(
        repetition=is_repeated,
        uncovered=tuple(uncovered),
        invented=tuple(invented),
        wrong_language=tuple(foreign),
    )


def _spans(findings: Iterable[Finding], offset: int, text: str) -> list[Span]:
    return [
        Span(0, offset + f.start, offset + f.end, text[offset + f.start : offset + f.end], f.score)
        for f in findings
    ]
