"""Translation of texts in which something must stay: placeholders, mark-up, what is shown as it is.

translation       texts as a plan, their tags and placeholders found first
translate_batch   the plan, run to its end
parts_plan        texts with mark-up, as a plan
Translated        a translation with its mark-up

    The {item} is <b>ready</b>.
    The Tom is ready.               names stand for placeholders, and mark-up is set aside
    Der Tom ist fertig.
    Der {item} ist <b>fertig</b>.   what came back once is put back; marks go where their words went

Models copy names more reliably than anything else. Where a name does not come back exactly once,
numbers are tried in its place; then what stands between the placeholders is translated piece by
piece, which cannot lose any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from duologue.apps.batch import Ask, Plan, check_texts, run_plan
from duologue.apps.translate import translator
from duologue.apps.translate.alignment import Alignment, alignment_ask, alignment_of
from duologue.apps.translate.parts import Parts
from duologue.apps.translate.protected_text import (
    Languages,
    ProtectedText,
    Translated,
)
from duologue.apps.translate.stand_ins import ATTEMPTS
from duologue.apps.translate.translator import TranslateOptions
from duologue.apps.translate.units import Masked
from duologue.explain import shifted
from duologue.runtime import Runtime
from duologue.text.language import guess_language
from duologue.types import Result

Translate = Callable[[Sequence[str]], Plan[list[Result]]]


def translate_batch(runtime: Runtime, texts: Sequence[str], how: TranslateOptions) -> list[Result]:
    """Translate texts together; results in their order.

    Placeholders and tags stay, each exactly once. Numbers may change; checks.lost tells which did.
    Results lack evidence; they have alternatives if the text was one piece: what else its
    search found, with a repaired text's first try before the others.
    decode_ms is a text's share, by produced tokens, of the time that the batch took. Raises
    InputError for a language or a text of no use, which it names by number if there are several.
    """
    return run_plan(runtime, translation(runtime, texts, how))


def translation(
    runtime: Runtime, texts: Sequence[str], how: TranslateOptions
) -> Plan[list[Result]]:
    """What translate_batch does, as a plan; raises what it raises when it begins."""
    check_texts(texts)
    guesses = [how.from_] * len(texts)
    if how.from_ == "auto" and runtime.config.generation is None:
        guesses = [guess_language(text, runtime.config.languages) for text in texts]
    results: dict[int, Result] = {}
    for guess in dict.fromkeys(guesses):
        runtime.template.prefix(
            "translate", guess, how.to
        )  # where there is nothing to translate, too
        places = [place for place, other in enumerate(guesses) if other == guess]

        translate = partial(translator.translation, runtime, how=replace(how, from_=guess))
        parts: list[Parts] = [(texts[place],) for place in places]
        done = yield from parts_plan(runtime, parts, Languages(how.to, guess), translate)
        for place, item in zip(places, done, strict=True):
            results[place] = _without_outer_blanks(item.result)
    return [results[place] for place in range(len(texts))]


def _without_outer_blanks(result: Result) -> Result:
    lead = len(result.text) - len(result.text.lstrip())
    checks = replace(
        result.checks,
        invented=shifted(result.checks.invented, -lead),
        wrong_language=shifted(result.checks.wrong_language, -lead),
    )
    return replace(result, text=result.text.strip(), checks=checks)


def parts_plan(
    runtime: Runtime, texts: Sequence[Parts], languages: Languages, translate: Translate
) -> Plan[list[Translated]]:
    """Translations of texts with mark-up, in order; each mark is there exactly once.

    translate  translates texts in which nothing has to stay
    """
    found = [ProtectedText(runtime, parts, languages) for parts in texts]
    for attempt in range(ATTEMPTS):
        tried = [
            (text, slot, masked)
            for text in found
            for slot, unit in text.open_units()
            if (masked := unit.masked(attempt)) is not None
        ]
        results = (yield from translate([masked.text for _, _, masked in tried])) if tried else []
        kept = [
            (text, slot, masked, result)
            for (text, slot, masked), result in zip(tried, results, strict=True)
            if text.accepts(masked, result)
        ]
        pairs = [(masked, result.text) for _, _, masked, result in kept]
        alignments = yield from _aligned(runtime, pairs, languages)
        for (text, slot, masked, result), alignment in zip(kept, alignments, strict=True):
            text.put(slot, masked, result, alignment)
    runs = [(text, slot, run) for text in found for slot, run in text.open_runs()]
    said = [(text, slot, run, run.masked) for text, slot, run in runs if run.masked is not None]
    results = (yield from translate([run[3].text for run in said])) if said else []
    cut = [run[2].shortened(result) for run, result in zip(said, results, strict=True)]
    pairs = [(run[3], result.text) for run, result in zip(said, cut, strict=True)]
    alignments = yield from _aligned(runtime, pairs, languages)
    answers = dict(
        zip((id(run[2]) for run in said), zip(cut, alignments, strict=True), strict=True)
    )
    for text, slot, run in runs:
        text.append(slot, run, *answers.get(id(run), (None, None)))
    return [text.translated() for text in found]


def _aligned(
    runtime: Runtime, pairs: Sequence[tuple[Masked, str]], languages: Languages
) -> Plan[list[Alignment | None]]:
    """The alignments of texts that have marks between their words; None for others."""
    asks: list[Ask | None] = [
        alignment_ask(runtime, masked.text, translation, languages.to, languages.from_)
        if masked.has_inner_marks and translation.strip()
        else None
        for masked, translation in pairs
    ]
    wanted = [ask for ask in asks if ask is not None]
    answers = iter((yield wanted) if wanted else ())
    return [
        None if ask is None else alignment_of(runtime, ask, next(answers), translation)
        for ask, (_, translation) in zip(asks, pairs, strict=True)
    ]
