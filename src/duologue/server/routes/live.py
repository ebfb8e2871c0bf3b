"""/v1/live: a WebSocket that reads along while someone types."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from duologue.errors import DuologueError
from duologue.server import errors
from duologue.server.live import LiveSession
from duologue.server.live_frames import DraftFrame, Frame, SendFrame, read_frame
from duologue.server.security import authenticate, bearer
from duologue.server.service import Service

router = APIRouter(prefix="/v1")

PROTOCOL = "duologue"
_KEY = "duologue.key."


@router.websocket("/live")
async def live(socket: WebSocket) -> None:
    """See docs/protocol.md."""
    service: Service = socket.app.state.service
    offered: list[str] = socket.scope.get("subprotocols", [])
    secret = next((one.removeprefix(_KEY) for one in offered if one.startswith(_KEY)), None)
    try:
        access = await authenticate(socket, bearer(socket) or secret, "chat")
        with service.places.stream(access.owner):
            await socket.accept(PROTOCOL if PROTOCOL in offered else None)
            await _converse(socket, service, access.owner)
    except DuologueError as error:
        await socket.send_denial_response(errors.response(error))


async def _converse(socket: WebSocket, service: Service, owner: str) -> None:
    sending = asyncio.Lock()

    async def send(event: dict[str, Any]) -> None:
        content = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        async with sending:
            # Whoever has gone away is noticed below.
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await socket.send_text(content)

    session = LiveSession(service, socket.app.state.dialogues, owner, send)
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            kind: str | None = None
            try:
                service.rates.take(owner)
                frame = read_frame(message.get("text") or message.get("bytes") or "")
                kind = frame.type
                _take(session, frame)
            except DuologueError as error:
                session.fail(error, kind)
    finally:
        await session.close()


def _take(session: LiveSession, frame: Frame) -> None:
    if isinstance(frame, DraftFrame):
        session.draft(frame)
    elif isinstance(frame, SendFrame):
        session.send(frame)
    else:
        session.stop()
