"""Paths that are remembered are those of the store, and take a bounded amount."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from duologue.errors import NotFoundError
from duologue.server.paths import Paths
from duologue.storage.conversations import Conversations
from duologue.storage.database import open_database, sqlite_url


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Conversations]:
    database = open_database(sqlite_url(tmp_path))
    yield Conversations(database)
    database.close()


def grow(store: Conversations, conversation: str, text: str = "hello") -> list:
    head = store.get("local", conversation).head
    store.append("local", conversation, head, "user", text)
    return store.path("local", conversation)


def test_a_path_that_is_kept_is_that_of_the_store(
    store: Conversations, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, conversation = Paths(store), store.create("local", "m").id
    for _ in range(5):
        expected = grow(store, conversation)
        paths.keep("local", expected)
    with monkeypatch.context() as patch:
        patch.setattr(store, "path", lambda *_: pytest.fail("was read again"))
        assert paths.to("local", conversation, expected[-1].id) == expected
    assert len(paths._kept) == 1
    earlier = expected[2].id
    assert paths.to("local", conversation, earlier) == expected[:3]


def test_a_path_is_known_to_its_owner_alone(store: Conversations) -> None:
    paths, conversation = Paths(store), store.create("local", "m").id
    path = grow(store, conversation)
    paths.keep("local", path)
    for owner, name in (("other", conversation), ("local", "conv_other")):
        with pytest.raises(NotFoundError):
            paths.to(owner, name, path[-1].id)


def test_the_paths_that_were_kept_first_leave_first(store: Conversations) -> None:
    paths = Paths(store, max_chars=1000)
    made = [store.create("local", "m").id for _ in range(5)]
    for conversation in made:
        paths.keep("local", grow(store, conversation, "x" * 100))
    assert [key[1] for key in paths._kept] == made[2:]
    assert paths._num_chars == 900
    paths.keep("local", grow(store, made[0], "x" * 2000))
    assert paths._kept == {}
    assert paths._num_chars == 0


def test_what_is_deleted_is_forgotten(store: Conversations) -> None:
    paths = Paths(store)
    one, other = (store.create("local", "m").id for _ in range(2))
    for conversation in (one, other):
        paths.keep("local", grow(store, conversation))
    paths.forget("local", one)
    assert [key[1] for key in paths._kept] == [other]
    paths.forget("local", other)
    assert paths._num_chars == 0
