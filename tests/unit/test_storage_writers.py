"""Threads that write one SQLite database at the same time: one commit for those that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, exc

from duologue.errors import InputError, StorageError
from duologue.storage.conversations import Conversations
from duologue.storage.database import Database, open_database, sqlite_url

ME = "me"
Work = Callable[[], None]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Database]:
    database = open_database(sqlite_url(tmp_path))
    yield database
    database.close()


@pytest.fixture
def commits(opened: Database) -> list[Any]:
    """Grows by one with each commit."""
    found: list[Any] = []
    event.listen(opened._engine, "commit", found.append)
    return found


def together(database: Database, *works: Work) -> list[BaseException | None]:
    """Do the first, and begin all others before it ends; how each of them failed."""
    problems: list[BaseException | None] = [None] * len(works)

    def run(place: int) -> None:
        try:
            works[place]()
        except BaseException as error:
            problems[place] = error

    others = [threading.Thread(target=run, args=(place,)) for place in range(1, len(works))]
    with database.writing():
        first = threading.Thread(target=run, args=(0,))
        for thread in (first, *others):
            thread.start()
        while database._writers._num_waiting < len(works):
            pass
    for thread in (first, *others):
        thread.join()
    return problems


def test_those_who_wait_share_a_commit(opened: Database, commits: list[Any]) -> None:
    store = Conversations(opened)
    begin = [lambda title=title: store.create(ME, "m", title) for title in "abcde"]
    assert together(opened, *begin) == [None] * 5
    assert len(commits) == 1
    assert sorted(one.title for one in store.page(ME).conversations) == list("abcde")


def test_one_that_raises_is_undone_alone(opened: Database) -> None:
    store = Conversations(opened)

    def fail() -> None:
        with opened.writing() as connection:
            connection.exec_driver_sql("DELETE FROM conversations")
            raise InputError("no")

    begin = [lambda title=title: store.create(ME, "m", title) for title in "ab"]
    first, failed, last = together(opened, begin[0], fail, begin[1])
    assert first is last is None
    assert isinstance(failed, InputError)
    assert sorted(one.title for one in store.page(ME).conversations) == ["a", "b"]


def test_a_commit_that_fails_is_told_to_all(opened: Database) -> None:
    store = Conversations(opened)

    def fail(_connection: Any) -> None:
        event.remove(opened._engine, "commit", fail)
        raise exc.OperationalError("COMMIT", None, Exception("the disk is full"))

    event.listen(opened._engine, "commit", fail)
    begin = [lambda: store.create(ME, "m")] * 3
    with pytest.raises(StorageError, match="full"):
        assert together(opened, *begin) == []
    assert store.page(ME).conversations == ()
    store.create(ME, "m", "later")
    assert [one.title for one in store.page(ME).conversations] == ["later"]


def test_a_database_that_fails_in_a_block_undoes_what_was_written_before_it(
    opened: Database,
) -> None:
    store = Conversations(opened)
    store.create(ME, "m", "kept")

    def fail() -> None:
        with pytest.raises(StorageError, match="full"), opened.writing():
            raise exc.OperationalError("INSERT", None, Exception("the disk is full"))

    failing = threading.Thread(target=fail)

    def delete_while_it_waits() -> None:
        with opened.writing() as connection:
            connection.exec_driver_sql("DELETE FROM conversations")
            failing.start()
            while not opened._writers._num_waiting:
                pass

    with pytest.raises(StorageError, match="full"):
        delete_while_it_waits()
    failing.join()
    store.create(ME, "m", "later")
    assert sorted(one.title for one in store.page(ME).conversations) == ["kept", "later"]


def test_no_more_than_so_many_wait_for_one_commit(
    opened: Database, commits: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duologue.storage.database._MAX_GROUP", 2)
    store = Conversations(opened)
    begin = [lambda: store.create(ME, "m")] * 5
    assert together(opened, *begin) == [None] * 5
    assert len(commits) == 3
    assert len(store.page(ME).conversations) == 5
