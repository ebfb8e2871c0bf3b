"""Events over HTTP: a stream that ends its reply when the reader goes away.

EventStream   an answer of type text/event-stream, read from a Running
while_here    the same care for a request that is answered at once
frame         one event as bytes
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from duologue.errors import DuologueError
from duologue.server.replies import Running
from duologue.types import Event

KEEP_ALIVE = b": keep-alive\n\n"
MAX_SEND_S = 60.0  # a reader that takes nothing for so long has gone, whatever its network says
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would wait for more
}


def frame(name: str, data: dict[str, Any]) -> bytes:
    """One named event. JSON has no line breaks of its own, so one line of data is enough."""
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {content}\n\n".encode()


class EventStream(Response):
    """Streams the events of a reply, as fast as the reader reads them.

    first         what is sent before the events
    to_bytes      an event, or the error that ends the stream, as it is sent
    places        are given back when the stream ends
    keep_alive_s  a comment is sent when there was nothing else for so long
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        running: Running,
        to_bytes: Callable[[Event | DuologueError], bytes],
        places: ExitStack,
        keep_alive_s: float,
        first: bytes = b"",
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._running = running
        self._to_bytes = to_bytes
        self._places = places
        self._keep_alive_s = keep_alive_s
        self._first = first

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything; see the ASGI specification."""
        async with while_here(receive, self._running):
            try:
                await send(
                    {
                        "type": "http.response.start",
                        "status": self.status_code,
                        "headers": self.raw_headers,
                    }
                )
                async for chunk in self._chunks():
                    async with asyncio.timeout(MAX_SEND_S):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except TimeoutError:
                return  # the server closes the connection of an answer without an end
            finally:
                self._places.close()

    async def _chunks(self) -> AsyncIterator[bytes]:
        if self._first:
            yield self._first
        outbox = self._running.outbox
        is_over = False
        while not is_over:
            try:
                async with asyncio.timeout(self._keep_alive_s):
                    events = await outbox.get()
            except TimeoutError:
                yield KEEP_ALIVE
                continue
            yield b"".join(map(self._to_bytes, events))
            is_over = outbox.is_over


@asynccontextmanager
async def while_here(receive: Receive, running: Running) -> AsyncIterator[None]:
    """Stop a reply if its reader goes away, or the block is left before the end.

    receive  of the request, whose body was read
    """

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        running.stop()

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
        running.stop()  # does nothing to one that is over
