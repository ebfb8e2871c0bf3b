"""A document translated: its segments in batches, from the model or a translation memory.

translate_document   a file, or the content of one
TranslatedDocument   the new content, and what became of each segment
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from duologue.apps.batch import run_plan
from duologue.apps.documents import format_of, read_document
from duologue.apps.documents.archive import MAX_ARCHIVE_BYTES
from duologue.apps.documents.document import Document, Segment
from duologue.apps.translate import translator
from duologue.apps.translate.parts import Mark, Parts
from duologue.apps.translate.protected import parts_plan
from duologue.apps.translate.protected_text import Languages, Translated
from duologue.apps.translate.remembered import MIN_SCORE, remembered
from duologue.apps.translate.translator import TranslateOptions
from duologue.errors import InputError
from duologue.runtime import Runtime
from duologue.storage.translation_memory import TranslationMemory
from duologue.text.language import guess_language
from duologue.types import Match, Result

BATCH_SEGMENTS = 64
_GUESS_CHARS = 20_000
_FINDINGS = {
    "uncovered": "may lack",
    "invented": "may invent",
    "wrong_language": "in another language",
    "glossary": "without the term",
}


@dataclass(frozen=True)
class DocumentOptions(TranslateOptions):
    """How a document is translated; from_ "auto" is guessed once, from all of it.

    format      one of documents.FORMATS; None: what the ending of the name tells
    memory      where earlier translations are looked up first
    min_score   of a fuzzy match, 0..1; 1: exact ones alone
    """

    format: str | None = None
    memory: TranslationMemory | None = None
    min_score: float = MIN_SCORE


@dataclass(frozen=True)
class TranslatedSegment:
    """What became of a segment.

    place   where it stands, for people
    source  its text; result.text is its translation
    """

    place: str
    source: str
    result: Result

    @property
    def match(self) -> Match | None:
        """The earlier translation that was used instead of the model."""
        return self.result.match

    @property
    def problems(self) -> tuple[str, ...]:
        """What may be wrong with it, one short phrase each."""
        return tuple(_problems(self))

    def to_dict(self) -> dict[str, Any]:
        """The segment as plain JSON-ready values."""
        return {
            "place": self.place,
            "source": self.source,
            "match": None if self.match is None else self.match.to_dict(),
            "problems": list(self.problems),
            "result": self.result.to_dict(),
        }


@dataclass(frozen=True)
class TranslatedDocument:
    """A document in another language.

    content   the file; empty segments stay as they were
    from_     the language that was stated or guessed
    """

    content: bytes = field(repr=False)
    format: str
    from_: str | None
    segments: tuple[TranslatedSegment, ...]

    @property
    def flagged(self) -> tuple[TranslatedSegment, ...]:
        """The segments that somebody should look at."""
        return tuple(segment for segment in self.segments if segment.problems)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the content as plain JSON-ready values."""
        return {
            "format": self.format,
            "from": self.from_,
            "num_segments": len(self.segments),
            "num_flagged": len(self.flagged),
            "num_from_memory": sum(segment.match is not None for segment in self.segments),
            "segments": [segment.to_dict() for segment in self.segments],
        }


Progress = Callable[[int, int], None]


def translate_document(
    runtime: Runtime,
    source: str | os.PathLike[str] | bytes,
    options: DocumentOptions,
    on_progress: Progress | None = None,
) -> TranslatedDocument:
    """Translate a file, or the content of one.

    on_progress  is called after each batch with how many segments are done, and how many there are

    Raises InputError for a file that cannot be read as its format, and for languages that the model
    does not know.
    """
    data, format = _opened(source, options.format)
    try:
        document = read_document(data, format)
        options = replace(options, from_=_language(runtime, document, options))
    except InputError as error:
        if isinstance(source, bytes):
            raise InputError(f"the document cannot be read: {error}") from None
        raise InputError(f"{os.fspath(source)}: {error}") from None
    runtime.template.prefix("translate", options.from_, options.to)
    done: dict[Parts, TranslatedSegment] = {}
    translations: dict[Parts, Parts] = {}
    unique = list(dict.fromkeys(_key(segment) for segment in document.segments))
    report = on_progress or (lambda done, total: None)
    report(0, len(unique))
    for start in range(0, len(unique), BATCH_SEGMENTS):
        batch = unique[start : start + BATCH_SEGMENTS]
        for parts, item in _batch(runtime, batch, options):
            translations[parts] = item.parts
            done[parts] = TranslatedSegment("", "", item.result)
        report(min(start + BATCH_SEGMENTS, len(unique)), len(unique))
    content = document.write(
        [_own(translations[_key(segment)], segment) for segment in document.segments]
    )
    segments = tuple(
        replace(done[_key(segment)], place=place, source=segment.text)
        for segment, place in zip(document.segments, document.places, strict=True)
    )
    return TranslatedDocument(content, document.format, options.from_, segments)


def _opened(source: str | os.PathLike[str] | bytes, format: str | None) -> tuple[bytes, str]:
    """The content of a file and its format."""
    if isinstance(source, bytes):
        if format is None:
            raise InputError("the format of a document must be named where it has no file name")
        return source, format
    path = Path(source)
    format = format or format_of(path)
    try:
        if path.is_dir():
            raise InputError(f"{path}: this is a folder")
        size = path.stat().st_size
        if size > MAX_ARCHIVE_BYTES:
            raise InputError(
                f"{path}: it has {size:,} bytes; at most {MAX_ARCHIVE_BYTES:,} are read"
            )
        return path.read_bytes(), format
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _language(runtime: Runtime, document: Document, options: DocumentOptions) -> str | None:
    """The language of a document: as stated, or a guess from what it says."""
    if options.from_ != "auto" or runtime.config.generation is not None:
        return options.from_
    text, reached = [], 0
    for segment in document.segments:
        text.append(segment.text)
        reached += len(segment.text)
        if reached > _GUESS_CHARS:
            break
    known = runtime.config.languages
    guess = guess_language("\n".join(text), known)
    if guess is None:
        raise InputError(
            f"nothing tells which language this is; state it: --from, one of {', '.join(known)}"
        )
    return guess


# --- one batch ---------------------------------------------------------------------------------


def _batch(
    runtime: Runtime, batch: Sequence[Parts], options: DocumentOptions
) -> Iterator[tuple[Parts, Translated]]:
    """The translations of some segments; what the memory knows is not translated again."""
    found = {parts: known for parts in batch if (known := _remembered(parts, options))}
    left = [parts for parts in batch if parts not in found]
    translate = partial(translator.translation, runtime, how=options)
    plan = parts_plan(runtime, left, Languages(options.to, options.from_), translate)
    yield from zip(left, run_plan(runtime, plan), strict=True)
    for parts, result in found.items():
        yield parts, Translated((result.text,), result)


def _remembered(parts: Parts, options: DocumentOptions) -> Result | None:
    """An earlier translation; none for a segment with mark-up in it, which that would lose."""
    if options.memory is None or options.to is None or not all(isinstance(p, str) for p in parts):
        return None
    return remembered(options.memory, _plain(parts), options.to, options.from_, options.min_score)


def _plain(parts: Parts) -> str:
    return "".join(part for part in parts if isinstance(part, str))


def _key(segment: Segment) -> Parts:
    """What two segments have in common that are translated alike."""
    numbers = {mark.start: number for number, mark in enumerate(segment.marks)}
    pairs = {pair: n for n, pair in enumerate(dict.fromkeys(m.pair for m in segment.marks))}
    return tuple(
        part
        if isinstance(part, str)
        else replace(
            part,
            start=numbers[part.start],
            pair=None if part.pair is None else pairs[part.pair],
        )
        for part in segment.parts
    )


def _own(parts: Parts, segment: Segment) -> Parts:
    """A translation with the segment's own marks."""
    marks = segment.marks
    return tuple(marks[part.start] if isinstance(part, Mark) else part for part in parts)


def _problems(segment: TranslatedSegment) -> Iterator[str]:
    checks = segment.result.checks
    if checks.lost:
        yield f"lost: {', '.join(checks.lost)}"
    for name, problem in _FINDINGS.items():
        if spans := getattr(checks, name):
            yield f"{problem}: {', '.join(repr(span.text) for span in spans)}"
    if checks.source_truncated:
        yield "too long: a part was not read"
    if checks.source_split:
        yield "a sentence was read in pieces"
    if checks.repetition:
        yield "repeats itself"
    if segment.result.finish_reason == "length":
        yield "cut at the length limit"
    if segment.match is not None and segment.match.score < 1:
        yield f"a similar text of the memory ({segment.match.score:.0%})"
