"""Streams of events, where readers are slow, silent or gone."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from typing import Any

import pytest

from duologue.server import sse
from duologue.server.replies import Outbox
from duologue.types import Commit, Done, Result


class Running:
    """Of a RunningReply, what a stream needs."""

    def __init__(self) -> None:
        self.outbox = Outbox(join_s=0)
        self.num_stops = 0

    def stop(self) -> None:
        self.num_stops += 1


class Reader:
    """The other end of the connection; it goes away when `gone` is set."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        await self.takes.wait()
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def stream(running: Running, closed: list[bool], keep_alive_s: float = 60) -> sse.EventStream:
    places = ExitStack()
    places.callback(closed.append, True)
    return sse.EventStream(
        running,  # type: ignore[arg-type]
        lambda event: sse.frame(type(event).__name__, {}),
        places,
        keep_alive_s,
        first=b"first\n\n",
    )


def test_a_frame_is_one_line_whatever_the_text(tmp_path: object) -> None:
    text = "a\nb\r\nc\u2028d\x85\0你"
    sent = sse.frame("commit", {"text": text})
    head, data, *rest = sent.split(b"\n")
    assert head == b"event: commit"
    assert rest == [b"", b""]
    assert b"\r" not in sent
    assert json.loads(data.removeprefix(b"data: ")) == {"text": text}


def test_events_are_sent_and_the_place_is_given_back() -> None:
    async def main() -> None:
        running, reader, closed = Running(), Reader(), []
        running.outbox.put(Commit("a"))
        running.outbox.put(Done(Result("a", "stop")))
        await stream(running, closed)({}, reader.receive, reader.send)  # type: ignore[arg-type]
        start, *_, end = reader.sent
        headers = dict(start["headers"])
        assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
        assert headers[b"x-accel-buffering"] == b"no"
        assert b"content-length" not in headers
        assert not end["more_body"]
        expected = b"first\n\nevent: Commit\ndata: {}\n\nevent: Done\ndata: {}\n\n"
        assert reader.body == expected
        assert closed == [True]

    asyncio.run(main())


def test_a_silent_stream_is_kept_alive_by_comments() -> None:
    async def main() -> None:
        running, reader, closed = Running(), Reader(), []
        task = asyncio.create_task(
            stream(running, closed, keep_alive_s=0.001)({}, reader.receive, reader.send)  # type: ignore[arg-type]
        )
        while reader.body.count(sse.KEEP_ALIVE) < 3:
            await asyncio.sleep(0)
        running.outbox.put(Done(Result("a", "stop")))
        await task
        assert reader.body.startswith(b"first\n\n: keep-alive\n\n")
        assert reader.body.endswith(b"event: Done\ndata: {}\n\n")

    asyncio.run(main())


def test_a_reader_that_goes_away_stops_the_reply() -> None:
    async def main() -> None:
        running, reader, closed = Running(), Reader(), []
        task = asyncio.create_task(stream(running, closed)({}, reader.receive, reader.send))  # type: ignore[arg-type]
        reader.gone.set()
        while not running.num_stops:
            await asyncio.sleep(0)
        running.outbox.put(Done(Result("a", "abort")))
        await task
        assert closed == [True]

    asyncio.run(main())


def test_a_reader_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_SEND_S", 0.01)

    async def main() -> None:
        running, reader, closed = Running(), Reader(), []
        response = stream(running, closed)
        send = reader.send

        async def stuck(message: dict[str, Any]) -> None:
            await send(message)
            reader.takes.clear()

        await response({}, reader.receive, stuck)  # type: ignore[arg-type]
        assert [message["type"] for message in reader.sent] == ["http.response.start"]
        assert running.num_stops > 0
        assert closed == [True]

    asyncio.run(main())
