"""Translation of texts in which something must stay: placeholders, mark-up, what is shown as it is.

translate_parts   texts with mark-up
translate_batch   texts whose tags and placeholders are found first
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

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

from duologue.apps.batch import check_texts
from duologue.apps.translate import translator
from duologue.apps.translate.alignment import align
from duologue.apps.translate.parts import Parts, text_of
from duologue.apps.translate.pieces import blank_between, split
from duologue.apps.translate.placeholders import lost
from duologue.apps.translate.stand_ins import ATTEMPTS
from duologue.apps.translate.units import (
    Fixed,
    Item,
    Masked,
    Tag,
    Unit,
    items_of,
    parts_of,
    slots,
)
from duologue.runtime import Runtime
from duologue.text.language import guess_language
from duologue.types import Alternative, Checks, Options, Result, Span, Usage

Translate = Callable[[Sequence[str]], list[Result]]

_CORE = re.compile(r"\w(?:.*[\w.!?。！？…])?", re.S)
_END = re.compile(r"[.!?。！？…]+$")


@dataclass(frozen=True)
class Languages:
    """From which language into which; see translate_batch."""

    to: str | None = None
    from_: str | None = None


@dataclass(frozen=True)
class Translated:
    """A translation: result.text is what a reader sees of parts."""

    parts: Parts
    result: Result


def translate_batch(
    runtime: Runtime,
    texts: Sequence[str],
    to: str | None = None,
    from_: str | None = None,
    options: Options | None = None,
) -> list[Result]:
    """What translator.translate_batch does; placeholders and tags stay, each exactly once.

    from_  "auto" is guessed, text by text; where nothing tells, the model has to see it

    Numbers may change; Result.checks.lost tells which did.
    """
    if from_ == "auto":
        return _guessed(runtime, texts, to, options)
    runtime.template.prefix("translate", from_, to)  # also where there is nothing to translate
    check_texts(texts)
    parts = [(text,) for text in texts]
    translate = partial(_translate, runtime, to, from_, options)
    done = translate_parts(runtime, parts, Languages(to, from_), translate)
    return [replace(item.result, text=item.result.text.strip()) for item in done]


def _guessed(
    runtime: Runtime, texts: Sequence[str], to: str | None, options: Options | None
) -> list[Result]:
    """Texts of several languages, those of one together; results in their order."""
    check_texts(texts)
    guesses = [guess_language(text, runtime.config.languages) for text in texts]
    results: dict[int, Result] = {}
    for guess in dict.fromkeys(guesses):
        places = [place for place, other in enumerate(guesses) if other == guess]
        some = [texts[place] for place in places]
        done = translate_batch(runtime, some, to, guess, options)
        results.update(zip(places, done, strict=True))
    return [results[place] for place in range(len(texts))]


def _translate(
    runtime: Runtime,
    to: str | None,
    from_: str | None,
    options: Options | None,
    texts: Sequence[str],
) -> list[Result]:
    return translator.translate_batch(runtime, texts, to, from_, options)


def translate_parts(
    runtime: Runtime, texts: Sequence[Parts], languages: Languages, translate: Translate
) -> list[Translated]:
    """Translations of texts with mark-up, in order; each mark is there exactly once.

    translate  translates texts in which nothing has to stay
    """
    jobs = [_Job(runtime, parts, languages) for parts in texts]
    for attempt in range(ATTEMPTS):
        tried = [
            (job, slot, masked)
            for job in jobs
            for slot, unit in job.open_units()
            if (masked := unit.masked(attempt)) is not None
        ]
        results = translate([masked.text for _, _, masked in tried]) if tried else []
        for (job, slot, masked), result in zip(tried, results, strict=True):
            job.digest(slot, masked, result)
    runs = [(job, slot, run) for job in jobs for slot, run in job.open_runs()]
    texts_of_runs = [run.text for _, _, run in runs if run.text]
    results_of_runs = iter(translate(texts_of_runs) if texts_of_runs else [])
    for job, slot, run in runs:
        job.append(slot, run, next(results_of_runs) if run.text else None)
    return [job.translated() for job in jobs]


@dataclass(frozen=True)
class _Run:
    """What stands between two placeholders: signs, words to translate, signs; or what is fixed."""

    items: tuple[Item, ...] = ()
    masked: Masked | None = None
    before: tuple[Item, ...] = ()
    after: tuple[Item, ...] = ()

    @property
    def text(self) -> str:
        """What is to be translated; nothing where there are no words."""
        return self.masked.text if self.masked is not None else ""


@dataclass
class _Done:
    """What became of one text that was translated; steps as in Masked."""

    result: Result
    steps: tuple[tuple[int, int], ...]


class _Job:
    """One text on its way."""

    def __init__(self, runtime: Runtime, parts: Parts, languages: Languages) -> None:
        self._runtime = runtime
        self._languages = languages
        self._text = text_of(parts)
        items = items_of(parts)
        self._is_plain = all(isinstance(place.item, str) for place in items)
        if self._is_plain:
            pieces = [_bounds(self._text, 0, len(self._text))] if self._text.strip() else []
        else:
            shown = "".join(_for_splitting(place.item) for place in items)
            found = split(runtime, shown, languages.to, languages.from_)
            pieces = [_bounds(shown, piece.start, piece.end) for piece in found]
        self._slots = slots(items, pieces)
        self._outputs: dict[int, list[Item]] = {}
        self._done: list[_Done] = []
        self._tried = Usage()
        self._only: Masked | None = None  # of a text that was translated in one go

    # --- what is to be done ----------------------------------------------------------------

    def open_units(self) -> Iterator[tuple[int, Unit]]:
        """Pieces that have words and are not translated yet."""
        for slot in range(1, len(self._slots), 2):
            places = self._slots[slot]
            has_words = any(isinstance(p.item, str) and _has_words(p.item) for p in places)
            if slot not in self._outputs and has_words:
                yield slot, Unit(tuple(places))

    def digest(self, slot: int, masked: Masked, result: Result) -> None:
        """Take a translation, if everything fixed came back exactly once."""
        if not masked.holds_all(result.text):
            self._tried = _sum(self._tried, result.usage)
            return
        self._outputs[slot] = self._restored(masked, result.text)
        self._done.append(_Done(result, masked.steps))
        self._only = masked

    def open_runs(self) -> Iterator[tuple[int, _Run]]:
        """What stands between the placeholders of the pieces that are still not translated."""
        for slot, unit in [*self.open_units()]:
            self._outputs[slot] = []
            self._only = None
            for run in unit.runs():
                yield slot, _Run((run,)) if isinstance(run, Fixed) else _run_of(run)

    def append(self, slot: int, run: _Run, result: Result | None) -> None:
        """Take the translation of a run."""
        if run.masked is None or result is None:
            self._outputs[slot] += run.items
            return
        translation = result.text
        if not _END.search(run.masked.text):  # a piece of a sentence has no end of its own
            translation = _END.sub("", translation)
        restored = self._restored(run.masked, translation)
        self._outputs[slot] += [*run.before, *restored, *run.after]
        self._done.append(_Done(result, run.masked.steps))

    def _restored(self, masked: Masked, translation: str) -> list[Item]:
        languages = self._languages
        alignment = None
        if masked.has_inner_marks and translation.strip():
            alignment = align(
                self._runtime, masked.text, translation, languages.to, languages.from_
            )
        return masked.restored(translation, alignment)

    # --- what came of it -------------------------------------------------------------------

    def translated(self) -> Translated:
        """The whole text."""
        blank = blank_between(self._languages.to)
        items: list[Item] = []
        for slot, places in enumerate(self._slots):
            is_gap = slot % 2 == 0
            if is_gap and not places and 0 < slot < len(self._slots) - 1:
                items.append(blank)
            else:
                items += self._outputs.get(slot, [place.item for place in places])
        parts = parts_of(items)
        return Translated(parts, self._result(text_of(parts)))

    def _result(self, text: str) -> Result:
        results = [done.result for done in self._done]
        weights = [result.usage.produced_tokens + 1 for result in results]
        logs = [math.log(max(result.confidence, 1e-9)) for result in results]
        mean = sum(w * log for w, log in zip(weights, logs, strict=True)) / max(1, sum(weights))
        usage = self._tried
        for result in results:
            usage = _sum(usage, result.usage)
        base = results[0] if results else Result(text, "stop")
        is_cut = any(result.finish_reason == "length" for result in results)
        return replace(
            base,
            text=text,
            finish_reason="length" if is_cut else "stop",
            confidence=math.exp(mean),
            checks=replace(self._checks(), lost=lost(self._text, text)),
            alternatives=self._alternatives(),
            usage=usage,
        )

    def _checks(self) -> Checks:
        """The checks of all that was translated, with the spans that they have in this text."""
        values: dict[str, object] = {}
        for item in fields(Checks):
            found = [(getattr(done.result.checks, item.name), done.steps) for done in self._done]
            if not found:
                continue
            first = found[0][0]
            if isinstance(first, tuple):
                values[item.name] = tuple(
                    self._span(entry, steps) if isinstance(entry, Span) else entry
                    for value, steps in found
                    for entry in value
                )
            elif isinstance(first, bool):
                values[item.name] = any(value for value, _ in found)
            else:
                values[item.name] = sum(value for value, _ in found)
        return Checks(**values)  # type: ignore[arg-type]

    def _span(self, span: Span, steps: tuple[tuple[int, int], ...]) -> Span:
        start, end = (_original(place, steps) for place in (span.start, span.end))
        end = min(max(start, end), len(self._text))
        return replace(span, start=start, end=end, text=self._text[start:end])

    def _alternatives(self) -> tuple[Alternative, ...]:
        """Those of a text that was translated in one go, where they hold all that is fixed."""
        masked = self._only
        if masked is None or len(self._done) != 1 or masked.marks:
            return ()
        return tuple(
            replace(other, text=text_of(parts_of(masked.restored(other.text, None))))
            for other in self._done[0].result.alternatives
            if masked.holds_all(other.text)
        )


def _bounds(text: str, start: int, end: int) -> tuple[int, int]:
    """A stretch without the blanks around it."""
    inside = text[start:end]
    return start + len(inside) - len(inside.lstrip()), start + len(inside.rstrip())


def _for_splitting(item: Item) -> str:
    """As many characters as a reader sees, of which what is fixed is one word."""
    if isinstance(item, str):
        return item
    if isinstance(item, Fixed):
        return "x" * len(item.text)
    return " " * len(item.raw) if isinstance(item, Tag) else item.shown


def _has_words(text: str) -> bool:
    return any(char.isalpha() for char in text)


def _run_of(run: Unit) -> _Run:
    """A run without the signs around its words, and with the marks that are outside of them."""
    whole = run.masked(0)
    core = _CORE.search(whole.text) if whole is not None else None
    if whole is None or core is None or not _has_words(core[0]):
        return _Run(tuple(place.item for place in run.items))
    bounds = _original(core.start(), whole.steps), _original(core.end(), whole.steps)
    before, inside, after = slots(run.items, [bounds])
    return _Run(
        masked=Unit(tuple(inside)).masked(0),
        before=tuple(place.item for place in before),
        after=tuple(place.item for place in after),
    )


def _original(place: int, steps: Iterable[tuple[int, int]]) -> int:
    """Where a place of a masked text is in the reader's text."""
    before = [step for step in steps if step[0] <= place]
    at, came_from = before[-1] if before else (0, 0)
    return came_from + place - at


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(**{
        item.name: getattr(one, item.name) + getattr(other, item.name) for item in fields(Usage)
    })  # fmt: skip
