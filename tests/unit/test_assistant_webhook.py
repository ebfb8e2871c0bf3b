"""Webhooks against a real server on this machine: what is sent, tried again, refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from assistant_home import Home, make_home
from http_listener import listening

from duologue import api
from duologue.apps.assistant import AssistantOptions
from duologue.apps.assistant.webhook import MAX_RECEIVED_BYTES, Hook
from duologue.errors import WebhookError

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Receiver:
    """A server that answers what the test says; `hold` keeps it from answering at all."""

    answers: list[Answer] = field(default_factory=list)
    received: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def will(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.answers.append((status, headers, body))


class Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))
        self.receiver.received.append((self.path, dict(self.headers), body))
        if self.path == "/hang":
            self.receiver.over.wait()
            return
        if self.path == "/drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            while not self.receiver.over.wait(0.01):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return
            return
        status, headers, answer = self.receiver.answers.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    handler = type("OwnHandler", (Handler,), {"receiver": found})
    with listening(handler) as port:
        found.url = f"http://127.0.0.1:{port}"
        yield found
        found.over.set()


HOOK = Hook(new_key=lambda: "key-1")


def test_a_command_is_told_in_json_and_the_answer_read(receiver: Receiver) -> None:
    receiver.will(200, '{"text": "gemacht ✓"}'.encode())
    assert HOOK.post(f"{receiver.url}/do?x=1", {"slots": {"n": 3}}, 5) == {"text": "gemacht ✓"}
    path, headers, body = receiver.received[0]
    assert (path, body) == ("/do?x=1", {"slots": {"n": 3}})
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == "key-1"


def test_an_empty_answer_is_an_answer(receiver: Receiver) -> None:
    receiver.will(204)
    assert HOOK.post(receiver.url, {}, 5) == {}


def test_a_failing_server_is_told_once_more_with_the_same_key(receiver: Receiver) -> None:
    receiver.will(503)
    receiver.will(200, b"{}")
    assert Hook().post(receiver.url, {"a": 1}, 5) == {}
    keys = [headers["Idempotency-Key"] for _, headers, _ in receiver.received]
    assert len(keys) == 2
    assert keys[0] == keys[1]


def test_a_server_that_fails_twice_is_left_alone(receiver: Receiver) -> None:
    receiver.will(500)
    receiver.will(502)
    with pytest.raises(WebhookError, match="status 502"):
        HOOK.post(receiver.url, {}, 5)
    assert len(receiver.received) == 2


def test_a_refusal_is_not_tried_again(receiver: Receiver) -> None:
    receiver.will(403, b"{}")
    with pytest.raises(WebhookError, match="status 403"):
        HOOK.post(receiver.url, {}, 5)
    assert len(receiver.received) == 1


def test_nobody_listening(receiver: Receiver) -> None:
    with pytest.raises(WebhookError, match="connection to the webhook failed"):
        HOOK.post("http://127.0.0.1:1/", {}, 5)


@pytest.mark.parametrize("path", ["/hang", "/drip"])
def test_a_server_that_hangs_or_drips_is_cut_off(receiver: Receiver, path: str) -> None:
    with pytest.raises(WebhookError, match="did not answer in time"):
        HOOK.post(receiver.url + path, {}, 0.2)


def test_redirects_are_followed_on_the_same_host_alone(receiver: Receiver) -> None:
    receiver.will(307, Location="/there")
    receiver.will(200, b'{"text": "there"}')
    assert HOOK.post(f"{receiver.url}/here", {}, 5) == {"text": "there"}
    assert [path for path, _, _ in receiver.received] == ["/here", "/there"]
    port = receiver.url.rpartition(":")[2]
    for elsewhere in (f"http://localhost:{port}/", "http://127.0.0.1:1/", "https://127.0.0.1/"):
        receiver.will(307, Location=elsewhere)
        with pytest.raises(WebhookError, match="redirects to another host"):
            HOOK.post(receiver.url, {}, 5)
    receiver.will(302, Location="/there")
    with pytest.raises(WebhookError, match="status 302"):
        HOOK.post(receiver.url, {}, 5)


def test_a_circle_of_redirects_ends(receiver: Receiver) -> None:
    for _ in range(10):
        receiver.will(308, Location="/again")
    with pytest.raises(WebhookError, match="in a circle"):
        HOOK.post(receiver.url, {}, 5)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<html>", "is no JSON"),
        (b"\xff\xfe{", "is no JSON"),
        (b"[1]", "no JSON object"),
        (b"[" * 50_000, "is no JSON"),
        (b"{" + b" " * MAX_RECEIVED_BYTES + b"}", "more than"),
    ],
)
def test_answers_that_are_none(receiver: Receiver, body: bytes, problem: str) -> None:
    receiver.will(200, body)
    with pytest.raises(WebhookError, match=problem):
        HOOK.post(receiver.url, {}, 5)


def test_a_command_that_is_too_large_is_not_sent(receiver: Receiver) -> None:
    with pytest.raises(WebhookError, match="at most"):
        HOOK.post(receiver.url, {"text": "x" * 70_000}, 5)
    assert receiver.received == []


@pytest.mark.parametrize("host", ["169.254.169.254", "0.0.0.0", "[fe80::1]", "224.0.0.1"])
def test_addresses_that_are_never_called(host: str) -> None:
    with pytest.raises(WebhookError, match="may not be called"):
        HOOK.post(f"http://{host}/", {}, 5)


def test_private_addresses_are_refused_where_that_is_asked_for(receiver: Receiver) -> None:
    careful = Hook(allow_private=False)
    with pytest.raises(WebhookError, match="may not be called"):
        careful.post(receiver.url, {}, 5)
    with pytest.raises(WebhookError, match="may not be called"):
        careful.post("http://10.1.2.3/", {}, 5)
    assert receiver.received == []


# --- in a conversation ---------------------------------------------------------------------------

COMMANDS = """
intents:
  lamp_set:
    title: {{en: set the lamp}}
    examples: {{en: ["set the lamp to {{level}}", "lamp {{level}}"]}}
    slots: {{level: {{kind: number, required: true}}}}
    action: {{webhook: "{url}", timeout_s: 0.3}}
    undo: {{webhook: "{url}/undo"}}
    answers: {{en: {{done: "The lamp is at {{level}}, {{mood}}."}}}}
  hello:
    examples: {{en: [hello there]}}
"""


@pytest.fixture
def home(
    receiver: Receiver, tmp_path: Path, tiny_model_folder: Callable[[], Path]
) -> Iterator[Callable[[str], Home]]:
    made: list[Home] = []

    def make(path: str) -> Home:
        file = tmp_path / "lamp.yaml"
        file.write_text(COMMANDS.format(url=receiver.url + path), encoding="utf-8")
        options = AssistantOptions(commands=(file,), shipped=False)
        made.append(make_home(api.load(tiny_model_folder(), threads=1), tmp_path, options))
        return made[-1]

    yield make
    for item in made:
        item.assistant.close()


def test_a_webhook_fills_the_answer_and_can_be_undone(
    receiver: Receiver, home: Callable[[str], Home]
) -> None:
    receiver.will(200, b'{"values": {"mood": "cosy"}, "undo": {"before": 10}}')
    receiver.will(200, b"")
    lamp = home("/lamp")
    assert lamp.say("set the lamp to 30").text == "The lamp is at 30, cosy."
    assert lamp.say("undo").text == "Taken back: set the lamp."
    told = [(path, body["slots"]) for path, _, body in receiver.received]
    assert told == [("/lamp", {"level": 30}), ("/lamp/undo", {"before": 10})]
    assert receiver.received[0][2] == {
        "intent": "lamp_set",
        "slots": {"level": 30},
        "text": "set the lamp to 30",
        "language": "en",
        "user": "anna",
    }


def test_a_webhook_that_hangs_ends_in_an_answer_and_the_dialogue_goes_on(
    home: Callable[[str], Home],
) -> None:
    lamp = home("/hang")
    result = lamp.say("set the lamp to 30")
    assert result.text == "That did not work: the webhook did not answer in time."
    assert result.command is not None
    assert result.command.status == "failed"
    assert lamp.say("undo").text == "There is nothing that I could take back."
    assert lamp.say("lamp").command is not None
