"""Clients of the service in a process of their own: HTTP/1.1 on plain sockets, several at a time.

    python benchmarks/serve_client.py < PLAN > FOUND

PLAN is JSON: {"port", "users": [[Request]], "arrivals": [seconds]}. Each user has one connection,
and from its arrival on asks one thing after another, as soon as the last answer has ended. FOUND is
JSON too: {"answers": [[Answer]], "wall_s", "cpu_s"}. What comes is hardly looked at before the end
of an answer, so that the clients take little of the processor that they share with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_LAST = b"0\r\n\r\n"  # the end of an answer in chunks


@dataclass(frozen=True)
class Request:
    """marks: pieces of an answer of which any says that its first text is there."""

    path: str
    body: dict[str, Any]
    marks: tuple[str, ...] = ()
    method: str = "POST"

    def content(self) -> bytes:
        """As it is sent."""
        body = json.dumps(self.body).encode()
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


@dataclass(frozen=True)
class Answer:
    """first_s: from the request to the first text; None: there was none."""

    status: int
    first_s: float | None
    total_s: float
    body: str

    def events(self) -> Iterator[tuple[str, Any]]:
        """Name and data of each event of a stream; the name is empty where it has none."""
        name = ""
        for line in self.body.split("\n"):
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: ") and line != "data: [DONE]":
                yield name, json.loads(line.removeprefix("data: "))


class Connection(asyncio.Protocol):
    """One connection, one question at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._ended: asyncio.Future[float] | None = None
        self._pieces: list[bytes] = []
        self._tail = b""
        self._marks: tuple[bytes, ...] = ()
        self._first_s: float | None = None

    @classmethod
    async def open(cls, port: int, receive_bytes: int | None = None) -> Connection:
        """Connect to a port of this machine; receive_bytes: how much may wait to be read."""
        plain = socket.socket()
        if receive_bytes is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plain.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(plain, ("127.0.0.1", port))
        _, made = await loop.create_connection(cls, sock=plain)
        return made

    def rest(self) -> None:
        """Take nothing until go_on is called."""
        assert self._transport is not None
        if self.is_open:
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Take what comes."""
        assert self._transport is not None
        if self.is_open:
            self._transport.resume_reading()

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed it."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """Close it, whatever is on the way."""
        assert self._transport is not None
        self._transport.abort()

    async def ask(self, request: Request) -> Answer:
        """Ask and wait for the whole answer. Raises ConnectionError if it breaks off."""
        assert self._transport is not None
        self._ended = asyncio.get_running_loop().create_future()
        self._pieces, self._tail, self._first_s = [], b"", None
        self._marks = tuple(mark.encode() for mark in request.marks)
        content = request.content()
        begun_s = time.perf_counter()
        self._transport.write(content)
        ended_s = await self._ended
        first_s = None if self._first_s is None else self._first_s - begun_s
        status, body = _parsed(b"".join(self._pieces))
        return Answer(status, first_s, ended_s - begun_s, body)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._ended is None or self._ended.done():
            return
        self._pieces.append(data)
        if self._first_s is None and any(mark in data for mark in self._marks):
            self._first_s = time.perf_counter()
        self._tail = (self._tail + data)[-len(_LAST) :]
        if self._tail == _LAST or self._has_all():
            self._ended.set_result(time.perf_counter())

    def connection_lost(self, _error: Exception | None) -> None:
        """See asyncio."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(ConnectionError("the server closed the connection"))

    def _has_all(self) -> bool:
        """Whether an answer is there that told its length."""
        head, _, body = b"".join(self._pieces[:2]).partition(b"\r\n\r\n")
        if b" 204 " in head[:16]:
            return True
        length = _length(head)
        if length is None:
            return False
        return len(body) + sum(map(len, self._pieces[2:])) >= length


def _length(head: bytes) -> int | None:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return None


def _parsed(content: bytes) -> tuple[int, str]:
    """Status and body of a whole answer."""
    head, _, rest = content.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    if status == 204 or _length(head) is not None:
        return status, rest.decode()
    chunks = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        chunks.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return status, b"".join(chunks).decode()


async def ask_all(
    port: int, users: Sequence[Sequence[Request]], arrivals: Sequence[float]
) -> tuple[list[list[Answer]], float]:
    """The answers to each user, and the seconds from the start to the end of all."""
    connections = [await Connection.open(port) for _ in users]
    begun_s = time.perf_counter()

    async def one(
        connection: Connection, requests: Sequence[Request], arrival_s: float
    ) -> list[Answer]:
        await asyncio.sleep(begun_s + arrival_s - time.perf_counter())
        return [await connection.ask(request) for request in requests]

    each = zip(connections, users, arrivals, strict=True)
    answers = await asyncio.gather(*(one(*values) for values in each))
    wall_s = time.perf_counter() - begun_s
    for connection in connections:
        connection.close()
    return answers, wall_s


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    plan = json.load(sys.stdin)
    users = [[Request(**request) for request in requests] for requests in plan["users"]]
    before_s = time.process_time()
    answers, wall_s = asyncio.run(ask_all(plan["port"], users, plan["arrivals"]))
    found = {
        "answers": [[asdict(answer) for answer in made] for made in answers],
        "wall_s": wall_s,
        "cpu_s": time.process_time() - before_s,
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
