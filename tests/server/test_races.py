"""Clients that go away, stop, delete and speak at the moments when it is least convenient."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from server_site import (
    LONG,
    WAIT_S,
    Json,
    Site,
    begin,
    error_of,
    events,
    say,
    shown,
    streaming,
    texts,
)
from websockets.sync.client import connect

HELLO = "hello how are you"


class Held:
    """A method that waits, each time it is called, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.begun, self._go = threading.Event(), threading.Event()
        method = getattr(owner, name)

        def held(*values: Any, **named: Any) -> Any:
            self.begun.set()
            assert self._go.wait(WAIT_S)
            return method(*values, **named)

        monkeypatch.setattr(owner, name, held)

    def wait_until_begun(self) -> None:
        assert self.begun.wait(WAIT_S)

    def let_go(self) -> None:
        self._go.set()


@pytest.fixture
def together(site: Site) -> Callable[..., Future[httpx.Response]]:
    """together(method, path, body): a request that another thread sends."""
    threads = ThreadPoolExecutor(8)
    site.resources.callback(threads.shutdown)

    def send(method: str, path: str, body: Json | None = None) -> Future[httpx.Response]:
        client = site.client()
        return threads.submit(lambda: client.request(method, path, json=body))

    return send


@contextmanager
def nothing_left(site: Site) -> Iterator[None]:
    yield
    site.wait_for_replies()
    app: Any = site.server.config.app
    assert app.state.dialogues._running == {}
    assert site.service.places.num_active == site.service._num_working == 0
    assert site.served.bridge.num_live == 0


# --- stop ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_before_the_reply_is_begun_ends_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, together: Any, stream: bool
) -> None:
    client = site.client()
    conversation = begin(client)
    path = f"/v1/conversations/{conversation}"
    limits = Held(monkeypatch, type(site.service.limits), "check_texts")
    body = {"text": HELLO, "options": LONG, "stream": stream}
    site.gate.shut()
    answer = together("POST", f"{path}/messages", body)
    limits.wait_until_begun()
    assert client.post(f"{path}/stop").json() == {"stopped": True}
    limits.let_go()
    site.gate.wait_until_aborted()
    site.gate.open()
    with nothing_left(site):
        if stream:
            (_, _), (name, data) = events(answer.result(WAIT_S))
            assert (name, data["error"]["code"]) == ("failed", "stopped")
        else:
            error_of(answer.result(WAIT_S), 503, "stopped")
    assert texts(client, conversation) == [HELLO]
    say(client, conversation, "what time")


@pytest.mark.parametrize("is_read", [False, True])
def test_a_stop_of_a_live_reply_that_is_prepared_ends_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, is_read: bool
) -> None:
    client = site.client()
    conversation = begin(client)
    with nothing_left(site), connect(site.url.replace("http", "ws") + "/v1/live") as live:

        def tell(**frame: Any) -> None:
            live.send(json.dumps(frame))

        def told() -> Json:
            return dict(json.loads(live.recv(WAIT_S)))

        draft = {"type": "draft", "text": HELLO, "conversation_id": conversation}
        if is_read:
            tell(**draft)
            assert told()["type"] == "encoded"
        limits = Held(monkeypatch, type(site.service.limits), "check_texts")
        if not is_read:
            tell(**draft)
        tell(type="send", conversation_id=conversation)
        limits.wait_until_begun()
        site.gate.shut(1)  # a reading takes one; no reply ends by itself
        tell(type="stop")
        tell(type="nonsense")
        assert told()["of"] is None  # by now the stop was taken
        limits.let_go()
        assert (told()["type"], told()["error"]["code"]) == ("message", "stopped")
        site.gate.open()
        # It is the reply that was stopped, and not the connection.
        tell(type="draft", text="what time", conversation_id=conversation)
        tell(type="send", conversation_id=conversation)
        while (event := told())["type"] != "done":
            assert event["type"] != "failed"
    assert texts(client, conversation)[:2] == [HELLO, "what time"]


def test_several_stops_end_one_reply_once(site: Site, together: Any) -> None:
    client = site.client()
    conversation = begin(client)
    path = f"/v1/conversations/{conversation}"
    site.gate.shut(8)
    with nothing_left(site), streaming(client, conversation, HELLO) as stream:
        assert [next(stream)[0] for _ in range(2)] == ["message", "commit"]
        stops = [together("POST", f"{path}/stop") for _ in range(4)]
        assert [stop.result(WAIT_S).json() for stop in stops] == [{"stopped": True}] * 4
        site.gate.open()
        *_, (name, done) = stream
    assert (name, done["message"]["finish_reason"]) == ("done", "abort")
    assert client.post(f"{path}/stop").json() == {"stopped": False}
    assert len(texts(client, conversation)) == 2


# --- delete --------------------------------------------------------------------------------------


def test_a_conversation_that_is_deleted_before_the_reply_is_begun(
    site: Site, monkeypatch: pytest.MonkeyPatch, together: Any
) -> None:
    client = site.client()
    conversation = begin(client)
    path = f"/v1/conversations/{conversation}"
    limits = Held(monkeypatch, type(site.service.limits), "check_texts")
    answer = together("POST", f"{path}/messages", {"text": HELLO, "options": LONG})
    limits.wait_until_begun()
    with nothing_left(site):
        assert client.delete(path).status_code == 204
        limits.let_go()
        error_of(answer.result(WAIT_S), 404, "not_found")
    assert site.served.memories.num_bytes == site.served.runtime.forward.pool.used_bytes == 0


def test_a_conversation_that_is_deleted_twice_during_a_reply(site: Site, together: Any) -> None:
    client = site.client()
    conversation = begin(client)
    path = f"/v1/conversations/{conversation}"
    site.gate.shut(8)
    with nothing_left(site), streaming(client, conversation, HELLO) as stream:
        assert [next(stream)[0] for _ in range(2)] == ["message", "commit"]
        deletions = [together("DELETE", path) for _ in range(3)]
        site.gate.wait_until_aborted()
        site.gate.open()
        assert list(stream)[-1][0] == "done"
        codes = sorted(one.result(WAIT_S).status_code for one in deletions)
    assert codes == [204, 404, 404]
    assert site.served.memories.num_bytes == site.served.runtime.forward.pool.used_bytes == 0


# --- going away ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_who_goes_away_while_the_question_is_stored(
    site: Site, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    client = site.client()
    conversation = begin(client)
    store = Held(monkeypatch, site.service.conversations, "ask")
    body = {"text": HELLO, "options": LONG, "stream": stream}
    site.gate.shut(4)
    with pytest.raises(httpx.ReadTimeout):
        client.post(f"/v1/conversations/{conversation}/messages", json=body, timeout=0.3)
    store.wait_until_begun()
    store.let_go()
    site.gate.wait_until_aborted()
    site.gate.open()
    with nothing_left(site):
        pass
    assert site.service.places.num_streams == 0
    assert texts(site.client(), conversation)[0] == HELLO
    say(site.client(), conversation, "what time")


def test_who_goes_away_during_the_handshake_of_a_websocket(site: Site) -> None:
    host, port = site.url.removeprefix("http://").split(":")
    request = (
        f"GET /v1/live HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    for length in (1, 20, len(request) - 2, len(request)) * 4:
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(request[:length])
    url = site.url.replace("http", "ws") + "/v1/live"
    with connect(url, proxy=None, open_timeout=WAIT_S) as other:
        other.send(json.dumps({"type": "draft", "text": HELLO}))
        assert json.loads(other.recv(WAIT_S))["type"] == "encoded"
    with nothing_left(site):
        while site.service.places.num_streams:
            assert site.client().get("/health/live").status_code == 200


# --- two tabs ------------------------------------------------------------------------------------


def test_two_tabs_that_say_something_at_once(site: Site, together: Any) -> None:
    client = site.client()
    conversation = begin(client)
    path = f"/v1/conversations/{conversation}/messages"
    site.gate.shut()
    asked = [together("POST", path, {"text": f"hello {number}"}) for number in range(4)]
    site.gate.wait_until_used_up()
    while sum(one.done() for one in asked) < 3:
        assert client.get("/health/live").status_code == 200
    site.gate.open()
    with nothing_left(site):
        answers = [one.result(WAIT_S) for one in asked]
        codes = sorted(answer.status_code for answer in answers)
    assert codes == [200, 409, 409, 409]
    (answer,) = (answer.json() for answer in answers if answer.status_code == 200)
    messages = shown(client, conversation)["messages"]
    assert [one["id"] for one in messages] == [answer["message"]["id"], answer["reply"]["id"]]


def test_a_tab_that_types_and_one_that_asks(site: Site) -> None:
    client = site.client()
    conversation = begin(client)
    url = site.url.replace("http", "ws") + "/v1/live"
    with nothing_left(site), connect(url, proxy=None, open_timeout=WAIT_S) as tab:
        tab.send(json.dumps({"type": "draft", "text": HELLO, "conversation_id": conversation}))
        assert json.loads(tab.recv(WAIT_S))["type"] == "encoded"
        said = say(client, conversation, "what time")
        tab.send(json.dumps({"type": "send", "conversation_id": conversation}))
        found = [json.loads(tab.recv(WAIT_S))]
        while found[-1]["type"] not in ("done", "failed"):
            found.append(json.loads(tab.recv(WAIT_S)))
    assert found[0]["parent"] == said["reply"]["id"]
    assert found[-1]["type"] == "done"
    assert len(texts(client, conversation)) == 4
