"""Terms whose translation is fixed: read from a file, found in a source, seen in a translation.

Glossary   terms, from a CSV file or from pairs
has_term   whether a translation has a term, in any form
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from duologue.data.text_file import read_text
from duologue.errors import DataError, InputError
from duologue.text.tokenizer import FIRST_CJK

MAX_FILE_BYTES = 4 * 2**20
MAX_TERMS = 20_000
MAX_TERM_CHARS = 200
_HEADER = ("source", "target")
_ENDINGS = r"(?:'s|s|es)?"
_GERMAN_ENDINGS = r"(?:s|es|e|n|en|er|ern|em)?"
_ENDING_CHARS = 3  # an inflected form has no more than so many letters beside the stem
_WORDS = re.compile(rf"[^\W{FIRST_CJK}-\U0010ffff]+")
# Where a term may begin: not inside of a word, but anywhere in a script without blanks.
_BEGINS = re.compile(rf"(?<![^\W{FIRST_CJK}-\U0010ffff])\S|[{FIRST_CJK}-\U0010ffff]")
_INDEX_CHARS = 3


@dataclass(frozen=True)
class Term:
    """A source term and what it is to be called."""

    source: str
    target: str
    note: str = ""


@dataclass(frozen=True)
class Found:
    """A term and where it stands in a text."""

    term: Term
    start: int
    end: int


@dataclass(frozen=True)
class Glossary:
    """Terms of one pair of languages.

    terms      no source twice
    from_, to  their languages; None: any

    A term is found in any case, unless it has a capital after its first letter (US, iPhone), and
    with the usual endings of its language (English unless it is German). Longer terms go before
    shorter ones inside of them. Where a script has no blanks, terms need no word borders.

    Raises InputError for a source with two targets, and for terms that are empty or too long.
    """

    terms: tuple[Term, ...]
    from_: str | None = None
    to: str | None = None
    _index: dict[str, list[Term]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.terms) > MAX_TERMS:
            raise InputError(f"a glossary has at most {MAX_TERMS:,} terms, not {len(self.terms):,}")
        known: dict[str, Term] = {}
        for term in self.terms:
            _require_term(term)
            other = known.setdefault(_key(term.source), term)
            if other.target != term.target:
                raise InputError(
                    f"{term.source!r} has two targets: {other.target!r} and {term.target!r}"
                )
        index: dict[str, list[Term]] = {}
        for term in sorted(known.values(), key=lambda term: -len(term.source)):
            index.setdefault(term.source[:_INDEX_CHARS].lower(), []).append(term)
        object.__setattr__(self, "_index", index)

    @classmethod
    def of(
        cls, pairs: Iterable[tuple[str, str]], from_: str | None = None, to: str | None = None
    ) -> Glossary:
        """A glossary of (source, target) pairs."""
        return cls(tuple(Term(source, target) for source, target in pairs), from_, to)

    @classmethod
    def read(cls, path: Path, from_: str | None = None, to: str | None = None) -> Glossary:
        """A CSV file: source,target and if you like a note; a header of these names is skipped.

        UTF-8, or UTF-16 with its mark; at most 4 MiB. Raises DataError, with the line, for what
        cannot be read, rows that lack something, and two targets for one source.
        """
        rows = csv.reader(io.StringIO(read_text(path, MAX_FILE_BYTES), newline=""), strict=True)
        terms: list[Term] = []
        lines: dict[str, tuple[int, str]] = {}
        try:
            for row in rows:
                cells = [cell.strip() for cell in row]
                is_header = not terms and tuple(cells[:2]) == _HEADER
                if not any(cells) or is_header:
                    continue
                term = _term_of(path, rows.line_num, cells)
                line, target = lines.setdefault(_key(term.source), (rows.line_num, term.target))
                if target != term.target:
                    problem = (
                        f"{term.source!r} is {term.target!r} here and {target!r} in line {line}"
                    )
                    raise DataError(path, rows.line_num, f"{problem}; keep one of them")
                terms.append(term)
        except csv.Error as error:
            raise DataError(path, rows.line_num, f"no CSV: {error}") from None
        if not terms:
            raise DataError(path, None, "there are no terms; each row is source,target")
        try:
            return cls(tuple(terms), from_, to)
        except InputError as error:
            raise DataError(path, None, str(error)) from None

    def require_pair(self, from_: str | None, to: str | None) -> None:
        """Raise InputError if it is for other languages than these."""
        for mine, theirs, side in ((self.from_, from_, "from"), (self.to, to, "into")):
            if mine is not None and theirs is not None and mine != theirs:
                raise InputError(f"the glossary translates {side} {mine!r}, not {theirs!r}")

    def found(self, text: str) -> list[Found]:
        """The terms in a text, in order; they do not overlap."""
        found: list[Found] = []
        reached = 0
        for match in _BEGINS.finditer(text):
            if match.start() < reached:
                continue
            one = self._at(text, match.start())
            if one is not None:
                found.append(one)
                reached = one.end
        return found

    def _at(self, text: str, start: int) -> Found | None:
        """The longest term that begins at a place."""
        for size in range(_INDEX_CHARS, 0, -1):
            for term in self._index.get(text[start : start + size].lower(), ()):
                match = _pattern_of(term.source, self.from_).match(text, start)
                if match is not None:
                    return Found(term, *match.span())
        return None

    def missing(self, source: str, translation: str) -> list[Found]:
        """The terms of a source that its translation does not have, in any form."""
        return [one for one in self.found(source) if not has_term(translation, one.term.target)]


def has_term(text: str, target: str) -> bool:
    """Whether a text has a term, in any case, and in a form with the same stem.

    The first four letters must be there, and of longer words all but the last two; three may
    follow, and accents do not count: Haus has the forms Hauses and Häuser. A script without blanks
    has no forms.
    """
    wanted = [_plain(word) for word in _WORDS.findall(target)]
    if not wanted or any(char >= FIRST_CJK for char in target):
        return target.casefold() in text.casefold()
    words = [_plain(word) for word in _WORDS.findall(text)]
    return any(
        all(_is_form(word, term) for word, term in zip(words[start:], wanted, strict=False))
        for start in range(len(words) - len(wanted) + 1)
    )


def _is_form(word: str, term: str) -> bool:
    stem = term[: max(4, len(term) - 2)]
    return word.startswith(stem) and len(word) <= len(term) + (
        _ENDING_CHARS if len(term) > 2 else 0
    )


def _plain(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word.casefold())
    return "".join(char for char in letters if not unicodedata.combining(char))


def _key(source: str) -> str:
    return source if _is_exact(source) else source.casefold()


def _is_exact(source: str) -> bool:
    return any(char.isupper() for char in source[1:].replace(" ", ""))


@lru_cache(maxsize=MAX_TERMS)
def _pattern_of(source: str, language: str | None) -> re.Pattern[str]:
    pattern = re.escape(source) if _is_exact(source) else f"(?i:{re.escape(source)})"
    if source[-1] < FIRST_CJK and source[-1].isalnum():
        endings = _GERMAN_ENDINGS if language == "de" else _ENDINGS
        endings = endings if source[-1].isalpha() else ""
        pattern += rf"{endings}(?![^\W{FIRST_CJK}-\U0010ffff])"
    return re.compile(pattern)


def _require_term(term: Term) -> None:
    for text in (term.source, term.target):
        if not text.strip():
            raise InputError(f"a term is empty: {term.source!r}, {term.target!r}")
        if len(text) > MAX_TERM_CHARS:
            raise InputError(f"a term has more than {MAX_TERM_CHARS} characters: {text[:40]!r}…")


# --- files -------------------------------------------------------------------------------------


def _term_of(path: Path, line: int, cells: list[str]) -> Term:
    if len(cells) == 1 and (";" in cells[0] or "\t" in cells[0]):
        raise DataError(path, line, "columns are parted by commas, not by semicolons or tabs")
    if len(cells) < 2 or not cells[0] or not cells[1]:
        raise DataError(path, line, "a row needs a source and a target: source,target[,note]")
    if len(cells) > 3:
        raise DataError(
            path, line, f"{len(cells)} columns; put quotes around a term that has a comma"
        )
    return Term(*cells)
