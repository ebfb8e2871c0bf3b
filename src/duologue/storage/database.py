"""Opens the database and hands out transactions; the same code for SQLite and PostgreSQL.

sqlite_url     the URL of a SQLite database in a folder
open_database  opens it, makes or migrates its tables
Database       reading() and writing(): one transaction each

What was committed survives power loss: SQLite is told to sync each commit, and PostgreSQL does
unless its administrator has turned synchronous_commit off. As SQLite has one writer at a time,
threads that would have to wait for each other's syncs share one: what they write is undone one by
one where a block raises, and committed together.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url

from duologue.errors import ConfigError, StorageError
from duologue.storage.migrations import migrate

FILE_NAME = "duologue.db"
_SQLITE, _POSTGRESQL = "sqlite", "postgresql+psycopg"
_BEGIN = "duologue_begin"  # execution option: the statement that begins a SQLite transaction
_RETRY_S = 0.02
_MAX_GROUP = 16  # writes that are committed together
# Anything else that a driver raises is a mistake of ours and must be seen as one.
_OURS = (exc.IntegrityError, exc.ProgrammingError, exc.DataError)


@dataclass(frozen=True)
class DatabaseOptions:
    """max_connections  that are open at the same time; further threads wait
    wait_s           longest wait for a connection, or for another process's transaction
    """

    max_connections: int = 16
    wait_s: float = 30.0

    def __post_init__(self) -> None:
        if self.max_connections < 1 or self.wait_s <= 0:
            raise ConfigError("max_connections must be at least 1, and wait_s positive")


def sqlite_url(folder: Path) -> str:
    """The URL of the SQLite database in a data folder."""
    return URL.create(_SQLITE, database=str(folder / FILE_NAME)).render_as_string()


def open_database(url: str, options: DatabaseOptions | None = None) -> Database:
    """Open a database, which is made if it is a SQLite file that does not exist yet.

    url  sqlite:///PATH, or postgresql+psycopg://USER:PASSWORD@HOST/NAME

    Raises ConfigError for another kind of URL or a missing driver, StorageError for a database that
    cannot be reached, is damaged, or was used by a later version of the program.
    """
    options = options or DatabaseOptions()
    place = _parsed(url)
    is_sqlite = place.drivername == _SQLITE
    with _translated():
        engine = _sqlite_engine(place, options) if is_sqlite else _postgresql_engine(place, options)
    database = Database(engine)
    try:
        migrate(database.writing)
    except BaseException:
        database.close()
        raise
    return database


class Database:
    """An open database, which threads may share. Made by open_database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._writers = _Writers(self._transaction)  # of SQLite

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that changes nothing. Raises StorageError if the database fails."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is committed when the block ends, and undone if it raises.

        Raises StorageError if the database fails; nothing is changed then.
        """
        with self._writers.turn() if self._is_sqlite else self._transaction("") as connection:
            yield connection

    def scrub(self) -> None:
        """Take what was deleted out of SQLite's log as well, where no reader needs the log now."""
        if self._is_sqlite:
            with _translated(), self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        with _translated(), self._engine.connect() as plain:
            connection = plain.execution_options(**{_BEGIN: begin})
            with connection.begin():
                yield connection


@dataclass
class _Group:
    """Writes that are committed together.

    resources  closing them commits
    is_over    whether that was done
    problem    why nothing of it was committed
    """

    connection: Connection
    resources: ExitStack
    num_writes: int = 0
    is_over: bool = False
    problem: str | None = None


class _Writers:
    """Gives the threads of this process their turns to write; other processes ask again and again.

    A writer leaves its group to the next one that waits, and returns when the last one has
    committed it.
    """

    def __init__(self, transaction: Callable[[str], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction
        self._changed = threading.Condition()  # guards the following
        self._num_waiting = 0
        self._is_busy = False
        self._group: _Group | None = None

    @contextmanager
    def turn(self) -> Iterator[Connection]:
        """A connection to write with. Raises StorageError if it was not committed."""
        self._take()
        try:
            group = self._group = self._group or self._begun()
            try:
                group.num_writes += 1
                with _translated(), group.connection.begin_nested():
                    yield group.connection
            except StorageError as error:  # SQLite may have undone more than this block
                self._end(group, error)
                raise
            finally:
                if not group.is_over and not (self._num_waiting and group.num_writes < _MAX_GROUP):
                    self._end(group)
        finally:
            self._give()
        with self._changed:
            # Whoever waited for a turn may have given up.
            self._changed.wait_for(lambda: group.is_over or self._is_last())
            must_end = not group.is_over
            self._is_busy |= must_end
        if must_end:
            self._end(group)
            self._give()
        if group.problem is not None:
            raise StorageError(group.problem)

    def _is_last(self) -> bool:
        return not self._is_busy and not self._num_waiting

    def _take(self) -> None:
        with self._changed:
            self._num_waiting += 1
            try:
                self._changed.wait_for(lambda: not self._is_busy)
                self._is_busy = True
            finally:
                self._num_waiting -= 1

    def _give(self) -> None:
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()

    def _begun(self) -> _Group:
        with ExitStack() as resources:
            # A transaction that begins as a reader may find that others wrote before it.
            connection = resources.enter_context(self._transaction("BEGIN IMMEDIATE"))
            return _Group(connection, resources.pop_all())

    def _end(self, group: _Group, error: StorageError | None = None) -> None:
        """Commit, or undo everything after an error; for the thread whose turn it is."""
        self._group = None
        group.problem = "the database failed: what was written beside this was not committed"
        try:
            if error is None:
                group.resources.close()
                group.problem = None
            else:
                group.problem = str(error)
                group.resources.__exit__(type(error), error, error.__traceback__)
        except StorageError as failure:
            group.problem = str(failure)
        finally:
            group.is_over = True


def _parsed(url: str) -> URL:
    kinds = f"{_SQLITE}:///PATH or {_POSTGRESQL}://USER:PASSWORD@HOST/NAME"
    try:
        place = make_url(url)
    except exc.ArgumentError:  # its text holds the URL, and that may hold a password
        raise ConfigError(f"the URL of the database cannot be read; it is {kinds}") from None
    if place.drivername not in (_SQLITE, _POSTGRESQL):
        raise ConfigError(f"unknown kind of database {place.drivername!r}; there are {kinds}")
    if place.drivername == _SQLITE and (
        place.query or place.database in (None, "", ":memory:") or place.host
    ):
        raise ConfigError(f"the URL of a SQLite database names a file and nothing else: {kinds}")
    return place


def _sqlite_engine(place: URL, options: DatabaseOptions) -> Engine:
    path = Path(str(place.database))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # its log files will be as private
    except OSError as error:
        raise StorageError(f"{path}: cannot be opened: {error.strerror}") from None
    engine = create_engine(
        place,
        connect_args={"timeout": options.wait_s, "check_same_thread": False},
        hide_parameters=True,
        max_overflow=0,
        pool_size=options.max_connections,
        pool_timeout=options.wait_s,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours
        connection.create_function("lower", 1, _lower, deterministic=True)
        _turn_wal_on(connection, options.wait_s)
        for setting in ("synchronous=FULL", "fullfsync=ON", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {setting}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get(_BEGIN)
        if statement is not None:
            connection.exec_driver_sql(statement)

    return engine


def _lower(value: Any) -> Any:
    """SQLite's own knows the letters of English alone."""
    return value.lower() if isinstance(value, str) else value


def _turn_wal_on(connection: sqlite3.Connection, wait_s: float) -> None:
    """A write-ahead log; SQLite does not wait for other processes that do the same just now."""
    give_up_s = time.monotonic() + wait_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(_RETRY_S)


def _postgresql_engine(place: URL, options: DatabaseOptions) -> Engine:
    try:
        engine = create_engine(
            place,
            connect_args={"connect_timeout": max(1, round(options.wait_s))},
            hide_parameters=True,
            max_overflow=0,
            pool_pre_ping=True,
            pool_size=options.max_connections,
            pool_timeout=options.wait_s,
        )
    except ImportError:
        raise ConfigError(
            'PostgreSQL needs a driver: pip install "duologue[postgres]", or use SQLite'
        ) from None
    with engine.connect() as connection:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        engine.dispose()
        raise StorageError(f"the database has encoding {encoding}; create one with UTF8")
    return engine


@contextmanager
def _translated() -> Iterator[None]:
    """Failures of the database as StorageError; its message holds nothing of what is stored."""
    try:
        yield
    except exc.TimeoutError:
        raise StorageError("the database is busy: no connection came free; try again") from None
    except exc.DBAPIError as error:
        if isinstance(error, _OURS):
            raise
        problem = str(error.orig).strip().partition("\n")[0]
        raise StorageError(f"the database failed: {problem}") from None
