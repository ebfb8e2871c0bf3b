"""API keys: what a secret looks like, what is stored of it, and what it opens."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import pytest
from sqlalchemy import text

from duologue.errors import InputError, NotFoundError, StorageError
from duologue.storage.database import Database
from duologue.storage.keys import Keys


class Clock:
    """Seconds that stand still until they are moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(database: Database, clock: Clock) -> Keys:
    return Keys(database, clock)


def test_a_secret_opens_its_key(keys: Keys) -> None:
    key_id, secret = keys.create(" my phone 手机 ", ["translate", "chat", "chat"])
    keys.create("another", ["admin"])
    assert re.fullmatch(rf"duo_{key_id}_[A-Za-z0-9_-]{{43}}", secret)
    key = keys.verify(secret)
    assert key is not None
    assert (key.id, key.name, key.scopes) == (key_id, "my phone 手机", {"chat", "translate"})


def test_only_a_hash_is_stored(keys: Keys, database: Database) -> None:
    _, secret = keys.create("k", ["chat"])
    with database.reading() as connection:
        row = connection.execute(text("SELECT * FROM keys")).one()
    assert row.hash == hashlib.sha256(secret.encode()).hexdigest()
    assert secret.rpartition("_")[2] not in str(tuple(row))


def test_nothing_else_opens_anything(keys: Keys) -> None:
    key_id, secret = keys.create("k", ["chat"])
    _, other = keys.create("k", ["chat"])
    changed = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    wrong_id = f"duo_{'0' * 16}_{secret[21:]}"
    swapped = f"duo_{key_id}_{other[21:]}"
    for attempt in (
        "",
        "duo_",
        changed,
        swapped,
        wrong_id,
        secret + "A",
        secret + "\n",
        secret[4:],
        secret.upper(),
        "x" * 10_000_000,
        "\ud800",
    ):
        assert keys.verify(attempt) is None
    assert keys.verify(secret) is not None


def test_a_revoked_key_opens_nothing_and_stays_in_the_list(keys: Keys, clock: Clock) -> None:
    first, secret = keys.create("first", ["chat"])
    clock.now += 1
    second, other = keys.create("second", ["admin"])
    clock.now += 1
    keys.revoke(first)
    assert keys.verify(secret) is None
    assert keys.verify(other) is not None
    clock.now += 1
    keys.revoke(first)
    listed = keys.list()
    assert [(key.id, key.name, key.revoked_ms) for key in listed] == [
        (first, "first", 1_002_000),
        (second, "second", None),
    ]


@pytest.mark.parametrize("key_id", ["0" * 16, "", "%", "\ud800", "\0"])
def test_a_key_that_is_not_there_cannot_be_revoked(keys: Keys, key_id: str) -> None:
    with pytest.raises(NotFoundError, match="no such key"):
        keys.revoke(key_id)


def test_the_last_use_is_noted_once_a_minute(keys: Keys, clock: Clock) -> None:
    _, secret = keys.create("k", ["chat"])
    seen = []
    for seconds in (0, 59, 1, 30, 31):
        clock.now += seconds
        keys.verify(secret)
        seen.append(keys.list()[0].last_used_ms)
    assert seen == [1_000_000, 1_000_000, 1_060_000, 1_060_000, 1_121_000]


def test_a_key_opens_also_where_its_use_cannot_be_noted(
    keys: Keys, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = keys.create("k", ["chat"])

    def full() -> Any:
        raise StorageError("the disk is full")

    monkeypatch.setattr(database, "writing", full)
    assert keys.verify(secret) is not None


@pytest.mark.parametrize(
    ("name", "scopes", "problem"),
    [
        ("", ["chat"], "name"),
        ("  ", ["chat"], "name"),
        ("x" * 101, ["chat"], "name"),
        ("a\nb", ["chat"], "name"),
        ("\ud800", ["chat"], "name"),
        ("k", [], "scopes chat, translate, admin"),
        ("k", ["chat", "root"], "scopes chat, translate, admin"),
    ],
)
def test_keys_that_cannot_be_are_refused(
    keys: Keys, name: str, scopes: Iterable[Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        keys.create(name, scopes)
    assert keys.list() == []
