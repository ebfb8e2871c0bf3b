"""Conversations as trees: branches, hashes, limits, search, forks, deletion, and who sees what."""

from __future__ import annotations

import hashlib
import inspect
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from duologue.errors import ConfigError, InputError, NotFoundError, StorageError
from duologue.storage import rows
from duologue.storage.conversations import Conversations
from duologue.storage.database import Database, DatabaseOptions, open_database, sqlite_url
from duologue.storage.export import WRITERS
from duologue.storage.interrupted import note_interrupted
from duologue.storage.records import ConversationLimits, StoredMessage, chain_hash, chain_root
from duologue.storage.tables import conversations
from duologue.types import Result

ME, OTHER = "local", "0123456789abcdef"


class Clock:
    """Seconds that go on by one each time they are read."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def store(database: Database) -> Conversations:
    return Conversations(database, clock=Clock())


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Conversations]:
    opened = open_database(sqlite_url(tmp_path))
    yield Conversations(opened, clock=Clock())
    opened.close()


def turn(store: Conversations, conversation: str, text: str, reply: str) -> StoredMessage:
    """Ask something at the head, and the complete reply."""
    head = store.get(ME, conversation).head
    _, begun = store.ask(ME, conversation, head, text)
    return store.complete(ME, conversation, begun.id, reply, "stop")


def texts(store: Conversations, conversation: str, message: str | None = None) -> list[str]:
    return [found.text for found in store.path(ME, conversation, message)]


# --- messages -----------------------------------------------------------------------------------


def test_what_was_said_comes_back_as_it_was(store: Conversations) -> None:
    made = store.create(ME, "duo-s", " a\ttitle ")
    assert made == store.get(ME, made.id)
    assert (made.owner, made.title, made.model, made.head) == (ME, "a title", "duo-s", None)
    assert store.path(ME, made.id) == []
    options = {"max_tokens": 5, "temperature": 0.5}
    question, begun = store.ask(ME, made.id, None, "你好 \0 \x1a \x1a0 \x1a1 😀\n", options)
    result = Result("\0 gut", "stop", confidence=0.5).to_dict()
    reply = store.complete(ME, made.id, begun.id, "\0 gut", "stop", result)
    assert store.path(ME, made.id) == [question, reply]
    assert question.text == "你好 \0 \x1a \x1a0 \x1a1 😀\n"
    assert (question.role, question.parent, question.status) == ("user", None, "complete")
    assert (reply.role, reply.parent, reply.status) == ("agent", question.id, "complete")
    assert (reply.finish_reason, reply.options) == ("stop", options)
    assert reply.result == json.loads(json.dumps(result))
    assert store.message(ME, made.id, reply.id) == reply
    assert store.get(ME, made.id).head == reply.id


def test_ids_cannot_be_guessed_and_go_into_a_url(store: Conversations) -> None:
    made = [store.create(ME, "m").id for _ in range(20)]
    assert len(set(made)) == 20
    for name in made:
        kind, _, random = name.partition("_")
        assert kind == "conv"
        assert len(random) == 22
        assert set(random) <= set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        )


def test_the_hash_is_a_chain_over_role_and_text(store: Conversations) -> None:
    one = store.create(ME, "m").id
    first = store.append(ME, one, None, "system", "be kind")
    second = store.append(ME, one, first.id, "user", "be kind")
    root = hashlib.sha256(b"duologue.owner.v1\0local").digest()
    expected = hashlib.sha256(b"duologue.message.v1\0" + root + b"system\0be kind").digest()
    assert first.hash == expected.hex()
    again = hashlib.sha256(b"duologue.message.v1\0" + expected + b"user\0be kind").hexdigest()
    assert second.hash == again


def test_equal_paths_have_equal_hashes_for_one_owner_and_others_for_another(
    store: Conversations,
) -> None:
    def said(owner: str) -> list[str | None]:
        made = store.create(owner, "m").id
        first = store.append(owner, made, None, "user", "hello")
        return [first.hash, store.append(owner, made, first.id, "agent", "hi").hash]

    assert said(ME) == said(ME)
    assert not set(said(ME)) & set(said(OTHER))


@given(st.lists(st.tuples(st.sampled_from(["user", "agent"]), st.text()), min_size=1, max_size=4))
def test_different_paths_have_different_hashes(path: list[tuple[str, str]]) -> None:
    def hash_of(turns: list[tuple[str, str]]) -> str:
        digest = chain_root(ME)
        for role, text in turns:
            digest = chain_hash(digest, role, text)
        return digest

    role, text = path[-1]
    others = [
        path[:-1],
        [*path, ("user", "")],
        [*path[:-1], (role, text + "\0")],
        [*path[:-1], ({"user": "agent", "agent": "user"}[role], text)],
    ]
    assert hash_of(path) not in [hash_of(other) for other in others]


# --- unfinished replies -------------------------------------------------------------------------


def test_an_unfinished_reply_is_there_but_not_shown(store: Conversations) -> None:
    one = store.create(ME, "m").id
    question, begun = store.ask(ME, one, None, "hello", {"seed": 1})
    assert (begun.status, begun.text, begun.hash, begun.parent) == (
        "unfinished",
        "",
        None,
        question.id,
    )
    assert store.message(ME, one, begun.id) == begun
    assert store.path(ME, one) == [question]
    assert store.get(ME, one).head == question.id


def test_nothing_comes_after_an_unfinished_reply(store: Conversations) -> None:
    one = store.create(ME, "m").id
    _, begun = store.ask(ME, one, None, "hello")
    for attempt in (
        lambda: store.append(ME, one, begun.id, "user", "more"),
        lambda: store.ask(ME, one, begun.id, "more"),
        lambda: store.begin_reply(ME, one, begun.id),
        lambda: store.set_head(ME, one, begun.id),
        lambda: store.fork(ME, one, begun.id),
    ):
        with pytest.raises(InputError, match="unfinished"):
            attempt()


def test_replies_of_a_dead_process_are_noted_and_exported_as_interrupted(
    store: Conversations,
) -> None:
    one = store.create(ME, "m", "A trip").id
    question, begun = store.ask(ME, one, None, "hello")
    assert note_interrupted(store._database, begun.created_ms) == 0
    assert "interrupted" not in WRITERS["txt"](store.export(ME, one))
    assert note_interrupted(store._database, begun.created_ms + 1) == 1
    assert note_interrupted(store._database, begun.created_ms + 1) == 0
    noted = store.message(ME, one, begun.id)
    assert (noted.status, noted.finish_reason) == ("unfinished", "abort")
    assert store.path(ME, one) == [question]
    exported = store.export(ME, one)
    assert WRITERS["txt"](exported) == "A trip\n\nYou: hello\n\nAgent: (interrupted)\n"
    assert WRITERS["md"](exported).endswith("## You\n\nhello\n\n## Agent\n\n(interrupted)\n")
    other = store.begin_reply(ME, one, question.id)
    store.complete(ME, one, other.id, "hi", "stop")
    assert WRITERS["txt"](store.export(ME, one)).endswith("You: hello\n\nAgent: hi\n")


def test_a_reply_that_was_noted_as_interrupted_too_early_is_completed(
    store: Conversations,
) -> None:
    one = store.create(ME, "m").id
    _, begun = store.ask(ME, one, None, "hello")
    note_interrupted(store._database, begun.created_ms + 1)
    done = store.complete(ME, one, begun.id, "hi", "length")
    assert (done.status, done.finish_reason) == ("complete", "length")
    assert note_interrupted(store._database, begun.created_ms + 1) == 0


def test_a_reply_is_completed_once(store: Conversations) -> None:
    one = store.create(ME, "m").id
    question, begun = store.ask(ME, one, None, "hello")
    done = store.complete(ME, one, begun.id, "hi", "length")
    for attempt in (
        lambda: store.complete(ME, one, begun.id, "again", "stop"),
        lambda: store.discard(ME, one, begun.id),
        lambda: store.discard(ME, one, question.id),
    ):
        with pytest.raises(InputError, match="complete"):
            attempt()
    assert store.path(ME, one) == [question, done]


def test_a_discarded_reply_is_gone(store: Conversations) -> None:
    one = store.create(ME, "m").id
    question, begun = store.ask(ME, one, None, "hello")
    store.discard(ME, one, begun.id)
    assert store.path(ME, one) == [question]
    with pytest.raises(NotFoundError):
        store.complete(ME, one, begun.id, "hi", "stop")


def test_a_reply_that_comes_late_does_not_take_the_reader_away(store: Conversations) -> None:
    one = store.create(ME, "m").id
    question, begun = store.ask(ME, one, None, "hello")
    edited = store.edit(ME, one, question.id, "hello there")
    store.complete(ME, one, begun.id, "hi", "stop")
    assert store.get(ME, one).head == edited.id
    assert texts(store, one, begun.id) == ["hello", "hi"]


# --- branches -----------------------------------------------------------------------------------


def test_an_edit_makes_a_branch_and_the_head_chooses(store: Conversations) -> None:
    one = store.create(ME, "m").id
    turn(store, one, "a", "A")
    last = turn(store, one, "b", "B")
    first, answer, second, _ = store.path(ME, one)
    edited = store.edit(ME, one, second.id, "c")
    assert (edited.parent, edited.role) == (answer.id, "user")
    assert texts(store, one) == ["a", "A", "c"]
    turn(store, one, "d", "D")
    assert texts(store, one) == ["a", "A", "c", "d", "D"]
    assert [found.text for found in store.siblings(ME, one, edited.id)] == ["b", "c"]
    store.set_head(ME, one, last.id)
    assert texts(store, one) == ["a", "A", "b", "B"]
    other = store.edit(ME, one, first.id, "x")
    assert store.siblings(ME, one, first.id) == [first, other]
    assert texts(store, one) == ["x"]


def test_a_reply_made_again_is_a_sibling_and_is_shown(store: Conversations) -> None:
    one = store.create(ME, "m").id
    first = turn(store, one, "a", "A")
    again = store.begin_reply(ME, one, str(first.parent))
    assert texts(store, one) == ["a"]
    store.complete(ME, one, again.id, "AA", "stop")
    assert texts(store, one) == ["a", "AA"]
    assert [found.text for found in store.siblings(ME, one, first.id)] == ["A", "AA"]


def test_a_parent_is_of_the_same_conversation(store: Conversations) -> None:
    one, two = store.create(ME, "m").id, store.create(ME, "m").id
    elsewhere = store.append(ME, two, None, "user", "b")
    with pytest.raises(NotFoundError, match="no such message"):
        store.append(ME, one, elsewhere.id, "user", "a")
    assert store.path(ME, one) == []


def test_a_fork_has_the_path_and_goes_on_by_itself(store: Conversations) -> None:
    one = store.create(ME, "m", "title").id
    turn(store, one, "a", "A")
    middle = store.path(ME, one)[-1]
    turn(store, one, "b", "B")
    fork = store.fork(ME, one, middle.id)
    assert (fork.title, fork.model, fork.owner) == ("title", "m", ME)
    assert fork == store.get(ME, fork.id)
    copied = store.path(ME, fork.id)
    assert [message.text for message in copied] == ["a", "A"]
    assert [message.hash for message in copied] == [
        message.hash for message in store.path(ME, one)[:2]
    ]
    turn(store, fork.id, "c", "C")
    assert texts(store, one) == ["a", "A", "b", "B"]
    store.delete(ME, one)
    assert texts(store, fork.id) == ["a", "A", "c", "C"]


# --- deletion -----------------------------------------------------------------------------------


def test_a_deleted_conversation_is_gone_and_tells_which_hashes_are(store: Conversations) -> None:
    one = store.create(ME, "m").id
    turn(store, one, "a", "A")
    shared = store.path(ME, one)
    turn(store, one, "b", "B")
    own = store.path(ME, one)[2:]
    store.ask(ME, one, own[-1].id, "unfinished")
    last = store.path(ME, one)[-1]
    fork = store.fork(ME, one, shared[-1].id).id
    assert store.delete(ME, one) == sorted(str(message.hash) for message in (*own, last))
    with pytest.raises(NotFoundError):
        store.get(ME, one)
    everything = [str(message.hash) for message in (*shared, *own)]
    assert store.known_hashes(everything) == {message.hash for message in shared}
    assert store.delete(ME, fork) == sorted(str(message.hash) for message in shared)
    assert store.known_hashes(everything) == set()


def test_known_hashes_may_be_asked_by_the_thousand(store: Conversations) -> None:
    one = store.create(ME, "m").id
    said = store.append(ME, one, None, "user", "a")
    asked = [f"{number:064x}" for number in range(2_000)]
    assert store.known_hashes([*asked, str(said.hash)]) == {said.hash}


def test_nothing_of_a_deleted_conversation_is_left_in_the_files(tmp_path: Path) -> None:
    opened = open_database(sqlite_url(tmp_path))
    store = Conversations(opened)
    kept, gone = store.create(ME, "m", "kept-title").id, store.create(ME, "m", "gone-title").id
    for number in range(50):
        turn(store, gone, f"gone-text-{number}", "gone-text" * 500)
        turn(store, kept, f"kept-text-{number}", "A")

    def files() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert b"gone-t" in files()
    store.delete(ME, gone)
    assert b"gone-t" not in files()
    assert b"kept-text-49" in files()
    opened.close()


# --- lists --------------------------------------------------------------------------------------


def test_pages_give_each_conversation_once_last_changed_first(store: Conversations) -> None:
    made = [store.create(ME, "m", f"title {number}").id for number in range(7)]
    store.create(OTHER, "m")
    store.rename(ME, made[2], "renamed")
    turn(store, made[0], "a", "A")
    expected = [made[0], made[2], *(made[number] for number in (6, 5, 4, 3, 1))]
    found, cursor, num_pages = [], None, 0
    while num_pages == 0 or cursor is not None:
        page = store.page(ME, cursor=cursor, limit=3)
        found += [conversation.id for conversation in page.conversations]
        cursor, num_pages = page.cursor, num_pages + 1
    assert found == expected
    assert num_pages == 3
    assert store.page(ME, limit=7).cursor is None
    assert store.get(ME, made[2]).title == "renamed"


def test_pages_hold_where_times_are_equal(database: Database) -> None:
    store = Conversations(database, clock=lambda: 1.0)
    made = {store.create(ME, "m").id for _ in range(5)}
    found, cursor = [], None
    for _ in range(5):
        page = store.page(ME, cursor=cursor, limit=1)
        found += [conversation.id for conversation in page.conversations]
        cursor = page.cursor
    assert cursor is None
    assert len(found) == 5
    assert set(found) == made


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("", {"one", "two", "three"}),
        ("天气", {"two"}),
        ("weather", {"one"}),
        ("STRASSE", set()),
        ("straße ä", {"three"}),
        ("STRAßE Ä", {"three"}),
        ("two", {"two"}),
        ("100%", {"three"}),
        ("1%0", set()),
        ("o_e", set()),
        ("/", set()),
        ("\0", {"three"}),
        ("nothing of this", set()),
    ],
)
def test_search_finds_titles_and_texts_of_any_script(
    store: Conversations, search: str, expected: set[str]
) -> None:
    said = {
        "one": "How is the Weather?",
        "two": "今天天气怎么样？",
        "three": "In der Straße Ä, 100% \0",
    }
    for title, text in said.items():
        made = store.create(ME, "m", title).id
        store.append(ME, made, store.append(ME, made, None, "system", "x").id, "user", text)
        mine = store.create(OTHER, "m", title).id
        store.append(OTHER, mine, None, "user", text)
    found = store.page(ME, search).conversations
    assert {conversation.title for conversation in found} == expected
    assert all(conversation.owner == ME for conversation in found)


@pytest.mark.parametrize(
    ("ask", "problem"),
    [
        ({"limit": 0}, "limit must be between 1 and 200"),
        ({"limit": 201}, "limit must be between 1 and 200"),
        ({"cursor": "1; DROP TABLE messages"}, "cursor"),
        ({"cursor": "9" * 30 + ".a"}, "cursor"),
        ({"search": "x" * 201}, "at most 200 characters"),
        ({"search": "\ud800"}, "lone surrogate"),
    ],
)
def test_pages_that_cannot_be_are_refused(
    sqlite_store: Conversations, ask: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        sqlite_store.page(ME, **ask)


# --- limits -------------------------------------------------------------------------------------


def test_what_is_over_a_limit_is_refused_and_changes_nothing(database: Database) -> None:
    limits = ConversationLimits(
        max_title_chars=3, max_text_bytes=6, max_json_bytes=10, max_messages=3
    )
    store = Conversations(database, limits)
    one = store.create(ME, "m", "abc").id
    _, begun = store.ask(ME, one, None, "你好")
    before = store.export(ME, one)
    big = {"a": "12345"}
    for attempt, problem in [
        (lambda: store.create(ME, "m", "abcd"), "title has 4 characters; at most 3"),
        (lambda: store.rename(ME, one, "abcd"), "title has 4 characters; at most 3"),
        (lambda: store.append(ME, one, None, "user", "你好!"), "text has 7 bytes; at most 6"),
        (lambda: store.ask(ME, one, None, "1234567"), "text has 7 bytes"),
        (lambda: store.ask(ME, one, None, "a", big), "options has 13 bytes"),
        (lambda: store.begin_reply(ME, one, "x", big), "options has 13 bytes"),
        (lambda: store.complete(ME, one, begun.id, "1234567", "stop"), "text has 7 bytes"),
        (lambda: store.complete(ME, one, begun.id, "a", "stop", big), "result has 13 bytes"),
        (lambda: store.ask(ME, one, None, "a"), "at most 3 messages"),
    ]:
        with pytest.raises(InputError, match=problem):
            attempt()
        assert store.export(ME, one) == before
    store.append(ME, one, None, "user", "third")
    with pytest.raises(InputError, match="at most 3 messages, all branches together"):
        store.append(ME, one, None, "user", "4th")


@pytest.mark.parametrize(
    ("attempt", "problem"),
    [
        (lambda s, c: s.create("", "m"), "an owner is"),
        (lambda s, c: s.create("a b", "m"), "an owner is"),
        (lambda s, c: s.create(ME, "m", "\ud800"), "the title holds half of a character"),
        (lambda s, c: s.append(ME, c, None, "user", "\ud800"), "the text holds half"),
        (lambda s, c: s.append(ME, c, None, "user", b"a"), "must be text, not bytes"),
        (lambda s, c: s.append(ME, c, None, "robot", "a"), "unknown role 'robot'"),
        (lambda s, c: s.ask(ME, c, None, "a", {"t": float("nan")}), "cannot be written as JSON"),
        (lambda s, c: s.ask(ME, c, None, "a", {"t": object()}), "cannot be written as JSON"),
        (lambda s, c: s.ask(ME, c, None, "a", {"t": "\ud800"}), "cannot be written as JSON"),
    ],
)
def test_what_cannot_be_stored_is_refused(
    sqlite_store: Conversations, attempt: Callable[[Conversations, str], Any], problem: str
) -> None:
    one = sqlite_store.create(ME, "m").id
    with pytest.raises(InputError, match=problem):
        attempt(sqlite_store, one)
    assert sqlite_store.path(ME, one) == []


def test_limits_are_positive() -> None:
    with pytest.raises(ConfigError, match="max_messages must be at least 1"):
        ConversationLimits(max_messages=0)


# --- owners -------------------------------------------------------------------------------------

Attempt = Callable[[Conversations, str, str, str], Any]

# Every method on a conversation and a message, by any owner.
ATTEMPTS: dict[str, Attempt] = {
    "get": lambda s, o, c, m: s.get(o, c),
    "rename": lambda s, o, c, m: s.rename(o, c, "mine now"),
    "set_head": lambda s, o, c, m: s.set_head(o, c, m),
    "fork": lambda s, o, c, m: s.fork(o, c, m),
    "delete": lambda s, o, c, m: s.delete(o, c),
    "export": lambda s, o, c, m: s.export(o, c),
    "message": lambda s, o, c, m: s.message(o, c, m),
    "path": lambda s, o, c, m: s.path(o, c, m),
    "siblings": lambda s, o, c, m: s.siblings(o, c, m),
    "append": lambda s, o, c, m: s.append(o, c, m, "user", "mine"),
    "edit": lambda s, o, c, m: s.edit(o, c, m, "mine"),
    "begin_reply": lambda s, o, c, m: s.begin_reply(o, c, m),
    "ask": lambda s, o, c, m: s.ask(o, c, m, "mine"),
    "complete": lambda s, o, c, m: s.complete(o, c, m, "mine", "stop"),
    "discard": lambda s, o, c, m: s.discard(o, c, m),
}
NOT_ABOUT_ONE = {"create", "page", "known_hashes"}  # each has a test of its own


def test_every_method_is_tried_by_a_stranger() -> None:
    methods = {name for name, _ in inspect.getmembers(Conversations, inspect.isfunction)}
    assert {name for name in methods if name[0] != "_"} == ATTEMPTS.keys() | NOT_ABOUT_ONE


@pytest.mark.parametrize("method", sorted(ATTEMPTS))
def test_what_belongs_to_another_is_not_found(store: Conversations, method: str) -> None:
    mine = store.create(ME, "m").id
    done = turn(store, mine, "secret", "secret")
    _, begun = store.ask(ME, mine, done.id, "secret")
    theirs = store.create(OTHER, "m").id
    their_first = store.append(OTHER, theirs, None, "user", "hello")
    before = store.export(ME, mine), store.export(OTHER, theirs)

    def problem(owner: str, conversation: str, message: str) -> str:
        with pytest.raises(NotFoundError) as raised:
            ATTEMPTS[method](store, owner, conversation, message)
        return str(raised.value)

    for message in (done.id, begun.id, their_first.id):
        foreign = problem(OTHER, mine, message)
        missing = problem(OTHER, "conv_aaaaaaaaaaaaaaaaaaaaaa", message)
        assert foreign == missing
        for nobody in ("", "LOCAL", "local ", "lo%", "\0", "\ud800"):
            assert problem(nobody, mine, message) == missing
    if method not in ("get", "rename", "delete", "export"):
        # Their own conversation with a message of mine.
        assert problem(OTHER, theirs, done.id) == problem(OTHER, theirs, "msg_missing")
        assert problem(OTHER, theirs, "\ud800") == problem(OTHER, theirs, "msg_missing")
    assert (store.export(ME, mine), store.export(OTHER, theirs)) == before


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(sorted(ATTEMPTS)),
            st.booleans(),
            st.integers(0, 30),
            st.integers(0, 30),
        ),
        max_size=25,
    )
)
def test_owners_never_meet_whatever_they_do(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, bool, int, int]]
) -> None:
    opened = open_database(sqlite_url(tmp_path_factory.mktemp("owners")))
    store = Conversations(opened)
    owners = {ME: "of me", OTHER: "of the other"}
    for owner, text in owners.items():
        made = store.create(owner, "m", text).id
        question, _ = store.ask(owner, made, None, text)
        store.append(owner, made, question.id, "agent", text)

    def everything(owner: str) -> list[dict[str, Any]]:
        page = store.page(owner, limit=200).conversations
        return [store.export(owner, conversation.id) for conversation in page]

    for method, is_me, conversation_index, message_index in steps:
        actor, bystander = (ME, OTHER) if is_me else (OTHER, ME)
        both = everything(ME) + everything(OTHER)
        if not both:
            break
        chosen = both[conversation_index % len(both)]
        ids = [message["id"] for exported in both for message in exported["messages"]]
        before = everything(bystander)
        try:
            ATTEMPTS[method](store, actor, chosen["id"], ids[message_index % len(ids)])
        except NotFoundError:
            pass
        except InputError:
            assert chosen["owner"] == actor
        else:
            assert chosen["owner"] == actor
        assert everything(bystander) == before
    for owner, foreign in ((ME, owners[OTHER]), (OTHER, owners[ME])):
        assert foreign not in json.dumps(everything(owner))
        assert store.page(owner, search=foreign).conversations == ()
    opened.close()


# --- threads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["append", "edit", "ask", "begin_reply"])
def test_a_conversation_is_locked_while_its_messages_are_counted(
    database_url: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = open_database(database_url)
    other = open_database(database_url, DatabaseOptions(wait_s=0.01))
    store = Conversations(mine)
    one = store.create(ME, "m").id
    first = store.append(ME, one, None, "user", "a")
    is_sqlite = database_url.startswith("sqlite")
    count, counted = rows.count, []

    def write() -> None:
        with other.writing() as connection:
            assert not is_sqlite, "a second writer got in"
            query = select(conversations.c.id).where(conversations.c.id == one)
            connection.execute(query.with_for_update(nowait=True))

    def count_while_another_tries(*args: Any) -> int:
        with pytest.raises(StorageError, match="lock"):
            write()
        counted.append(count(*args))
        return counted[-1]

    monkeypatch.setattr(rows, "count", count_while_another_tries)
    ATTEMPTS[method](store, ME, one, first.id)
    assert counted == [1]
    mine.close()
    other.close()


def test_threads_write_one_conversation_without_loss(database: Database) -> None:
    store = Conversations(database, ConversationLimits(max_messages=50))
    one = store.create(ME, "m").id
    root = store.append(ME, one, None, "system", "root")
    problems: list[str] = []
    written: list[str] = []

    def write(thread: int) -> None:
        for number in range(5):
            try:
                question, begun = store.ask(ME, one, root.id, f"{thread}.{number}")
                written.append(question.id)
                written.append(store.complete(ME, one, begun.id, "reply", "stop").id)
            except InputError as error:
                problems.append(str(error))

    threads = [threading.Thread(target=write, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    exported = store.export(ME, one)
    # 49 places for 40 turns of two messages each: 24 turns, and one place stays empty.
    assert len(problems) == 16
    assert all("at most 50 messages" in problem for problem in problems)
    assert {message["id"] for message in exported["messages"]} == {root.id, *written}
    assert len(exported["messages"]) == 49
    for message in exported["messages"]:
        parent = [found for found in exported["messages"] if found["id"] == message["parent"]]
        before = parent[0]["hash"] if parent else chain_root(ME)
        assert message["hash"] == chain_hash(before, message["role"], message["text"])
    assert exported["head"] in written


# --- files --------------------------------------------------------------------------------------


def test_a_conversation_is_written_in_three_forms(sqlite_store: Conversations) -> None:
    store = sqlite_store
    one = store.create(ME, "duo-s").id
    turn(store, one, "lost branch", "A")
    store.edit(ME, one, store.path(ME, one)[0].id, "你好 *there*")
    turn_id = store.begin_reply(ME, one, str(store.get(ME, one).head)).id
    store.complete(ME, one, turn_id, "hi", "stop")
    exported = store.export(ME, one)
    assert json.loads(WRITERS["json"](exported)) == exported
    assert len(exported["messages"]) == 4
    assert WRITERS["md"](exported) == (
        "# Untitled\n\n1970-01-01 00:16 UTC, duo-s\n\n## You\n\n你好 *there*\n\n## Agent\n\nhi\n"
    )
    store.rename(ME, one, "Greetings")
    assert WRITERS["txt"](store.export(ME, one)) == "Greetings\n\nYou: 你好 *there*\n\nAgent: hi\n"
