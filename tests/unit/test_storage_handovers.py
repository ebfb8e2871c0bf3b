"""The queue of questions that people take over, in both kinds of databases."""

from __future__ import annotations

import pytest

from duologue.errors import InputError, NotFoundError
from duologue.storage.conversations import HEAD, Conversations
from duologue.storage.database import Database
from duologue.storage.handovers import Handovers
from duologue.storage.records import StoredMessage

CITED = [{"document": "a.md", "text": "We sell\0lamps."}]


@pytest.fixture
def store(database: Database) -> Conversations:
    return Conversations(database)


def asked(store: Conversations, text: str = "Why?", owner: str = "ann") -> StoredMessage:
    conversation = store.create(owner, "duo-s", source="documents")
    return store.append(owner, conversation.id, None, "user", text)


def test_a_question_waits_is_taken_and_given_back(database: Database, store: Conversations) -> None:
    now = [1.0]
    queue = Handovers(database, lambda: now[0])
    first, second = asked(store), asked(store, "And why that?", "bob")
    one = queue.open(first, "en", 0.25, CITED)
    now[0] = 2.0
    two = queue.open(second, "de", 0.5, [])
    assert one is not None
    assert two is not None
    assert [item.id for item in queue.listed()] == [one, two]
    found = queue.get(one)
    assert (found.owner, found.question, found.language) == ("ann", "Why?", "en")
    assert (found.confidence, found.citations, found.created_ms) == (0.25, CITED, 1000)
    assert queue.states([first.conversation, second.conversation, "conv_x"]) == {
        first.conversation: False,
        second.conversation: False,
    }
    assert queue.take(one, "eve").taken_by == "eve"
    assert queue.take(one, "eve").taken_ms == 2000
    with pytest.raises(InputError, match="another person"):
        queue.take(one, "mallory")
    assert queue.taken() == {first.conversation}
    assert queue.states([first.conversation]) == {first.conversation: True}
    assert queue.close(one).closed_ms == 2000
    for call in (lambda: queue.close(one), lambda: queue.take(one, "eve")):
        with pytest.raises(InputError, match="given back"):
            call()
    assert [item.id for item in queue.listed()] == [two]
    assert queue.taken() == set()


def test_a_conversation_has_one_open_question_at_a_time(
    database: Database, store: Conversations
) -> None:
    queue = Handovers(database)
    question = asked(store)
    first = queue.open(question, "en", 0.0, [])
    assert queue.open(question, "en", 0.0, []) is None
    assert first is not None
    queue.close(first)
    assert queue.open(question, "en", 0.0, []) is not None


def test_what_is_deleted_leaves_the_queue(database: Database, store: Conversations) -> None:
    queue = Handovers(database)
    question = asked(store)
    handover = queue.open(question, "en", 0.0, CITED)
    assert handover is not None
    store.delete("ann", question.conversation)
    assert queue.listed() == []
    for name in (handover, "hand_x", "'; --", ""):
        for call in (queue.get, queue.close):
            with pytest.raises(NotFoundError):
                call(name)


def test_a_persons_message_comes_after_the_head_and_is_marked(store: Conversations) -> None:
    question = asked(store)
    where = "ann", question.conversation
    said = store.append(*where, HEAD, "agent", "Because.", by_person=True)
    assert said.parent == question.id
    path = store.path(*where)
    assert [(message.text, message.by_person) for message in path] == [
        ("Why?", False),
        ("Because.", True),
    ]
    fork = store.fork(*where, said.id)
    assert fork.source == "documents"
    assert [message.by_person for message in store.path("ann", fork.id)] == [False, True]
