"""A stream of chunks that some work makes, which ends when the reader goes away.

ChunkStream   an answer of type text/event-stream
chunk         one chunk as bytes
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from duologue.errors import DuologueError
from duologue.server.errors import ApiError, body, report
from duologue.server.sse import KEEP_ALIVE

Put = Callable[[bytes], None]
Content = bytes | DuologueError | None  # a chunk, or how it ended
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def chunk(data: dict[str, Any], name: str | None = None) -> bytes:
    """One event; JSON has no line breaks of its own, so one line of data is enough."""
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    event = f"event: {name}\n" if name is not None else ""
    return f"{event}data: {content}\n\n".encode()


class ChunkStream(Response):
    """Streams what some work puts out, as fast as the reader reads it.

    work          is given where to put chunks
    places        are given back at the end
    keep_alive_s  a comment is sent when there was nothing else for so long
    """

    media_type = "text/event-stream"

    def __init__(
        self, work: Callable[[Put], Awaitable[None]], places: ExitStack, keep_alive_s: float
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._work = work
        self._places = places
        self._keep_alive_s = keep_alive_s
        self._chunks: asyncio.Queue[Content] = asyncio.Queue()
        self._waiting: asyncio.Future[Content] | None = None  # for the first one
        self._first: Content = None
        self._task: asyncio.Task[None] | None = None

    async def begin(self, receive: Receive) -> None:
        """Wait for the first chunk. Raises the error that came instead."""
        first = self._waiting = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())
        watcher = asyncio.create_task(self._watch_first(receive, first))
        try:
            content = await first
            if isinstance(content, DuologueError):
                raise content
        except BaseException:
            self._task.cancel()
            self._task = None
            self._places.close()
            raise
        finally:
            self._waiting = None
            watcher.cancel()
        self._first = content

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything; see the ASGI specification."""
        assert self._task is not None
        watcher = asyncio.create_task(self._watch(receive, self._task))
        try:
            head = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **head})
            more = True
            while more:
                content, more = await self._next()
                await send({"type": "http.response.body", "body": content, "more_body": more})
        finally:
            watcher.cancel()
            self._task.cancel()
            self._task = None  # it leads back here, and holds memory as long as it is held
            self._places.close()

    async def _next(self) -> tuple[bytes, bool]:
        """All that is there by now, in one piece, and whether there may be more."""
        content = self._first
        self._first = b""
        if content == b"":
            try:
                async with asyncio.timeout(self._keep_alive_s):
                    content = await self._chunks.get()
            except TimeoutError:
                return KEEP_ALIVE, True
        pieces: list[bytes] = []
        while content is not None:
            pieces.append(chunk(body(content)) if isinstance(content, DuologueError) else content)
            if self._chunks.empty():
                return b"".join(pieces), True
            content = self._chunks.get_nowait()
        return b"".join(pieces), False

    async def _run(self) -> None:
        try:
            await self._work(self._put)
        except DuologueError as error:
            self._put(error)
        except Exception as error:
            report(error)
            self._put(ApiError("internal_error", "the answer could not be finished"))
        self._put(None)

    def _put(self, content: Content) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(content)
        else:
            self._chunks.put_nowait(content)

    async def _watch_first(self, receive: Receive, first: asyncio.Future[Content]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not first.done():
            first.set_exception(ApiError("stopped", "nobody waits for this any more"))

    async def _watch(self, receive: Receive, task: asyncio.Task[None]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        task.cancel()
        self._chunks.put_nowait(None)
