"""The terms of a glossary are put into translations that lack them.

A term is put where the decoder looked at it most, and at a few places more: the translation up to
there and the term are forced, the rest is searched as always, and of all places the likeliest
translation is kept. What follows the forced term is free, so the model may inflect it. That is
simpler than a search with constraints (Post & Vilar 2018, arXiv:1804.06609), costs nothing where a
term comes by itself, and needs nothing but a search that can be told how to begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from duologue.apps.batch import Ask, Decoded, Plan, score_ask, scores_of
from duologue.apps.translate.glossary import Found, Glossary, Term, has_term
from duologue.apps.translate.pieces import blank_of, num_words, sentences
from duologue.apps.translate.repair import Draft, Task, total
from duologue.apps.translate.signs import repeats
from duologue.engine.search import Hypothesis
from duologue.explain import token_spans
from duologue.text.imported_template import Prefix
from duologue.types import Usage

_MAX_PLACES = 6
_LEAST_LENGTH = 0.7  # of what was said before
_MAX_ROUNDS = 4  # so many terms are put into one piece


@dataclass(frozen=True)
class _Place:
    """A draft that begins as it did up to some place, and then with a term."""

    number: int
    term: Term
    text: str
    ids: tuple[int, ...]


def enforced(task: Task, glossary: Glossary, drafts: Sequence[Draft]) -> Plan[list[Draft]]:
    """The drafts with the terms of their sources, as far as that can be done, in their order.

    Where source and translation have as many sentences, only those that lack a term are changed.
    """
    cuts = [_lacking(glossary, draft) for draft in drafts]
    parts = [part for cut in cuts for _, part in cut]
    if not parts:
        return list(drafts)
    made = yield from _enforced(task, glossary, parts)
    rest = iter(made)
    found: list[Draft] = []
    for draft, cut in zip(drafts, cuts, strict=True):
        own = [(bounds, next(rest)) for bounds, _ in cut]
        text = draft.text
        for (start, end), part in reversed(own):
            text = f"{text[:start]}{part.text}{text[end:]}"
        usage = total([draft.usage, *(part.usage for _, part in own)])
        found.append(replace(draft, text=text, usage=usage))
    changed = [n for n, draft in enumerate(drafts) if found[n].text != draft.text]
    ids = [tuple(task.runtime.tokenizer.encode(found[number].text)) for number in changed]
    asks = [
        score_ask(task.ask(found[number].source).source, task.prefix, one)
        for number, one in zip(changed, ids, strict=True)
    ]
    answers = (yield asks) if asks else ()
    for number, one, answer in zip(changed, ids, answers, strict=True):
        draft = replace(found[number], hypotheses=(_said(one, answer),), report=None)
        found[number] = draft.costing([answer])
    return found


def _lacking(glossary: Glossary, draft: Draft) -> list[tuple[tuple[int, int], Draft]]:
    """The stretches of a translation that lack a term, each as a draft of its own."""
    ours, theirs = sentences(draft.source), sentences(draft.text)
    if len(ours) != len(theirs) or len(ours) == 1:
        whole = [((0, len(draft.text)), replace(draft, usage=Usage()))]
        return whole if glossary.missing(draft.source, draft.text) else []
    found = []
    for (first, last), (start, end) in zip(ours, theirs, strict=True):
        source, text = draft.source[first:last].strip(), draft.text[start:end].strip()
        if glossary.missing(source, text):
            found.append(((start, start + len(text)), Draft(source, text)))
    return found


def _enforced(task: Task, glossary: Glossary, drafts: Sequence[Draft]) -> Plan[list[Draft]]:
    found = list(drafts)
    given_up: set[tuple[int, Term]] = set()
    for _ in range(_MAX_ROUNDS):
        places = [
            place
            for number, draft in enumerate(found)
            for place in _places(task, glossary, number, draft, given_up)
        ]
        if not places:
            break
        answers = yield [_ask(task, found[place.number], place) for place in places]
        tried = [_continued(task, *pair) for pair in zip(places, answers, strict=True)]
        scored = yield [
            score_ask(task.ask(found[place.number].source).source, task.prefix, ids)
            for place, (_, ids) in zip(places, tried, strict=True)
        ]
        for number in dict.fromkeys(place.number for place in places):
            mine = [index for index, place in enumerate(places) if place.number == number]
            given_up.add((number, places[mine[0]].term))  # one attempt is all it gets
            spent = [*(answers[index] for index in mine), *(scored[index] for index in mine)]
            draft = found[number].costing(spent)
            options = [
                made
                for index in mine
                if (made := _made(glossary, draft, places[index], tried[index], scored[index]))
            ]
            found[number] = max(options, key=_mean_logprob, default=draft)
    return found


def _places(
    task: Task, glossary: Glossary, number: int, draft: Draft, given_up: set[tuple[int, Term]]
) -> list[_Place]:
    """Where the first term that a draft lacks could stand."""
    lacking = [
        one
        for one in glossary.missing(draft.source, draft.text)
        if (number, one.term) not in given_up
    ]
    if not lacking:
        return []
    tokenizer = task.runtime.tokenizer
    ids = tokenizer.encode(draft.text)
    spans = token_spans(tokenizer, draft.text, ids)
    begins = dict.fromkeys(start for start, end in spans if start < end)
    blank = blank_of(task.to)
    starts = [
        start
        for start in begins
        if not blank or start == 0 or draft.text[start].isspace() or draft.text[start - 1].isspace()
    ]
    weights = _looks(task, draft, lacking[0])
    starts.sort(key=lambda start: -weights.get(start, 0.0))
    around = len(task.prefix.ids) + len(task.prefix.forced)
    room = task.runtime.config.target_positions - around - 1
    places = []
    for start in starts[:_MAX_PLACES] or [0]:
        target = lacking[0].term.target
        before = draft.text[:start].rstrip() if blank else draft.text[:start]
        if not before:
            target = target[0].upper() + target[1:]
        text = f"{before}{blank if before else ''}{target}"
        place = _Place(number, lacking[0].term, text, tuple(tokenizer.encode(text)))
        places += [place] if len(place.ids) <= room else []
    return places


def _looks(task: Task, draft: Draft, one: Found) -> dict[int, float]:
    """How much the decoder looked at a term, for each place in its first translation."""
    if draft.first is None or draft.first.finished.attention is None:
        return {}
    best, attention = draft.first.finished.best, draft.first.finished.attention
    if draft.hypotheses != (best,):
        return {}
    tokenizer = task.runtime.tokenizer
    source = task.ask(draft.source).source
    assert source is not None
    read = token_spans(tokenizer, source.text, source.ids[source.start : source.stop])
    columns = [
        source.start + index
        for index, (start, end) in enumerate(read)
        if start < one.end and one.start < end
    ]
    columns = [column for column in columns if column < attention.shape[1]]
    said = token_spans(tokenizer, draft.text, best.ids)
    shares = attention[:, columns].sum(axis=1).tolist()
    return {start: share for (start, _), share in zip(said, shares, strict=False)}


def _ask(task: Task, draft: Draft, place: _Place) -> Ask:
    ask = task.ask(draft.source)
    prefix = Prefix(task.prefix.ids, (*task.prefix.forced, *place.ids))
    return replace(ask, prefix=prefix)


def _continued(task: Task, place: _Place, answer: Decoded) -> tuple[str, tuple[int, ...]]:
    """A translation from its beginning, and its ids."""
    ids = (*place.ids, *answer.finished.best.ids)
    return task.runtime.tokenizer.decode(list(ids)).strip(), ids


def _made(
    glossary: Glossary,
    draft: Draft,
    place: _Place,
    tried: tuple[str, tuple[int, ...]],
    scored: Decoded,
) -> Draft | None:
    """The draft with another text, if that has the term, and has lost or repeated nothing else."""
    text, ids = tried
    before, after = (glossary.missing(draft.source, one) for one in (draft.text, text))
    is_lost = any(one not in before for one in after) or not has_term(text, place.term.target)
    is_short = num_words(text) < _LEAST_LENGTH * num_words(draft.text)
    if is_lost or is_short or repeats(draft.source, text):
        return None
    return replace(draft, text=text, hypotheses=(_said(ids, scored),))


def _said(ids: tuple[int, ...], scored: Decoded) -> Hypothesis:
    logprobs = scores_of(scored, len(ids)).tolist()
    return Hypothesis(ids, sum(logprobs), tuple(logprobs[:-1]), "stop")


def _mean_logprob(draft: Draft) -> float:
    return draft.hypotheses[0].logprob / draft.hypotheses[0].num_scored
