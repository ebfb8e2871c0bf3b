"""One text in which something must stay, from its parts to its translation.

ProtectedText   what is to be translated of it, and what came of that
Run             what stands between two placeholders
Translated      a translation with its mark-up
Languages       from which into which
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace

from duologue.apps.translate.alignment import Alignment
from duologue.apps.translate.parts import Parts, text_of
from duologue.apps.translate.pieces import blank_of, split
from duologue.apps.translate.placeholders import lost
from duologue.apps.translate.repair import total
from duologue.apps.translate.units import (
    Fixed,
    Item,
    Masked,
    Tag,
    Unit,
    items_of,
    parts_of,
    slots,
    width,
)
from duologue.runtime import Runtime
from duologue.types import Alternative, Checks, Result, Span, Usage

Steps = Sequence[tuple[int, int]]

_CORE = re.compile(r"\w(?:.*[\w.!?。！？…])?", re.S)
_END = re.compile(r"[.!?。！？…]+$")
_OF_TRANSLATION = ("invented", "wrong_language")  # checks whose spans are not of the source


@dataclass(frozen=True)
class Languages:
    """From which language into which; see TranslateOptions."""

    to: str | None = None
    from_: str | None = None


@dataclass(frozen=True)
class Translated:
    """A translation: result.text is what a reader sees of parts."""

    parts: Parts
    result: Result


@dataclass(frozen=True)
class Run:
    """What stands between two placeholders: signs, words to translate, signs; or what is fixed.

    masked  None: there are no words, and items stay
    """

    items: tuple[Item, ...] = ()
    masked: Masked | None = None
    before: tuple[Item, ...] = ()
    after: tuple[Item, ...] = ()

    def shortened(self, result: Result) -> Result:
        """A translation without the full stop that a piece of a sentence has not."""
        if self.masked is None or _END.search(self.masked.text):
            return result
        return replace(result, text=_END.sub("", result.text))


@dataclass
class _Done:
    """What became of one text that was translated.

    source  places in it, and those of the reader's text that they came from
    target  places in its translation, and those that they got in the whole one
    """

    result: Result
    source: Steps
    target: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Output:
    """An item of the translation, and where it comes from if a model said it."""

    item: Item
    done: _Done | None = None
    start: int = 0


class ProtectedText:
    """One text on its way. It is cut in pieces; each is translated with stand-ins, or in runs."""

    def __init__(self, runtime: Runtime, parts: Parts, languages: Languages) -> None:
        self._languages = languages
        self._text = text_of(parts)
        items = items_of(parts)
        if all(isinstance(place.item, str) for place in items):
            pieces = [_bounds(self._text, 0, len(self._text))] if self._text.strip() else []
        else:
            shown = "".join(_for_splitting(place.item) for place in items)
            found = split(runtime, shown, languages.to, languages.from_)
            pieces = [_bounds(shown, piece.start, piece.end) for piece in found]
        self._slots = slots(items, pieces)
        self._outputs: dict[int, list[_Output]] = {}
        self._done: list[_Done] = []
        self._given_up: list[Usage] = []
        self._only: Masked | None = None  # of a text that was translated in one go

    # --- what is to be done ----------------------------------------------------------------

    def open_units(self) -> Iterator[tuple[int, Unit]]:
        """Pieces that have words and are not translated yet."""
        for slot in range(1, len(self._slots), 2):
            places = self._slots[slot]
            has_words = any(isinstance(p.item, str) and _has_words(p.item) for p in places)
            if slot not in self._outputs and has_words:
                yield slot, Unit(tuple(places))

    def accepts(self, masked: Masked, result: Result) -> bool:
        """Whether everything fixed came back exactly once."""
        if masked.holds_all(result.text):
            return True
        self._given_up.append(result.usage)
        return False

    def put(self, slot: int, masked: Masked, result: Result, alignment: Alignment | None) -> None:
        """Take the translation of a piece."""
        self._outputs[slot] = [*self._said(masked, result, alignment)]
        self._only = masked

    def open_runs(self) -> Iterator[tuple[int, Run]]:
        """What stands between the placeholders of the pieces that are still not translated."""
        for slot, unit in [*self.open_units()]:
            self._outputs[slot] = []
            self._only = None
            for run in unit.runs():
                yield slot, Run((run,)) if isinstance(run, Fixed) else _run_of(run)

    def append(
        self, slot: int, run: Run, result: Result | None, alignment: Alignment | None
    ) -> None:
        """Take the translation of a run; None: it has no words."""
        if run.masked is None or result is None:
            self._outputs[slot] += map(_Output, run.items)
            return
        self._outputs[slot] += map(_Output, run.before)
        self._outputs[slot] += self._said(run.masked, result, alignment)
        self._outputs[slot] += map(_Output, run.after)

    def _said(
        self, masked: Masked, result: Result, alignment: Alignment | None
    ) -> Iterator[_Output]:
        done = _Done(result, masked.steps)
        self._done.append(done)
        for place in masked.located(result.text, alignment):
            yield _Output(place.item, done, place.start)

    # --- what came of it -------------------------------------------------------------------

    def translated(self) -> Translated:
        """The whole text."""
        blank = blank_of(self._languages.to)
        outputs: list[_Output] = []
        for slot, places in enumerate(self._slots):
            if slot % 2 == 0 and not places and 0 < slot < len(self._slots) - 1:
                outputs.append(_Output(blank))
            else:
                kept = [_Output(place.item) for place in places]
                outputs += self._outputs.get(slot, kept)
        reached = 0
        for output in outputs:
            if output.done is not None:
                output.done.target.append((output.start, reached))
            reached += width(output.item)
        parts = parts_of(output.item for output in outputs)
        return Translated(parts, self._result(text_of(parts)))

    def _result(self, text: str) -> Result:
        results = [done.result for done in self._done]
        weights = [result.usage.produced_tokens + 1 for result in results]
        logs = [math.log(max(result.confidence, 1e-9)) for result in results]
        mean = sum(w * log for w, log in zip(weights, logs, strict=True)) / max(1, sum(weights))
        base = results[0] if results else Result(text, "stop")
        is_cut = any(result.finish_reason == "length" for result in results)
        return replace(
            base,
            text=text,
            finish_reason="length" if is_cut else "stop",
            confidence=math.exp(mean),
            checks=replace(self._checks(text), lost=lost(self._text, text)),
            alternatives=self._alternatives(),
            usage=total([*(result.usage for result in results), *self._given_up]),
        )

    def _checks(self, text: str) -> Checks:
        """The checks of all that was translated, with the spans that they have in these texts."""
        values: dict[str, object] = {}
        for item in fields(Checks):
            found = [(getattr(done.result.checks, item.name), done) for done in self._done]
            if not found:
                continue
            first = found[0][0]
            if isinstance(first, tuple):
                is_target = item.name in _OF_TRANSLATION
                values[item.name] = tuple(
                    _moved(
                        entry, *((text, done.target) if is_target else (self._text, done.source))
                    )
                    for value, done in found
                    for entry in value
                )
            elif isinstance(first, bool):
                values[item.name] = any(value for value, _ in found)
            else:
                values[item.name] = sum(value for value, _ in found)
        return Checks(**values)  # type: ignore[arg-type]

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


def _moved(entry: Span | str, text: str, steps: Steps) -> Span | str:
    """A span of a piece as one of the whole text."""
    if isinstance(entry, str):
        return entry
    start, end = (_original(place, steps) for place in (entry.start, entry.end))
    end = min(max(start, end), len(text))
    return replace(entry, start=start, end=end, text=text[start:end])


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


def _run_of(run: Unit) -> Run:
    """A run without the signs around its words, and with the marks that are outside of them."""
    whole = run.masked(0)
    core = _CORE.search(whole.text) if whole is not None else None
    if whole is None or core is None or not _has_words(core[0]):
        return Run(tuple(place.item for place in run.items))
    bounds = _original(core.start(), whole.steps), _original(core.end(), whole.steps)
    before, inside, after = slots(run.items, [bounds])
    return Run(
        masked=Unit(tuple(inside)).masked(0),
        before=tuple(place.item for place in before),
        after=tuple(place.item for place in after),
    )


def _original(place: int, steps: Iterable[tuple[int, int]]) -> int:
    """Where a place of a masked text is in the reader's text."""
    before = [step for step in steps if step[0] <= place]
    at, came_from = before[-1] if before else (0, 0)
    return came_from + place - at
