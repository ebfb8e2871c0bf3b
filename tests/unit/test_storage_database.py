"""Opening a database: settings, migrations, refusals, and what survives a killed process."""

from __future__ import annotations

import itertools
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, inspect, text

from duologue.errors import ConfigError, StorageError
from duologue.storage import migrations
from duologue.storage.conversations import Conversations
from duologue.storage.database import Database, DatabaseOptions, open_database, sqlite_url
from duologue.storage.keys import Keys
from duologue.storage.migrations import MIGRATIONS, migrate
from duologue.storage.records import chain_hash, chain_root
from duologue.storage.tables import metadata

HELPER = Path(__file__).with_name("storage_writer.py")


def schema(connection: Connection) -> dict[str, Any]:
    """Everything that the database says of its tables."""
    inspector = inspect(connection)

    def ordered(items: Any) -> list[str]:
        return sorted(
            repr(sorted((name, plain(value)) for name, value in item.items())) for item in items
        )

    def plain(value: Any) -> Any:
        """Conditions of indexes come as objects."""
        if isinstance(value, dict):
            return {name: str(one) for name, one in value.items()}
        return value

    return {
        table: {
            "columns": [
                (column["name"], str(column["type"]), column["nullable"], column["default"])
                for column in inspector.get_columns(table)
            ],
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "foreign": ordered(inspector.get_foreign_keys(table)),
            "indexes": ordered(inspector.get_indexes(table)),
            "unique": ordered(inspector.get_unique_constraints(table)),
        }
        for table in sorted(inspector.get_table_names())
    }


def schema_of(database: Database) -> dict[str, Any]:
    with database.reading() as connection:
        return schema(connection)


# --- migrations ---------------------------------------------------------------------------------


@pytest.fixture
def emptied(database: Database) -> Database:
    """A database without tables."""
    with database.writing() as connection:
        metadata.drop_all(connection)
    assert schema_of(database) == {}
    return database


@pytest.mark.parametrize("version", range(len(MIGRATIONS) + 1))
def test_every_earlier_version_becomes_what_the_newest_schema_is(
    emptied: Database, version: int
) -> None:
    with emptied.writing() as connection:
        metadata.create_all(connection)
        fresh = schema(connection)
        metadata.drop_all(connection)
    migrate(emptied.writing, newest=version)
    before = schema_of(emptied)
    assert (before == fresh) == (version == len(MIGRATIONS))
    migrate(emptied.writing)
    assert schema_of(emptied) == fresh


def test_what_an_earlier_version_holds_is_still_there(emptied: Database, database_url: str) -> None:
    migrate(emptied.writing, newest=1)
    with emptied.writing() as connection:
        connection.execute(
            text("INSERT INTO conversations VALUES ('conv_a', 'local', '你好', 'duo-s', 1, 2, 'm')")
        )
        connection.execute(
            text(
                "INSERT INTO messages (id, conversation, role, text, hash, status, created_ms) "
                "VALUES ('m', 'conv_a', 'user', '你好', 'abc', 'complete', 1)"
            )
        )
    again = open_database(database_url)
    store = Conversations(again)
    assert store.get("local", "conv_a").title == "你好"
    assert [message.text for message in store.path("local", "conv_a")] == ["你好"]
    again.close()


def test_each_migration_is_recorded_once(database: Database, database_url: str) -> None:
    open_database(database_url).close()
    with database.reading() as connection:
        rows = connection.execute(text("SELECT number, name FROM migrations ORDER BY number")).all()
    assert rows == [(n, step.__name__) for n, step in enumerate(MIGRATIONS, start=1)]


def test_a_migration_that_fails_leaves_the_version_before(
    emptied: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE half (id TEXT)"))
        raise ZeroDivisionError

    migrate(emptied.writing, newest=1)
    before = schema_of(emptied)
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "MIGRATIONS", (MIGRATIONS[0], broken))
        with pytest.raises(ZeroDivisionError):
            migrate(emptied.writing, newest=2)
    assert schema_of(emptied) == before
    migrate(emptied.writing)
    assert "keys" in schema_of(emptied)


def test_the_schema_of_a_later_program_is_refused(database: Database, database_url: str) -> None:
    with database.writing() as connection:
        connection.execute(text("INSERT INTO migrations VALUES (99, 'later', 0)"))
    with pytest.raises(StorageError, match=r"schema version 99.*update the program"):
        open_database(database_url)


def test_processes_that_start_together_migrate_once(database_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, str(HELPER), "migrate", database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    results = []
    for process in processes:  # all wait for this
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        results.append((process.communicate()[0], process.returncode))
    assert results == [("migrated\n", 0)] * 4
    opened = open_database(database_url)
    with opened.reading() as connection:
        versions = connection.execute(text("SELECT number FROM migrations ORDER BY number"))
        assert list(versions.scalars()) == list(range(1, len(MIGRATIONS) + 1))
    opened.close()


def test_an_old_file_that_is_written_just_now_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(tmp_path / "duologue.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE something (id TEXT)")
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            other.execute("COMMIT")

    monkeypatch.setattr("duologue.storage.database.time.sleep", wait)
    open_database(sqlite_url(tmp_path)).close()
    assert len(waits) == 2
    other.close()


# --- settings -----------------------------------------------------------------------------------


def test_sqlite_syncs_each_commit_and_holds_to_its_foreign_keys(tmp_path: Path) -> None:
    opened = open_database(sqlite_url(tmp_path))
    values = {}
    with opened.reading() as connection:
        for name in (
            "journal_mode",
            "synchronous",
            "foreign_keys",
            "busy_timeout",
            "secure_delete",
        ):
            values[name] = connection.execute(text(f"PRAGMA {name}")).scalar()
    opened.close()
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "busy_timeout": 30_000,
        "secure_delete": 1,
    }


def test_a_sqlite_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    opened = open_database(sqlite_url(folder))
    Conversations(opened).create("local", "duo-s")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    opened.close()
    assert modes == dict.fromkeys(("duologue.db", "duologue.db-wal", "duologue.db-shm"), 384)


def test_a_block_that_raises_changes_nothing(database: Database) -> None:
    def fail() -> None:
        with database.writing() as connection:
            connection.execute(text("INSERT INTO migrations VALUES (99, 'x', 0)"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with database.reading() as connection:
        query = text("SELECT count(*) FROM migrations WHERE number = 99")
        assert connection.execute(query).scalar() == 0


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://u:secret@host/db", "unknown kind of database 'mysql'"),
        ("postgresql://u:secret@host/db", "unknown kind of database 'postgresql'"),
        ("no url with secret", "cannot be read"),
        ("sqlite://", "names a file"),
        ("sqlite:///:memory:", "names a file"),
        ("sqlite:///a.db?mode=ro", "names a file"),
    ],
)
def test_other_urls_are_refused_without_showing_what_may_be_a_password(
    url: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as raised:
        open_database(url)
    assert "secret" not in str(raised.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "duologue.db"
    path.write_bytes(b"this is a letter to my aunt" * 100)
    with pytest.raises(StorageError, match="not a database"):
        open_database(sqlite_url(tmp_path))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "duologue.db").mkdir()
    with pytest.raises(StorageError, match=r"duologue\.db: cannot be opened: Is a directory"):
        open_database(sqlite_url(tmp_path))


def test_a_server_that_is_not_there_is_an_error_without_a_password(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://someone:secret@/db?host={tmp_path}"
    with pytest.raises(StorageError, match="the database failed") as raised:
        open_database(url)
    assert "secret" not in str(raised.value)


def test_a_postgresql_database_of_another_encoding_is_refused(postgres_folder: Path) -> None:
    at = f"postgresql+psycopg://postgres@/%s?host={postgres_folder}"
    engine = create_engine(at % "postgres", isolation_level="AUTOCOMMIT")
    create = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
    with engine.connect() as connection:
        connection.execute(text(create))
    engine.dispose()
    with pytest.raises(StorageError, match="encoding LATIN1; create one with UTF8"):
        open_database(at % "latin")


def test_a_writer_that_waits_too_long_is_told(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    first = open_database(url)
    second = open_database(url, DatabaseOptions(wait_s=0.01))
    with first.writing(), pytest.raises(StorageError, match="locked"):
        Keys(second).create("k", ["chat"])
    second.close()
    first.close()


def test_a_thread_that_gets_no_connection_is_told(database_url: str) -> None:
    opened = open_database(database_url, DatabaseOptions(max_connections=1, wait_s=0.01))
    with opened.reading(), pytest.raises(StorageError, match="busy"), opened.reading():
        pass
    opened.close()


@pytest.mark.parametrize("options", [{"max_connections": 0}, {"wait_s": 0}])
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="max_connections must be at least 1"):
        DatabaseOptions(**options)


# --- power and kill -----------------------------------------------------------------------------


def acknowledged(process: subprocess.Popen[str], num_lines: int) -> Iterator[list[str]]:
    """Lines of a process that is killed after so many of them, and those that were on their way."""
    assert process.stdout is not None
    for line in itertools.islice(process.stdout, num_lines):
        yield line.split()
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    for line in rest.splitlines(keepends=True):
        if line.endswith("\n"):
            yield line.split()


def test_every_acknowledged_message_survives_a_kill(database_url: str) -> None:
    chosen = random.Random(7)
    told: dict[tuple[str, str], tuple[str, str]] = {}
    for _ in range(10):
        writer = subprocess.Popen(
            [sys.executable, str(HELPER), "write", database_url],
            stdout=subprocess.PIPE,
            text=True,
        )
        for kind, conversation, message, digest in acknowledged(writer, chosen.randint(1, 60)):
            told[conversation, message] = (kind, digest)
        assert writer.wait() == -signal.SIGKILL
        assert writer.stdout is not None
        writer.stdout.close()
        opened = open_database(database_url)
        store = Conversations(opened)
        stored = {
            (message["conversation"], message["id"]): message
            for conversation in {conversation for conversation, _ in told}
            for message in store.export("local", conversation)["messages"]
        }
        for place, (kind, digest) in told.items():
            message = stored[place]
            if kind != "begun":
                parent = stored.get((place[0], message["parent"]))
                before = chain_root("local") if parent is None else parent["hash"]
                assert message["status"] == "complete"
                assert message["hash"] == digest
                assert digest == chain_hash(before, message["role"], message["text"])
        for conversation in {conversation for conversation, _ in told}:
            path = store.path("local", conversation)
            assert all(message.status == "complete" for message in path)
        opened.close()
    assert {kind for kind, _ in told.values()} == {"said", "begun", "done"}
    if database_url.startswith("sqlite"):
        plain = sqlite3.connect(database_url.removeprefix("sqlite:///"))
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert plain.execute("PRAGMA foreign_key_check").fetchall() == []
        plain.close()
