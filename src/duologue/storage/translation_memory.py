"""Translations that people have confirmed, and those that are alike: a file of SQLite.

TranslationMemory  add, search, entries, remove
Entry              a text with its translation

Not to be confused with the memory that a model reads. Texts are compared without case and outer
blanks, and blanks in a row are one. Candidates share rare trigrams with the text; among them the
edit distance decides (Levenshtein 1966), in proportion to the longer of the two.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from duologue.errors import InputError, StorageError
from duologue.storage.sqlite import Schema, open_sqlite
from duologue.types import Match

MAX_TEXT_CHARS = 10_000
MAX_ENTRIES = 1_000_000
MAX_CANDIDATES = 200
_QUERY_TRIGRAMS = 60

_SCHEMA = Schema(
    name="translation memory",
    application_id=0x44554F54,
    migrations=(
        (
            """CREATE TABLE entries (
                id INTEGER PRIMARY KEY,
                from_language TEXT NOT NULL,
                to_language TEXT NOT NULL,
                source TEXT NOT NULL,
                target TEXT NOT NULL,
                normal TEXT NOT NULL,
                changed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
                UNIQUE (from_language, to_language, source)
            )""",
            "CREATE INDEX entries_normal ON entries (to_language, normal)",
            """CREATE VIRTUAL TABLE entries_text USING fts5 (
                normal, content='entries', content_rowid='id', tokenize='trigram'
            )""",
            """CREATE TRIGGER entries_added AFTER INSERT ON entries BEGIN
                INSERT INTO entries_text (rowid, normal) VALUES (new.id, new.normal);
            END""",
            """CREATE TRIGGER entries_removed AFTER DELETE ON entries BEGIN
                INSERT INTO entries_text (entries_text, rowid, normal)
                VALUES ('delete', old.id, old.normal);
            END""",
            """CREATE TRIGGER entries_changed AFTER UPDATE ON entries BEGIN
                INSERT INTO entries_text (entries_text, rowid, normal)
                VALUES ('delete', old.id, old.normal);
                INSERT INTO entries_text (rowid, normal) VALUES (new.id, new.normal);
            END""",
        ),
    ),
)


@dataclass(frozen=True)
class Entry:
    """A text with its translation; languages are codes, changed_at is RFC 3339 in UTC."""

    source: str
    target: str
    from_language: str
    to_language: str
    changed_at: str = ""


class TranslationMemory:
    """A file of confirmed translations, which threads and processes may share.

    Raises StorageError for a file that cannot be opened, or is of another kind.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = open_sqlite(self.path, _SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> TranslationMemory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, entries: Iterable[Entry]) -> int:
        """Add entries, all or none; one for the same text and languages is replaced.

        Returns how many. Raises InputError for an empty or overlong text, StorageError if the
        memory is full.
        """
        rows = [self._row(entry) for entry in entries]
        with self._file.writing() as connection:
            connection.executemany(
                """INSERT INTO entries (from_language, to_language, source, target, normal)
                VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (from_language, to_language, source) DO UPDATE SET
                    target = excluded.target, changed_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now')""",
                rows,
            )
            (num_entries,) = connection.execute("SELECT count(*) FROM entries").fetchone()
            if num_entries > MAX_ENTRIES:
                raise StorageError(
                    f"{self.path}: the translation memory is full: {MAX_ENTRIES:,} entries"
                )
        return len(rows)

    def _row(self, entry: Entry) -> tuple[str, str, str, str, str]:
        for text in (entry.source, entry.target):
            if not text.strip():
                raise InputError("an entry of a translation memory must not be empty")
            if len(text) > MAX_TEXT_CHARS:
                raise InputError(
                    f"an entry of a translation memory has {len(text):,} characters; at most "
                    f"{MAX_TEXT_CHARS:,} are kept"
                )
        for code in (entry.from_language, entry.to_language):
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{1,31}", code):
                raise InputError(f"{code!r} is no language code")
        languages = entry.from_language, entry.to_language
        return (*languages, entry.source, entry.target, normalized(entry.source))

    def search(
        self,
        text: str,
        to_language: str,
        from_language: str | None = None,
        min_score: float = 0.7,
        limit: int = 5,
    ) -> list[Match]:
        """The entries that are most like a text, best first, none below min_score.

        from_language  None: entries from any language
        """
        normal = normalized(text)
        if not normal or len(text) > MAX_TEXT_CHARS:
            return []
        languages = (to_language, from_language, from_language)
        with self._file.reading() as connection:
            rows = connection.execute(
                """SELECT source, target, normal FROM entries
                WHERE normal = ? AND to_language = ? AND (? IS NULL OR from_language = ?)
                ORDER BY source = ? DESC, changed_at DESC LIMIT ?""",
                (normal, *languages, text, limit),
            ).fetchall()
            query = _query(normal)
            if len(rows) < limit and min_score < 1 and query:
                rows += connection.execute(
                    """SELECT source, target, entries.normal FROM entries_text
                    JOIN entries ON entries.id = entries_text.rowid
                    WHERE entries_text MATCH ? AND to_language = ?
                        AND (? IS NULL OR from_language = ?)
                        AND length(entries.normal) BETWEEN ? AND ? AND entries.normal != ?
                    ORDER BY bm25(entries_text) LIMIT ?""",
                    (
                        query,
                        *languages,
                        int(min_score * len(normal)),
                        int(len(normal) / max(min_score, 0.1)) + 1,
                        normal,
                        MAX_CANDIDATES,
                    ),
                ).fetchall()
        matches = [
            Match(source, target, _score(text, normal, source, other, min_score))
            for source, target, other in rows
        ]
        best = sorted(matches, key=lambda match: -match.score)
        return [match for match in best if match.score >= min_score][:limit]

    def entries(self) -> Iterator[Entry]:
        """All entries, oldest first; those that are added meanwhile may be missing."""
        last = 0
        while True:
            with self._file.reading() as connection:
                rows = connection.execute(
                    """SELECT id, source, target, from_language, to_language, changed_at
                    FROM entries WHERE id > ? ORDER BY id LIMIT 1000""",
                    (last,),
                ).fetchall()
            if not rows:
                return
            yield from (Entry(*values) for _, *values in rows)
            last = rows[-1][0]

    def remove(self, source: str, to_language: str | None = None) -> int:
        """Remove the entries of a text, into one language or all; returns how many there were."""
        with self._file.writing() as connection:
            found = connection.execute(
                "DELETE FROM entries WHERE source = ? AND (? IS NULL OR to_language = ?)",
                (source, to_language, to_language),
            )
            removed = found.rowcount
            # Merging the index leaves nothing of what was removed in it.
            connection.execute("INSERT INTO entries_text (entries_text) VALUES ('optimize')")
        self._file.scrub()
        return removed

    def __len__(self) -> int:
        with self._file.reading() as connection:
            (num_entries,) = connection.execute("SELECT count(*) FROM entries").fetchone()
        return int(num_entries)


def normalized(text: str) -> str:
    """The text as texts are compared."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _query(normal: str) -> str:
    """Trigrams of a text, evenly over it, as a query of FTS5."""
    trigrams = list(dict.fromkeys(normal[i : i + 3] for i in range(len(normal) - 2)))
    step = max(1, len(trigrams) // _QUERY_TRIGRAMS)
    return " OR ".join('"' + trigram.replace('"', '""') + '"' for trigram in trigrams[::step])


def _score(text: str, normal: str, source: str, other: str, min_score: float) -> float:
    if text == source:
        return 1.0
    if normal == other:
        return 0.99
    longest = max(len(normal), len(other))
    most = int((1 - min_score) * longest)
    return min(0.98, 1 - _distance(normal, other, most) / longest)


def _distance(one: str, other: str, most: int) -> int:
    """Edit distance of two texts; more than `most` where it is greater (Ukkonen 1985)."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    previous = list(range(len(other) + 1))
    for row, char in enumerate(one, 1):
        first, last = max(1, row - most), min(len(other), row + most)
        current = [most + 1] * (len(other) + 1)
        current[0] = row
        for column in range(first, last + 1):
            current[column] = min(
                previous[column] + 1,
                current[column - 1] + 1,
                previous[column - 1] + (char != other[column - 1]),
            )
        if min(current[first - 1 : last + 1]) > most:
            return most + 1
        previous = current
    return min(previous[-1], most + 1)
