"""How each version of the schema becomes the next: numbered, forward only, never changed again.

migrate     brings a database to the newest version
MIGRATIONS  the first makes version 1 of an empty database, the second version 2, ...

Statements are written out: tables.py changes with the program, what was released does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Connection, func, insert, inspect, select, text

from duologue.errors import StorageError
from duologue.storage import tables

_LOCK = 0x64756F6C  # any number, as long as it is always the same


def conversations_and_messages(connection: Connection) -> None:
    """Conversations, and their messages as trees."""
    serial = "BIGSERIAL" if connection.dialect.name == "postgresql" else "INTEGER"
    _execute(
        connection,
        """
        CREATE TABLE conversations (
            id TEXT NOT NULL PRIMARY KEY,
            owner TEXT NOT NULL,
            title TEXT NOT NULL,
            model TEXT NOT NULL,
            created_ms BIGINT NOT NULL,
            updated_ms BIGINT NOT NULL,
            head TEXT
        )
        """,
        "CREATE INDEX conversations_of_owner ON conversations (owner, updated_ms, id)",
        f"""
        CREATE TABLE messages (
            number {serial} NOT NULL PRIMARY KEY,
            id TEXT NOT NULL,
            conversation TEXT NOT NULL,
            parent TEXT,
            role TEXT NOT NULL,
            text TEXT NOT NULL,
            hash TEXT,
            status TEXT NOT NULL,
            finish_reason TEXT,
            result TEXT,
            options TEXT,
            created_ms BIGINT NOT NULL,
            CONSTRAINT messages_id UNIQUE (conversation, id),
            FOREIGN KEY (conversation) REFERENCES conversations (id) ON DELETE CASCADE,
            FOREIGN KEY (conversation, parent) REFERENCES messages (conversation, id)
        )
        """,
        "CREATE INDEX messages_by_parent ON messages (conversation, parent)",
        "CREATE INDEX messages_by_hash ON messages (hash)",
    )


def api_keys(connection: Connection) -> None:
    """API keys, of which only hashes are kept."""
    _execute(
        connection,
        """
        CREATE TABLE keys (
            id TEXT NOT NULL PRIMARY KEY,
            name TEXT NOT NULL,
            scopes TEXT NOT NULL,
            hash TEXT NOT NULL,
            created_ms BIGINT NOT NULL,
            last_used_ms BIGINT,
            revoked_ms BIGINT
        )
        """,
    )


def answers_of_people(connection: Connection) -> None:
    """Where a conversation's replies come from, and questions that people take over."""
    _execute(
        connection,
        "ALTER TABLE conversations ADD COLUMN source TEXT DEFAULT 'model' NOT NULL",
        f"ALTER TABLE messages ADD COLUMN by_person BOOLEAN DEFAULT {_false(connection)} NOT NULL",
        """
        CREATE TABLE handovers (
            id TEXT NOT NULL PRIMARY KEY,
            conversation TEXT NOT NULL,
            message TEXT NOT NULL,
            language TEXT NOT NULL,
            confidence FLOAT NOT NULL,
            citations TEXT NOT NULL,
            created_ms BIGINT NOT NULL,
            taken_by TEXT,
            taken_ms BIGINT,
            closed_ms BIGINT,
            FOREIGN KEY (conversation) REFERENCES conversations (id) ON DELETE CASCADE
        )
        """,
        "CREATE UNIQUE INDEX handovers_open ON handovers (conversation) WHERE closed_ms IS NULL",
    )


def _false(connection: Connection) -> str:
    return "false" if connection.dialect.name == "postgresql" else "0"


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    conversations_and_messages,
    api_keys,
    answers_of_people,
)


def migrate(
    writing: Callable[[], AbstractContextManager[Connection]], newest: int = len(MIGRATIONS)
) -> None:
    """Bring a database to version `newest`, each step in a transaction of its own.

    writing  opens a transaction, see Database.writing; on SQLite it keeps other writers out

    Processes that start at the same time wait for each other and find the work done. Raises
    StorageError for a database that a later version of the program has used.
    """
    while True:
        with writing() as connection:
            version = _locked_version(connection)
            if version > len(MIGRATIONS):
                raise StorageError(
                    f"the database has schema version {version}, this program knows versions up "
                    f"to {len(MIGRATIONS)}: update the program, or use another database"
                )
            if version >= newest:
                return
            step = MIGRATIONS[version]
            step(connection)
            connection.execute(
                insert(tables.migrations).values(
                    number=version + 1, name=step.__name__, applied_ms=int(1000 * time.time())
                )
            )


def _locked_version(connection: Connection) -> int:
    """The version of the database, which nobody else changes before this transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    if not inspect(connection).has_table("migrations"):
        _execute(
            connection,
            """
            CREATE TABLE migrations (
                number INTEGER NOT NULL PRIMARY KEY,
                name TEXT NOT NULL,
                applied_ms BIGINT NOT NULL
            )
            """,
        )
    return connection.execute(select(func.max(tables.migrations.c.number))).scalar() or 0


def _execute(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(text(statement))
