"""The newest schema, which every query is written against; migrations.py leads to it.

Times are milliseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)

_ESCAPE = "\x1a"


class AnyText(TypeDecorator[str]):
    """Text of any characters. PostgreSQL has no U+0000, and SQLite's LIKE stops there."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """U+001A and U+0000 become pairs that begin with U+001A."""
        if value is None:
            return None
        return value.replace(_ESCAPE, _ESCAPE + "1").replace("\0", _ESCAPE + "0")

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        """The text as it was."""
        if value is None:
            return None
        return value.replace(_ESCAPE + "0", "\0").replace(_ESCAPE + "1", _ESCAPE)


metadata = MetaData()

migrations = Table(
    "migrations",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("applied_ms", BigInteger, nullable=False),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("title", AnyText, nullable=False),
    Column("model", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("head", Text),  # of its messages; no foreign key, because they refer to each other
    Column("source", Text, nullable=False, server_default="model"),
    Index("conversations_of_owner", "owner", "updated_ms", "id"),
)

messages = Table(
    "messages",
    metadata,
    # Only tells which came first.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", Text, nullable=False),
    Column("conversation", ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("parent", Text),
    Column("role", Text, nullable=False),
    Column("text", AnyText, nullable=False),
    Column("hash", Text),
    Column("status", Text, nullable=False),
    Column("finish_reason", Text),
    Column("result", Text),
    Column("options", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("by_person", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("conversation", "id", name="messages_id"),
    # The parent is of the same conversation.
    ForeignKeyConstraint(["conversation", "parent"], ["messages.conversation", "messages.id"]),
    Index("messages_by_parent", "conversation", "parent"),
    Index("messages_by_hash", "hash"),
)

handovers = Table(
    "handovers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("conversation", ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("message", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("confidence", Float, nullable=False),
    Column("citations", AnyText, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("taken_by", Text),
    Column("taken_ms", BigInteger),
    Column("closed_ms", BigInteger),
    Index(
        "handovers_open",
        "conversation",
        unique=True,
        sqlite_where=text("closed_ms IS NULL"),
        postgresql_where=text("closed_ms IS NULL"),
    ),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", AnyText, nullable=False),
    Column("scopes", Text, nullable=False),  # sorted, with blanks between
    Column("hash", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("last_used_ms", BigInteger),
    Column("revoked_ms", BigInteger),
)
