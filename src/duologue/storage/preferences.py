"""What an assistant keeps for each person: preferences, notes, and what is to ring when.

PersonalStore  one SQLite file; every call names the person, and sees nothing of others
Note, Due      what is kept

Times are seconds since 1970, UTC.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from duologue.errors import InputError, NotFoundError
from duologue.storage.sqlite import Schema, open_sqlite

FILE_NAME = "assistant.sqlite"
MAX_USER_CHARS = 200
MAX_TEXT_CHARS = 2000
MAX_ROWS = 10_000  # of a kind, for one person

_SCHEMA = Schema(
    name="assistant's file",
    application_id=0x64756F61,
    migrations=(
        (
            """CREATE TABLE preference (
                user TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
                PRIMARY KEY (user, name)
            ) WITHOUT ROWID""",
            """CREATE TABLE note (
                id INTEGER PRIMARY KEY AUTOINCREMENT, user TEXT NOT NULL, text TEXT NOT NULL,
                created_s REAL NOT NULL
            )""",
            "CREATE INDEX note_user ON note (user, id)",
            """CREATE TABLE due (
                id INTEGER PRIMARY KEY AUTOINCREMENT, user TEXT NOT NULL, kind TEXT NOT NULL,
                at_s REAL NOT NULL, label TEXT NOT NULL, language TEXT NOT NULL
            )""",
            "CREATE INDEX due_at ON due (at_s)",
            "CREATE INDEX due_user ON due (user, kind, at_s)",
        ),
    ),
)


@dataclass(frozen=True)
class Note:
    """Something a person wants to keep."""

    id: int
    text: str
    created_s: float


@dataclass(frozen=True)
class Due:
    """Something that is to ring: kind is timer, alarm or reminder; label may be empty."""

    id: int
    user: str
    kind: str
    at_s: float
    label: str
    language: str


class PersonalStore:
    """Threads may share it. Raises StorageError where the file fails.

    path  the file; it is made if it is not there
    """

    def __init__(self, path: Path) -> None:
        self._file = open_sqlite(path, _SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    # --- preferences -------------------------------------------------------------------------

    def preferences(self, user: str) -> dict[str, str]:
        """All preferences of a person."""
        with self._file.reading() as connection:
            rows = connection.execute(
                "SELECT name, value FROM preference WHERE user = ? ORDER BY name", (_user(user),)
            )
            return dict(rows.fetchall())

    def set_preference(self, user: str, name: str, value: str | None) -> str | None:
        """Keep a preference, None: forget it; returns what was kept before."""
        user = _user(user)
        with self._file.writing() as connection:
            row = connection.execute(
                "SELECT value FROM preference WHERE user = ? AND name = ?", (user, name)
            ).fetchone()
            if value is None:
                connection.execute(
                    "DELETE FROM preference WHERE user = ? AND name = ?", (user, name)
                )
            else:
                connection.execute(
                    "INSERT INTO preference VALUES (?, ?, ?) "
                    "ON CONFLICT (user, name) DO UPDATE SET value = excluded.value",
                    (user, _text(name), _text(value)),
                )
        return None if row is None else str(row[0])

    # --- notes -------------------------------------------------------------------------------

    def add_note(self, user: str, text: str, created_s: float) -> Note:
        """Keep a note. Raises InputError if there are too many, or it is too long."""
        user = _user(user)
        with self._file.writing() as connection:
            _refuse_more(connection.execute("SELECT count(*) FROM note WHERE user = ?", (user,)))
            cursor = connection.execute(
                "INSERT INTO note (user, text, created_s) VALUES (?, ?, ?)",
                (user, _text(text), created_s),
            )
            return Note(int(cursor.lastrowid or 0), text, created_s)

    def notes(self, user: str) -> list[Note]:
        """All notes of a person, oldest first."""
        with self._file.reading() as connection:
            rows = connection.execute(
                "SELECT id, text, created_s FROM note WHERE user = ? ORDER BY id", (_user(user),)
            )
            return [Note(*row) for row in rows]

    def delete_notes(self, user: str, ids: list[int]) -> list[Note]:
        """Delete notes, all or none; returns them. Raises NotFoundError if one is not there."""
        kept = {note.id: note for note in self.notes(user)}
        if missing := [idx for idx in ids if idx not in kept]:
            raise NotFoundError(f"there is no note {missing[0]}")
        with self._file.writing() as connection:
            for idx in ids:
                connection.execute("DELETE FROM note WHERE user = ? AND id = ?", (user, idx))
        return [kept[idx] for idx in ids]

    def restore_notes(self, user: str, notes: list[Note]) -> None:
        """Put deleted notes back."""
        rows = [(note.id, _user(user), note.text, note.created_s) for note in notes]
        with self._file.writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO note VALUES (?, ?, ?, ?)", rows)

    # --- what is to ring -----------------------------------------------------------------------

    def add_due(self, user: str, kind: str, at_s: float, label: str, language: str) -> Due:
        """Something to ring at a time. Raises InputError if there are too many."""
        user = _user(user)
        with self._file.writing() as connection:
            _refuse_more(connection.execute("SELECT count(*) FROM due WHERE user = ?", (user,)))
            cursor = connection.execute(
                "INSERT INTO due (user, kind, at_s, label, language) VALUES (?, ?, ?, ?, ?)",
                (user, kind, at_s, label[:MAX_TEXT_CHARS], language),
            )
            return Due(int(cursor.lastrowid or 0), user, kind, at_s, label, language)

    def dues(self, user: str, kind: str) -> list[Due]:
        """What is to ring for a person, of a kind, soonest first."""
        with self._file.reading() as connection:
            rows = connection.execute(
                "SELECT * FROM due WHERE user = ? AND kind = ? ORDER BY at_s, id",
                (_user(user), kind),
            )
            return [Due(*row) for row in rows]

    def remove_dues(self, user: str, ids: list[int]) -> int:
        """Forget what was to ring; returns how many there were."""
        with self._file.writing() as connection:
            return sum(
                connection.execute(
                    "DELETE FROM due WHERE user = ? AND id = ?", (_user(user), idx)
                ).rowcount
                for idx in ids
            )

    def take_due(self, now_s: float, user: str | None = None) -> list[Due]:
        """What is to ring by now, soonest first; each comes once. user None: everybody's."""
        with self._file.writing() as connection:
            rows = connection.execute(
                "SELECT * FROM due WHERE at_s <= ? AND (? IS NULL OR user = ?) ORDER BY at_s, id",
                (now_s, user, user),
            ).fetchall()
            connection.executemany("DELETE FROM due WHERE id = ?", [(row[0],) for row in rows])
        return [Due(*row) for row in rows]

    # --- everything ------------------------------------------------------------------------------

    def erase(self, user: str) -> None:
        """Forget everything about a person."""
        with self._file.writing() as connection:
            for table in ("preference", "note", "due"):
                connection.execute(f"DELETE FROM {table} WHERE user = ?", (_user(user),))
        self._file.scrub()


def _user(user: str) -> str:
    if not user.strip() or len(user) > MAX_USER_CHARS:
        raise InputError(f"a user's name must have 1 to {MAX_USER_CHARS} characters")
    return user


def _text(text: str) -> str:
    if len(text) > MAX_TEXT_CHARS:
        raise InputError(f"more than {MAX_TEXT_CHARS} characters cannot be kept")
    return text


def _refuse_more(count: sqlite3.Cursor) -> None:
    (number,) = count.fetchone()
    if number >= MAX_ROWS:
        raise InputError(f"{MAX_ROWS:,} are kept already; delete some")
