"""SQLite files of the standard library: settings, migrations, refusals, transactions."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from duologue.errors import StorageError
from duologue.storage.sqlite import Schema, SqliteFile, open_sqlite

FIRST = ("CREATE TABLE words (word TEXT NOT NULL PRIMARY KEY)",)
SECOND = ("ALTER TABLE words ADD COLUMN seen INTEGER NOT NULL DEFAULT 0",)
OLD = Schema("word list", 1234, (FIRST,))
SCHEMA = Schema("word list", 1234, (FIRST, SECOND))


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteFile]:
    opened = open_sqlite(tmp_path / "folder" / "words.db", SCHEMA)
    yield opened
    opened.close()


def words(file: SqliteFile) -> list[str]:
    with file.reading() as connection:
        return [word for (word,) in connection.execute("SELECT word FROM words ORDER BY word")]


def test_a_file_is_made_for_its_owner_alone(file: SqliteFile) -> None:
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    with file.reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
        assert connection.execute("PRAGMA secure_delete").fetchone() == (1,)
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)


def test_what_is_written_is_there_when_the_file_is_opened_again(file: SqliteFile) -> None:
    with file.writing() as connection:
        connection.execute("INSERT INTO words VALUES ('lamp', 1)")
    again = open_sqlite(file.path, SCHEMA)
    assert words(again) == ["lamp"]
    again.close()


def test_a_block_that_raises_changes_nothing(file: SqliteFile) -> None:
    def fail_half_way() -> None:
        with file.writing() as connection:
            connection.execute("INSERT INTO words VALUES ('lamp', 1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert words(file) == []
    with file.writing() as connection:
        connection.execute("INSERT INTO words VALUES ('desk', 1)")
    assert words(file) == ["desk"]


def test_a_reader_sees_one_state_while_others_write(file: SqliteFile) -> None:
    with file.reading() as before:
        assert before.execute("SELECT count(*) FROM words").fetchone() == (0,)
        with file.writing() as connection:
            connection.execute("INSERT INTO words VALUES ('lamp', 1)")
        assert before.execute("SELECT count(*) FROM words").fetchone() == (0,)
    assert words(file) == ["lamp"]


def test_threads_write_one_after_another(file: SqliteFile) -> None:
    start = threading.Barrier(8)

    def add_one(number: int) -> None:
        start.wait()
        with file.writing() as connection:
            (seen,) = connection.execute("SELECT count(*) FROM words").fetchone()
            connection.execute("INSERT INTO words VALUES (?, ?)", (f"word {number}", seen))

    threads = [threading.Thread(target=add_one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with file.reading() as connection:
        seen = [seen for (seen,) in connection.execute("SELECT seen FROM words ORDER BY seen")]
    assert seen == list(range(8))


def test_an_old_file_is_brought_to_the_newest_version(tmp_path: Path) -> None:
    path = tmp_path / "words.db"
    old = open_sqlite(path, OLD)
    with old.writing() as connection:
        connection.execute("INSERT INTO words VALUES ('lamp')")
    old.close()
    new = open_sqlite(path, SCHEMA)
    with new.reading() as connection:
        assert connection.execute("SELECT * FROM words").fetchall() == [("lamp", 0)]
    new.close()
    with pytest.raises(StorageError, match="has version 2, this program knows versions up to 1"):
        open_sqlite(path, OLD)


def test_a_step_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    path = tmp_path / "words.db"
    open_sqlite(path, OLD).close()
    broken = Schema("word list", 1234, (FIRST, (*SECOND, "CREATE TABLE words (word TEXT)")))
    with pytest.raises(StorageError, match="already exists"):
        open_sqlite(path, broken)
    open_sqlite(path, SCHEMA).close()


def test_other_files_are_refused(tmp_path: Path) -> None:
    other = Schema("address book", 99, (FIRST,))
    open_sqlite(tmp_path / "other.db", other).close()
    sqlite3.connect(tmp_path / "foreign.db").execute("CREATE TABLE x (y)").connection.close()
    (tmp_path / "text.db").write_text("nothing that SQLite wrote " * 50)
    for name in ("other.db", "foreign.db"):
        with pytest.raises(StorageError, match="this is no word list"):
            open_sqlite(tmp_path / name, SCHEMA)
    with pytest.raises(StorageError, match=r"text\.db: the word list failed"):
        open_sqlite(tmp_path / "text.db", SCHEMA)
    with pytest.raises(StorageError, match="cannot be opened"):
        open_sqlite(tmp_path, SCHEMA)


def test_who_waits_too_long_for_another_is_told(file: SqliteFile) -> None:
    impatient = open_sqlite(file.path, SCHEMA, wait_s=0.01)
    with (
        file.writing(),
        pytest.raises(StorageError, match="database is locked"),
        impatient.writing(),
    ):
        pytest.fail("two wrote at once")
    impatient.close()


def test_mistakes_of_the_program_are_seen_as_such(file: SqliteFile) -> None:
    with pytest.raises(sqlite3.IntegrityError), file.writing() as connection:
        connection.execute("INSERT INTO words VALUES (NULL, 0)")


def test_what_was_deleted_is_in_no_file(file: SqliteFile) -> None:
    with file.writing() as connection:
        connection.execute("INSERT INTO words VALUES ('chrysanthemum', 1)")
    with file.writing() as connection:
        connection.execute("DELETE FROM words")
    file.scrub()
    content = b"".join(path.read_bytes() for path in file.path.parent.iterdir())
    assert b"chrysanthemum" not in content
