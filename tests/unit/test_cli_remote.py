"""How a chat reads a server: events in any pieces, and servers that are not as they should be."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from duologue.cli import client
from duologue.cli.chat import Talk
from duologue.cli.client import Client, Server, read_server
from duologue.cli.events import ServerEvent, events
from duologue.cli.remote import RemotePartner, connect
from duologue.errors import InputError, RemoteError

# --- events --------------------------------------------------------------------------------------

STREAM = (
    b": welcome\n\n"
    b"event: commit\ndata: one\n\n"
    b"data:two\r\ndata: lines\r\n\r\n"
    b"event: nothing\n\n"
    b"id: 7\rretry: 3\rdata\r\r"
    b": \xe4\xbd\xa0\nevent:  done\ndata: \xe4\xbd\xa0\n\n"
    b"event: cut\ndata: never"
)
EVENTS = [
    ServerEvent("commit", b"one"),
    ServerEvent("message", b"two\nlines"),
    ServerEvent("message", b""),
    ServerEvent(" done", "你".encode()),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_events_do_not_depend_on_the_pieces_they_come_in(borders: list[int]) -> None:
    edges = [0, *sorted(borders), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in pairwise(edges)]
    assert list(events(pieces)) == EVENTS


def test_single_bytes_are_pieces_too() -> None:
    assert list(events(STREAM[i : i + 1] for i in range(len(STREAM)))) == EVENTS


@given(st.binary(max_size=200), st.integers(1, 9))
def test_no_bytes_break_the_reader(data: bytes, step: int) -> None:
    pieces = [data[start : start + step] for start in range(0, len(data), step)]
    assert list(events(pieces)) == list(events([data]))


def test_an_event_comes_as_soon_as_its_end_has_come() -> None:
    taken: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number, piece in enumerate([b"data: one\n", b"\n", b"data: two\n\n"]):
            taken.append(number)
            yield piece

    assert next(events(pieces())) == ServerEvent("message", b"one")
    assert taken == [0, 1]


@pytest.mark.parametrize("piece", [b"x" * 30, b"data: x\n", b": comment\n"])
def test_an_event_without_an_end_is_refused_when_it_is_too_large(piece: bytes) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield piece

    with pytest.raises(RemoteError, match="more than 100 bytes"):
        list(events(endless(), max_bytes=100))


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "server", "shown"),
    [
        ("http://127.0.0.1:8000/", ("http", "127.0.0.1", 8000, ""), "http://127.0.0.1:8000"),
        ("https://Example.org/talk/", ("https", "example.org", 443, "/talk"), "https://example.org/talk"),
        ("http://[::1]", ("http", "::1", 80, ""), "http://[::1]"),
    ],
)  # fmt: skip
def test_addresses_are_read(url: str, server: tuple[str, str, int, str], shown: str) -> None:
    assert read_server(url, "secret") == Server(*server, key="secret")
    assert str(read_server(url, "secret")) == shown
    assert "secret" not in repr(read_server(url, "secret"))


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://x", "http://", "http://a:99999", "http://[::1", "http://u:p@a",
     "http://a?b", "http://a#b", "http://a b", "http://a\nb", "http://ä", "file:///etc/passwd"],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="--url"):
        read_server(url, None)


@pytest.mark.parametrize(
    ("url", "shows_key"),
    [
        ("http://127.0.0.1:8000", False),
        ("http://localhost", False),
        ("http://[::1]", False),
        ("https://example.org", False),
        ("http://example.org", True),
        ("http://192.168.1.2", True),
    ],
)
def test_a_key_is_hidden_on_this_machine_and_by_https(url: str, shows_key: bool) -> None:
    assert read_server(url, "key").shows_key is shows_key
    assert not read_server(url, None).shows_key


# --- servers that are not as they should be ------------------------------------------------------

Answer = bytes | Callable[[socket.socket], None]
INFO = {"version": "1", "models": [{"name": "m", "tasks": ["reply"]}], "scopes": ["chat"]}
MADE = {"id": "conv_1", "title": "", "model": "m", "updated_at": "now", "unknown": 1}
STREAMED = "200 OK\r\nContent-Type: text/event-stream"
ANY = TypeAdapter(dict[str, object])


def http(head: str, content: bytes = b"", length: int | None = None) -> bytes:
    size = len(content) if length is None else length
    return f"HTTP/1.1 {head}\r\nContent-Length: {size}\r\n\r\n".encode() + content


def ok(value: object) -> bytes:
    return http("200 OK", json.dumps(value).encode())


def streamed(*said: tuple[str, object]) -> bytes:
    parts = [f"event: {name}\ndata: {json.dumps(data)}\n\n".encode() for name, data in said]
    return f"HTTP/1.1 {STREAMED}\r\n\r\n".encode() + b"".join(parts)


class Scripted:
    """A server that answers each connection by the next of some answers.

    requests  (attribute) what came, whole
    """

    def __init__(self, answers: list[Answer]) -> None:
        self.requests: list[bytes] = []
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        for answer in self._answers:
            connection, _ = self._listener.accept()
            with connection:
                self.requests.append(_request(connection))
                if callable(answer):
                    answer(connection)
                else:
                    connection.sendall(answer)

    def close(self) -> None:
        self._thread.join(60)
        self._listener.close()
        assert not self._thread.is_alive(), "fewer requests came than were expected"


def _request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, content = received.partition(b"\r\n\r\n")
    size = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if b"Content-Length" in line), 0
    )
    while len(content) < size:
        content += connection.recv(65536)
    return head + b"\r\n\r\n" + content


@contextmanager
def scripted(*answers: Answer) -> Iterator[Scripted]:
    server = Scripted(list(answers))
    try:
        yield server
    finally:
        server.close()


def client_of(server: Scripted, told: list[str] | None = None, key: str | None = None) -> Client:
    return Client(read_server(server.url, key), (told if told is not None else []).append)


def partner_of(server: Scripted) -> RemotePartner:
    return RemotePartner(client_of(server), "m", {})


def wait_for_the_end(connection: socket.socket) -> None:
    assert connection.recv(1) == b""


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http("502 Bad Gateway", b"<html><h1>Bad gateway</h1>"), "answered 502 Bad Gateway; is it"),
        (http("404 Not Found", b'{"detail": "Not Found"}'), "answered 404 Not Found; is it"),
        (http("301 Moved\r\nLocation: http://evil.example/"), "answered 301 Moved; is it"),
        (http("200 OK", b"<html>Welcome"), "is it a Duologue server"),
        (http("200 OK", b"\xff\xfe"), "is it a Duologue server"),
        (http("200 OK", b"[" * 100_000), "is it a Duologue server"),
        (http("200 OK", b'{"models": [{}]}'), "is it a Duologue server"),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "not HTTP"),
        (b"", "went away"),
        (http("200 OK", b'{"models"', 100), "is it a Duologue server"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "went away"),
    ],
)
def test_another_server_is_told_from_ours(answer: bytes, words: str) -> None:
    with scripted(answer) as server, pytest.raises(RemoteError, match=words):
        connect(read_server(server.url, None), print, None, {})


def test_the_servers_own_error_is_told_and_bounded() -> None:
    problem = {"message": "no" * 1000, "code": "invalid_input"}
    answer = http("400 Bad", json.dumps({"error": problem}).encode())
    with scripted(answer) as server, pytest.raises(RemoteError) as refused:
        client_of(server).send("DELETE", "/x")
    assert str(refused.value) == "no" * 250
    assert refused.value.refused_as == "invalid_input"


def test_a_body_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_BODY_BYTES", 1000)
    large = http("200 OK", b" " * 2000)
    with scripted(large) as server, pytest.raises(RemoteError, match="more than 1,000 bytes"):
        client_of(server).call(ANY, "GET", "/x")


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "ANSWER_S", 0.05)
    with scripted(wait_for_the_end) as server, pytest.raises(RemoteError, match="does not answer"):
        client_of(server).call(ANY, "GET", "/x")


def test_https_demands_tls() -> None:
    plain = b"HTTP/1.1 400 Bad\r\n\r\n"
    with scripted_raw(plain) as port, pytest.raises(RemoteError, match="does not speak TLS"):
        connect(read_server(f"https://127.0.0.1:{port}", None), print, None, {})


@contextmanager
def scripted_raw(answer: bytes) -> Iterator[int]:
    """A server that answers whatever comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(60)


def test_the_key_is_sent_as_a_header_to_the_path_below_the_address() -> None:
    with scripted(ok({})) as server:
        below = read_server(f"{server.url}/talk/", "duo_key")
        Client(below, print).call(ANY, "POST", "/v1/x", {"text": "你"})
    head, _, content = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /talk/v1/x HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer duo_key" in head
    assert json.loads(content) == {"text": "你"}


# --- waiting -------------------------------------------------------------------------------------

BUSY = json.dumps({"error": {"message": "too much", "code": "overloaded"}}).encode()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept, on a clock that only sleeping moves."""
    naps: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: sum(naps))
    monkeypatch.setattr(time, "sleep", naps.append)
    return naps


def test_a_busy_server_is_asked_once_more_after_the_time_it_names(slept: list[float]) -> None:
    told: list[str] = []
    busy = http("503 Busy\r\nRetry-After: 7", BUSY)
    with scripted(busy, ok({"done": True})) as server:
        assert client_of(server, told).call(ANY, "GET", "/x") == {"done": True}
    assert told == [f"{server.url} is busy; trying again in 7 s"]
    assert sum(slept) == pytest.approx(7)
    with scripted(busy, busy) as server, pytest.raises(RemoteError, match="too much"):
        client_of(server).call(ANY, "GET", "/x")


@pytest.mark.parametrize("after", ["", "61", "9" * 5000, "-1", "soon", "²"])
def test_a_time_that_is_too_long_or_none_is_not_waited_for(slept: list[float], after: str) -> None:
    busy = http(f"429 Too many\r\nRetry-After: {after}", BUSY)
    with scripted(busy) as server, pytest.raises(RemoteError, match="too much"):
        client_of(server).call(ANY, "GET", "/x")
    assert slept == []


def test_ctrl_c_while_waiting_ends_the_turn_and_asks_no_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted(ok(MADE), http("503 Busy\r\nRetry-After: 7", BUSY), ok({})) as server:
        partner = partner_of(server)
        monkeypatch.setattr(time, "sleep", lambda _: partner._is_stopped or partner.stop())
        Talk(partner, as_json=False).answer("hello")
    assert capsys.readouterr().out == " [stopped]\n"
    assert server.requests[2].startswith(b"POST /v1/conversations/conv_1/stop ")


# --- replies -------------------------------------------------------------------------------------

RESULT = {"text": "Hi there", "finish_reason": "stop", "usage": {"encoded_tokens": 3}}
MESSAGE = {"id": "msg_2", "role": "agent", "text": "Hi there", "result": RESULT}
DONE = ("done", {"message": MESSAGE})


def test_a_reply_is_printed_as_it_comes_without_terminal_controls(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = [("message", {}), ("commit", {"text": "Hi\x1b[2J"}), ("new", 1), DONE]
    with scripted(ok(MADE), streamed(*said)) as server:
        Talk(partner_of(server), as_json=False).answer("hello")
    assert capsys.readouterr() == ("Hi [2J\n", "")
    assert json.loads(server.requests[1].partition(b"\r\n\r\n")[2]) == {
        "text": "hello",
        "stream": True,
        "options": {},
    }


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([("commit", {"text": "Hi"})], "without a word; what reached the server is kept as conv_1"),
        ([("commit", {"text": "Hi"}), ("done", {"message": 1})], "is it a Duologue server"),
        ([("commit", {"text": "Hi"}), ("failed", {"error": "no"})], "is it a Duologue server"),
        ([("commit", {"text": "Hi"}), ("failed", json.loads(BUSY))], "^too much$"),
    ],
)
def test_what_came_of_a_reply_that_breaks_off_is_shown(
    capsys: pytest.CaptureFixture[str], said: list[tuple[str, object]], words: str
) -> None:
    for answer in ("answer", "_answer_line"):
        with scripted(ok(MADE), streamed(*said)) as server:
            talk = Talk(partner_of(server), as_json=False)
            with pytest.raises(RemoteError, match=words):
                getattr(talk, answer)("hello")
        assert capsys.readouterr().out == "Hi\n"


def test_no_stream_where_one_was_asked_for_is_told() -> None:
    with scripted(ok(MADE), ok({})) as server, pytest.raises(RemoteError, match="no stream"):
        list(partner_of(server).stream("hello"))


def test_a_second_ctrl_c_leaves_also_when_the_server_is_stuck() -> None:
    def stuck(connection: socket.socket) -> None:
        connection.sendall(streamed(("commit", {"text": "Hi"})))
        wait_for_the_end(connection)

    with scripted(ok(MADE), stuck, ok({})) as server:
        partner = partner_of(server)
        stream = partner.stream("hello")
        next(stream)
        partner.stop()
        with pytest.raises(KeyboardInterrupt):
            partner.stop()
        stream.close()
