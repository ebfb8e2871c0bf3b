"""API keys: whoever holds the secret of one may do what its scopes allow.

A secret is `duo_<id>_<256 random bits, URL-safe>`, shown once and never stored; its SHA-256 is. A
slow, salted hash would add nothing: those exist for passwords, which are few enough to be tried
one by one. Nobody can try 2^256 secrets however fast the hash is, and no two keys have the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import Row, insert, select, update

from duologue.errors import InputError, NotFoundError, StorageError
from duologue.storage.database import Database
from duologue.storage.tables import keys

Scope = Literal["chat", "translate", "admin"]

SCOPES: tuple[Scope, ...] = get_args(Scope)
MAX_NAME_CHARS = 100
LAST_USED_STEP_MS = 60_000  # last_used_ms is at most this far behind

_SECRET = re.compile(r"duo_([0-9a-f]{16})_[A-Za-z0-9_-]{43}", re.ASCII)
_NO_HASH = "0" * 64


@dataclass(frozen=True)
class Key:
    """What is known of a key; its secret is not.

    id  also the owner of the conversations that are held with it
    Times are milliseconds since 1970-01-01 UTC; None: never.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    created_ms: int
    last_used_ms: int | None
    revoked_ms: int | None


class Keys:
    """The API keys in a database. Threads and processes may share it.

    clock  seconds since 1970-01-01 UTC
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def create(self, name: str, scopes: Iterable[Scope]) -> tuple[str, str]:
        """Make a key and return its id and its secret, which cannot be had again.

        name  for people, to tell keys apart
        Raises InputError for a name or scopes that cannot be.
        """
        wanted = set(scopes)
        if not wanted or not wanted <= set(SCOPES):
            raise InputError(f"a key has one or more of the scopes {', '.join(SCOPES)}")
        name = name.strip()
        if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
            raise InputError(f"a key's name has 1 to {MAX_NAME_CHARS} printable characters")
        key_id = secrets.token_hex(8)
        secret = f"duo_{key_id}_{secrets.token_urlsafe(32)}"
        values = {
            "id": key_id,
            "name": name,
            "scopes": " ".join(sorted(wanted)),
            "hash": _hash(secret),
            "created_ms": self._now_ms(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(keys).values(values))
        return key_id, secret

    def list(self) -> list[Key]:
        """All keys, revoked ones too, oldest first."""
        with self._database.reading() as connection:
            found = connection.execute(select(keys).order_by(keys.c.created_ms, keys.c.id))
            return [_to_key(row) for row in found]

    def has_any(self) -> bool:
        """Whether there is a key that was not revoked."""
        with self._database.reading() as connection:
            valid = select(keys.c.id).where(keys.c.revoked_ms.is_(None)).limit(1)
            return connection.execute(valid).first() is not None

    def revoke(self, key_id: str) -> None:
        """From now on the key opens nothing. Raises NotFoundError if there is no such key."""
        if re.fullmatch(r"[0-9a-f]{16}", key_id, re.ASCII) is None:
            raise NotFoundError("there is no such key")
        here = keys.c.id == key_id
        with self._database.writing() as connection:
            if connection.execute(select(keys.c.id).where(here)).first() is None:
                raise NotFoundError("there is no such key")
            never = keys.c.revoked_ms.is_(None)
            connection.execute(update(keys).where(here, never).values(revoked_ms=self._now_ms()))

    def verify(self, secret: str) -> Key | None:
        """The key with this secret; None if there is none, or it was revoked.

        How long it takes tells nothing of a secret that is stored.
        """
        matched = _SECRET.fullmatch(secret)
        if matched is None:
            return None
        with self._database.reading() as connection:
            row = connection.execute(select(keys).where(keys.c.id == matched[1])).one_or_none()
        is_right = hmac.compare_digest(_hash(secret), _NO_HASH if row is None else row.hash)
        if row is None or not is_right or row.revoked_ms is not None:
            return None
        self._use(_to_key(row))
        return _to_key(row)

    def _use(self, key: Key) -> None:
        """Note when the key was used, at most once a minute; a failure must not lock it out."""
        now_ms = self._now_ms()
        if key.last_used_ms is not None and now_ms - key.last_used_ms < LAST_USED_STEP_MS:
            return
        with contextlib.suppress(StorageError), self._database.writing() as connection:
            connection.execute(update(keys).where(keys.c.id == key.id).values(last_used_ms=now_ms))

    def _now_ms(self) -> int:
        return int(1000 * self._clock())


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _to_key(row: Row[Any]) -> Key:
    values = dict(row._mapping)
    del values["hash"]
    return Key(**{**values, "scopes": frozenset(values["scopes"].split())})
