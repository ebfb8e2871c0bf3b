"""SQLite files through the standard library, for stores that need no server.

Schema       what a kind of file is called, and how each version of its tables becomes the next
open_sqlite  opens a file, which is made if it does not exist, and migrates its tables
SqliteFile   reading() and writing(): one transaction each

What was committed survives power loss, and what was deleted is overwritten in the file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from duologue.errors import StorageError

WAIT_S = 30.0
_RETRY_S = 0.02
_SETTINGS = ("synchronous=FULL", "fullfsync=ON", "foreign_keys=ON", "secure_delete=ON")
# Anything else that SQLite raises is a mistake of ours and must be seen as one.
_OURS = (sqlite3.IntegrityError, sqlite3.ProgrammingError)


@dataclass(frozen=True)
class Schema:
    """One kind of file.

    name            for messages: "knowledge base"
    application_id  tells it from other SQLite files: a number of 31 bits, above 0
    migrations      the statements that make version 1 of an empty file, those that make version 2
                    of version 1, ...; never changed once they were released
    """

    name: str
    application_id: int
    migrations: tuple[tuple[str, ...], ...]


def open_sqlite(path: Path, schema: Schema, wait_s: float = WAIT_S) -> SqliteFile:
    """Open a file of this kind; it and its folder are made, for their owner alone, if need be.

    wait_s  longest wait for the transaction of another process

    Raises StorageError for a file that cannot be opened, is damaged or of another kind, or was
    used by a later version of the program.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # its log files will be as private
    except OSError as error:
        raise StorageError(f"{path}: cannot be opened: {error.strerror}") from None
    file = SqliteFile(path, schema.name, wait_s)
    try:
        while _migrate_once(file, schema):
            pass
    except BaseException:
        file.close()
        raise
    return file


class SqliteFile:
    """An open file, which threads may share. Made by open_sqlite."""

    def __init__(self, path: Path, name: str, wait_s: float) -> None:
        self.path = path
        self._name = name
        self._wait_s = wait_s
        # SQLite has one writer at a time; those of other processes wait by asking again and again.
        self._writer = threading.Lock()
        self._free: list[sqlite3.Connection] = []  # append and pop are atomic

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that changes nothing and sees one state of the file.

        Raises StorageError if the file cannot be read.
        """
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is committed when the block ends, and undone if it raises.

        Raises StorageError if the file cannot be written; nothing is changed then.
        """
        # A transaction that begins as a reader may find that others wrote before it.
        with self._writer, self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    def scrub(self) -> None:
        """Take what was deleted out of the log as well, where no reader needs the log now."""
        with self._connection() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._free:
            self._free.pop().close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            connection.execute(begin)
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection of this block's own; failures are StorageErrors that quote no content."""
        try:
            connection = self._free.pop() if self._free else self._connect()
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._free.append(connection)
        except _OURS:
            raise
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: the {self._name} failed: {error}") from None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self._wait_s, isolation_level=None, check_same_thread=False
        )
        try:
            self._turn_wal_on(connection)
            for setting in _SETTINGS:
                connection.execute(f"PRAGMA {setting}").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def _turn_wal_on(self, connection: sqlite3.Connection) -> None:
        """SQLite does not wait for other processes that do the same just now."""
        give_up_s = time.monotonic() + self._wait_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL").fetchall()
                return
            except sqlite3.OperationalError:
                if time.monotonic() > give_up_s:
                    raise
                time.sleep(_RETRY_S)


def _migrate_once(file: SqliteFile, schema: Schema) -> bool:
    """Bring a file to its next version, if there is one; processes do it one after another."""
    newest = len(schema.migrations)
    with file.reading() as connection:
        version = _version(file, connection, schema)
    if version == newest:
        return False
    with file.writing() as connection:
        version = _version(file, connection, schema)
        if version < newest:
            for statement in schema.migrations[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={schema.application_id:d}")
            connection.execute(f"PRAGMA user_version={version + 1:d}")
    return version + 1 < newest


def _version(file: SqliteFile, connection: sqlite3.Connection, schema: Schema) -> int:
    """The version of a file; raises StorageError for one that is not of this kind, or newer."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (num_tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    is_empty = (application_id, version, num_tables) == (0, 0, 0)
    if application_id != schema.application_id and not is_empty:
        raise StorageError(f"{file.path}: this is no {schema.name}")
    if version > len(schema.migrations):
        raise StorageError(
            f"{file.path}: the {schema.name} has version {version}, this program knows versions up "
            f"to {len(schema.migrations)}: update the program, or use another file"
        )
    return int(version)
