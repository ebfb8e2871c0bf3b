"""/v1/live over a real WebSocket."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from server_site import WAIT_S, Json, Reads, Site, begin, say, shown, texts
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

HELLO = "hello how are you"


@contextmanager
def live(site: Site, **options: Any) -> Iterator[ClientConnection]:
    url = site.url.replace("http", "ws") + "/v1/live"
    with connect(url, proxy=None, open_timeout=WAIT_S, **options) as socket:
        yield socket


def tell(socket: ClientConnection, kind: str, **values: Any) -> None:
    socket.send(json.dumps({"type": kind, **values}))


def until(socket: ClientConnection, is_last: Callable[[Json], bool]) -> list[Json]:
    """Everything that comes up to an event."""
    events: list[Json] = []
    while not events or not is_last(events[-1]):
        events.append(json.loads(socket.recv(WAIT_S)))
    return events


def one(socket: ClientConnection, kind: str) -> Json:
    return until(socket, lambda event: event["type"] == kind)[-1]


def reply_begun(site: Site, socket: ClientConnection, conversation: str, num_steps: int) -> None:
    """A draft is sent, and the engine stops after so many steps, in the middle of the reply."""
    tell(socket, "draft", text=HELLO, conversation_id=conversation)
    one(socket, "encoded")
    site.gate.shut(num_steps)
    tell(socket, "send", conversation_id=conversation)
    one(socket, "commit")


def wait_until_free(site: Site) -> None:
    site.gate.open()
    site.wait_for_replies()


def test_a_draft_is_encoded_once_and_translated_and_judged(site: Site) -> None:
    reads, model = Reads(site), site.served.model
    with live(site) as socket:
        tell(socket, "draft", text=HELLO, translate_to="zh", sentiment=True)
        seen: set[str] = set()
        expected = model.translate(HELLO, "zh", check=False).text
        reads_of_ours = len(reads.ids)

        def is_over(event: Json) -> bool:
            if event["type"] == "translation":
                if event["commit"] == expected and not event["revise"]:
                    seen.add("translation")
            else:
                seen.add(event["type"])
            return seen == {"encoded", "translation", "sentiment"}

        events = until(socket, is_over)
    judged = next(event for event in events if event["type"] == "sentiment")
    probabilities = model.sentiment(HELLO).probabilities
    assert judged["probabilities"] == pytest.approx(probabilities)
    assert judged["label"] == max(probabilities, key=probabilities.__getitem__)
    encoded = next(event for event in events if event["type"] == "encoded")
    assert encoded["tokens"] == model.encode(HELLO).num_tokens
    commits = [event["commit"] for event in events if event["type"] == "translation"]
    assert all(later.startswith(earlier) for earlier, later in pairwise(commits))
    assert reads_of_ours <= 2  # the draft, and the expected translation above


def test_a_sent_draft_is_not_encoded_again(site: Site) -> None:
    client = site.client()
    conversation = begin(client)
    say(client, conversation, "what time does the train leave")
    reads = Reads(site)
    with live(site) as socket:
        tell(socket, "draft", text=HELLO, conversation_id=conversation)
        tokens = one(socket, "encoded")["tokens"]
        draft_ids = site.served.runtime.turn("user", HELLO).ids
        assert reads.ids == [draft_ids]
        tell(socket, "send", conversation_id=conversation)
        events = until(socket, lambda event: event["type"] == "done")
    assert reads.ids.count(draft_ids) == 1
    assert events[0]["type"] == "message"
    assert events[0]["text"] == HELLO
    done = events[-1]["message"]
    assert "".join(event["text"] for event in events if event["type"] == "commit") == done["text"]
    assert done["result"]["usage"]["reused_tokens"] >= tokens
    assert texts(client, conversation)[2:] == [HELLO, done["text"]]
    assert done["status"] == "complete"


def test_a_reply_is_the_same_with_and_without_the_draft(site: Site) -> None:
    client = site.client()
    first, second = begin(client), begin(client)
    for conversation in (first, second):
        say(client, conversation, "what time does the train leave")
    expected = say(client, first, HELLO, options={})["reply"]["text"]
    with live(site) as socket:
        tell(socket, "draft", text=HELLO, conversation_id=second)
        one(socket, "encoded")
        tell(socket, "send", conversation_id=second)
        assert one(socket, "done")["message"]["text"] == expected
        # And the conversation goes on from there.
        tell(socket, "draft", text="thank you", conversation_id=second)
        tell(socket, "send", conversation_id=second)
        again = one(socket, "done")["message"]["text"]
    assert again == say(client, first, "thank you", options={})["reply"]["text"]


def test_a_draft_may_be_sent_elsewhere(site: Site) -> None:
    client = site.client()
    conversation, other = begin(client), begin(client)
    question = say(client, other, "what time")
    with live(site) as socket:
        tell(socket, "draft", text=HELLO, conversation_id=conversation)
        one(socket, "encoded")
        tell(socket, "send", conversation_id=other, parent=question["reply"]["id"])
        one(socket, "done")
        tell(socket, "draft", text="an edit", conversation_id=other)
        tell(socket, "send", conversation_id=other, parent=None)
        one(socket, "done")
    assert texts(client, other)[0] == "an edit"
    assert shown(client, conversation)["messages"] == []


def test_a_new_draft_ends_the_work_on_the_last_one(site: Site) -> None:
    with live(site) as socket:
        site.gate.shut(6)
        tell(socket, "draft", text=HELLO, translate_to="zh")
        one(socket, "encoded")
        site.gate.wait_until_used_up()
        tell(socket, "draft", text="the food was cold")
        site.gate.wait_until_aborted()
        site.gate.open()
        events = until(socket, lambda event: event["type"] == "encoded")
        assert site.served.bridge.num_live == 0
    # What came of the first draft before the second one, and nothing after that.
    assert {event["type"] for event in events} <= {"translation", "encoded"}


def test_who_goes_away_frees_everything(site: Site) -> None:
    client = site.client()
    conversation = begin(client)
    with live(site) as socket:
        site.gate.shut(4)
        tell(socket, "draft", text=HELLO, translate_to="zh", sentiment=True)
        tell(socket, "draft", text=HELLO, conversation_id=conversation)
        tell(socket, "send", conversation_id=conversation)
        one(socket, "message")
    site.gate.wait_until_aborted()
    site.gate.open()
    with live(site) as socket:
        tell(socket, "stop")  # answered by nothing
        tell(socket, "nonsense")
        one(socket, "failed")
    site.wait_for_replies()
    assert site.service.places.num_active == 0
    assert client.delete(f"/v1/conversations/{conversation}").status_code == 204

    assert site.served.runtime.forward.pool.used_bytes == 0


def test_a_reply_can_be_stopped(site: Site) -> None:
    client = site.client()
    conversation = begin(client)
    with live(site) as socket:
        reply_begun(site, socket, conversation, 8)
        tell(socket, "stop")
        site.gate.wait_until_aborted()
        site.gate.open()
        done = one(socket, "done")["message"]
    assert done["finish_reason"] == "abort"
    assert texts(client, conversation) == [HELLO, done["text"]]


def test_a_draft_elsewhere_is_read_while_a_reply_is_made(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = site.client()
    conversation, other = begin(client), begin(client)
    with live(site) as socket:
        reply_begun(site, socket, conversation, 4)
        site.gate.wait_until_used_up()
        tell(socket, "draft", text="what time", conversation_id="none")
        failed = one(socket, "failed")  # and the reply goes on
        assert failed["of"] == "draft"
        queued, submit = threading.Event(), site.served.bridge.submit

        def noted(*values: Any) -> int:
            number = submit(*values)
            queued.set()
            return number

        monkeypatch.setattr(site.served.bridge, "submit", noted)
        tell(socket, "draft", text="what time", conversation_id=other)
        assert queued.wait(WAIT_S)
        site.gate.shut(3)
        events = until(socket, lambda event: event["type"] == "encoded")
        assert "done" not in [event["type"] for event in events]
        site.gate.open()
        one(socket, "done")
        tell(socket, "send", conversation_id=other)
        assert one(socket, "message")["text"] == "what time"
        one(socket, "done")
    assert texts(client, other)[0] == "what time"


@pytest.mark.parametrize(
    "frame",
    [
        "", "{", "[]", "1", "null", '{"type": "draft"}', '{"type": 1}', '{"type": "sing"}',
        '{"type": "draft", "text": 1}', '{"type": "draft", "text": "a", "extra": 1}',
        '{"type": "send"}', '{"type": "send", "conversation_id": "x"}', b"\xff\xfe",
        '{"type": "draft", "text": "a", "conversation_id": "x"}',
        '{"type": "draft", "text": "a", "translate_to": "xx"}',
        '{"type": "draft", "text": "\\ud800"}',
    ],
)  # fmt: skip
def test_a_frame_of_no_use_is_answered_and_the_connection_stays(
    site: Site, frame: str | bytes
) -> None:
    with live(site) as socket:
        socket.send(frame)
        error = one(socket, "failed")["error"]
        assert error["code"] in ("invalid_input", "not_found")
        assert error["message"]
        tell(socket, "draft", text=HELLO)
        one(socket, "encoded")


def test_limits_and_keys(start: Callable[..., Site]) -> None:
    site = start(limits={"max_streams": 1, "max_body_bytes": 1000, "max_source_tokens": 200})
    with live(site) as socket:
        with pytest.raises(InvalidStatus) as refused, live(site):
            pass
        assert refused.value.response.status_code == 429
        tell(socket, "draft", text="a " * 300)
        assert "max_source_tokens" in one(socket, "failed")["error"]["message"]
        tell(socket, "draft", text="a" * 2000)
        with pytest.raises(ConnectionClosed):
            until(socket, lambda _: False)
    with pytest.raises(InvalidStatus) as refused, live(site, origin="http://example.org"):
        pass
    assert refused.value.response.status_code == 403


def test_a_key_is_needed_where_there_are_keys(start: Callable[..., Site]) -> None:
    first = start()
    _, secret = first.service.keys.create("chatter", ["chat"])
    _, weak = first.service.keys.create("translator", ["translate"])
    first.stop()
    site = start()
    for key, status in ((None, 401), ("wrong", 401), (weak, 403)):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with pytest.raises(InvalidStatus) as refused, live(site, additional_headers=headers):
            pass
        assert refused.value.response.status_code == status
    ways: list[Json] = [
        {"additional_headers": {"Authorization": f"Bearer {secret}"}},
        {"subprotocols": ["duologue", f"duologue.key.{secret}"]},
    ]
    for way in ways:
        with live(site, **way) as socket:
            tell(socket, "draft", text=HELLO)
            one(socket, "encoded")
