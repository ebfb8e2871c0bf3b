"""Visitors of the service who come and go, in a process of their own.

    python benchmarks/serve_crowd.py < PLAN > FOUND

PLAN is JSON: {"port", "model", "seconds", "visitors", "seed"}. Each visitor does one thing after
another until the time is over, chosen by chance: talks, reads slowly, leaves in the middle, types,
connects without a word. What a visitor stores is deleted again. FOUND is JSON: {"done": {what:
count}, "refused": count, "failed": [problem]}; refused is whoever was told 429 or 503.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from serve_client import Answer, Connection, Request
from serve_texts import SAID
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

_REFUSED = (429, 503)
_LONG = 300  # tokens of a reply that is read slowly, or left


class Visitor:
    """Does things; what went wrong is in `failed`."""

    def __init__(self, plan: dict[str, Any], number: int) -> None:
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []
        self.num_refused = 0
        self._port = plan["port"]
        self._model = plan["model"]
        self._end_s = time.monotonic() + plan["seconds"]
        self._chance = random.Random(f"{plan['seed']} {number}")

    async def run(self) -> None:
        """Until the time is over."""
        actions = (
            self.chats,
            self.leaves_a_chat,
            self.converses,
            self.leaves_a_conversation,
            self.reads_slowly,
            self.types,
            self.leaves_typing,
            self.says_nothing,
        )
        while time.monotonic() < self._end_s:
            action: Callable[[], Awaitable[None]] = self._chance.choice(actions)
            try:
                await action()
            except (OSError, AssertionError, ConnectionClosed) as error:
                self.failed.append(f"{action.__name__}: {type(error).__name__}: {error}")
            self.done[action.__name__] += 1

    # --- what there is to do -----------------------------------------------------------------

    async def chats(self) -> None:
        """Read a whole stream, on a connection that is used again."""
        connection = await Connection.open(self._port)
        for _ in range(2):
            answer = await connection.ask(self._chat(64))
            if self._is_admitted(answer):
                assert answer.body.endswith("data: [DONE]\n\n"), answer.body[-300:]
        connection.close()

    async def leaves_a_chat(self) -> None:
        """Go away at some time."""
        await self._leave(self._chat(_LONG, n=4))

    async def converses(self) -> None:
        """Talk for some turns."""
        async with self._conversation() as (conversation, connection):
            for _ in range(self._chance.randint(1, 4)):
                answer = await connection.ask(self._say(conversation, 48))
                if self._is_admitted(answer):
                    assert [name for name, _ in answer.events()][-1] == "done", answer.body[-300:]

    async def leaves_a_conversation(self) -> None:
        """Go away in the middle of a reply."""
        async with self._conversation() as (conversation, _):
            await self._leave(self._say(conversation, _LONG))

    async def reads_slowly(self) -> None:
        """Take a long reply in small pieces, with rests between."""
        async with self._conversation() as (conversation, _):
            reader = await Connection.open(self._port, receive_bytes=2048)
            asking = asyncio.create_task(reader.ask(self._say(conversation, _LONG)))
            while not asking.done():
                reader.rest()
                await asyncio.sleep(self._chance.uniform(0.05, 0.3))
                reader.go_on()
                await asyncio.sleep(0.01)
            answer = await asking
            if self._is_admitted(answer):
                assert [name for name, _ in answer.events()][-1] == "done", answer.body[-300:]
            reader.close()

    async def types(self) -> None:
        """Type a draft, send it, and read the reply."""
        url = f"ws://127.0.0.1:{self._port}/v1/live"
        async with self._conversation() as (conversation, _), connect(url) as socket:
            await self._type(socket, conversation)
            await socket.send(json.dumps({"type": "send", "conversation_id": conversation}))
            while (event := json.loads(await socket.recv()))["type"] != "done":
                assert event["type"] != "failed", event

    async def leaves_typing(self) -> None:
        """Type a draft and go away."""
        async with connect(f"ws://127.0.0.1:{self._port}/v1/live") as socket:
            await self._type(socket, None)

    async def says_nothing(self) -> None:
        """Connect, wait a little, leave."""
        connection = await Connection.open(self._port)
        await asyncio.sleep(self._chance.uniform(0, 0.2))
        connection.close()

    # --- parts of these ----------------------------------------------------------------------

    def _text(self) -> str:
        return f"{self._chance.choice(SAID)} {self._chance.random()}"

    def _chat(self, max_tokens: int, n: int = 1) -> Request:
        messages = [{"role": "user", "content": self._text()}]
        body = {"model": self._model, "messages": messages, "stream": True}
        return Request("/v1/chat/completions", {**body, "max_tokens": max_tokens, "n": n})

    def _say(self, conversation: str, num_tokens: int) -> Request:
        options = {"max_tokens": num_tokens, "min_tokens": num_tokens}
        body = {"text": self._text(), "stream": True, "options": options}
        return Request(f"/v1/conversations/{conversation}/messages", body)

    @asynccontextmanager
    async def _conversation(self) -> AsyncIterator[tuple[str, Connection]]:
        """A new conversation and a connection; it is deleted in the end."""
        connection = await Connection.open(self._port)
        while not self._is_admitted(
            answer := await connection.ask(Request("/v1/conversations", {}))
        ):
            await asyncio.sleep(1)
        conversation = json.loads(answer.body)["id"]
        try:
            yield conversation, connection
        finally:
            connection.close()
            connection = await Connection.open(self._port)
            request = Request(f"/v1/conversations/{conversation}", {}, method="DELETE")
            while not self._is_admitted(await connection.ask(request)):
                await asyncio.sleep(1)
            connection.close()

    async def _leave(self, request: Request) -> None:
        connection = await Connection.open(self._port)
        asking = asyncio.create_task(connection.ask(request))
        await asyncio.wait({asking}, timeout=self._chance.uniform(0, 0.5))
        asking.cancel()
        connection.close()

    async def _type(self, socket: Any, conversation: str | None) -> None:
        text = self._text()
        for end in range(10, len(text), 10):
            draft = {"type": "draft", "text": text[:end], "translate_to": "zh", "sentiment": True}
            if conversation is not None:
                draft["conversation_id"] = conversation
            await socket.send(json.dumps(draft))
            await asyncio.sleep(0.03)

    def _is_admitted(self, answer: Answer) -> bool:
        if answer.status in _REFUSED:
            self.num_refused += 1
            return False
        assert answer.status in (200, 201, 204), answer.body
        return True


async def visit(plan: dict[str, Any]) -> dict[str, Any]:
    """What all visitors did."""
    visitors = [Visitor(plan, number) for number in range(plan["visitors"])]
    await asyncio.gather(*(visitor.run() for visitor in visitors))
    return {
        "done": sum((visitor.done for visitor in visitors), Counter()),
        "refused": sum(visitor.num_refused for visitor in visitors),
        "failed": [problem for visitor in visitors for problem in visitor.failed],
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    json.dump(asyncio.run(visit(json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
