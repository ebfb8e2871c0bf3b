"""People who type into /v1/live, in a process of their own.

    python benchmarks/serve_typing.py < PLAN > FOUND

PLAN is JSON and says what to do: {"port", "typists": [[draft]], "key_s", "pause_s", "words"} to
type, each typist one text after another, or {"port", "sends": [[text, conversation with a draft,
conversation without one]]} to send. FOUND is what type_all or send_all return.

Each key sends the draft as it stands, with a wish for its translation and its sentiment. After
`words` words, and at the end of a text, the typist stops to think for pause_s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from serve_client import Connection, Request
from websockets.asyncio.client import ClientConnection, connect

FIRST = ("commit", "revise")
REREAD_S = 0.3  # after a draft was read and before it is sent


@dataclass(frozen=True)
class Pause:
    """Milliseconds from the last key to what came, None if it never did.

    translated  the last change of the translation
    """

    encoded: float | None
    translated: float | None
    sentiment: float | None


# --- typing --------------------------------------------------------------------------------------


async def type_all(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """All pauses of all typists."""
    typists = (_type(plan, texts, seed) for seed, texts in enumerate(plan["typists"]))
    return [asdict(pause) for pauses in await asyncio.gather(*typists) for pause in pauses]


async def _type(plan: dict[str, Any], texts: list[str], seed: int) -> list[Pause]:
    await asyncio.sleep(seed * plan["key_s"] / len(plan["typists"]))  # not all at the same moment
    pauses = []
    async with connect(f"ws://127.0.0.1:{plan['port']}/v1/live", compression=None) as socket:
        for text in texts:
            num_words = 0
            for end in range(1, len(text) + 1):
                typed_s = time.perf_counter()
                await _draft(socket, text[:end])
                is_word = text[end : end + 1] in ("", " ")
                num_words += is_word
                is_pause = end == len(text) or (is_word and num_words % plan["words"] == 0)
                if is_pause:
                    pauses.append(await _pause(socket, typed_s, plan["pause_s"]))
                else:
                    await _events(socket, typed_s + plan["key_s"])
    return pauses


async def _draft(socket: ClientConnection, text: str, **more: str) -> None:
    draft = {"type": "draft", "text": text, "translate_to": "zh", "sentiment": True, **more}
    await socket.send(json.dumps(draft))


async def _pause(socket: ClientConnection, typed_s: float, seconds: float) -> Pause:
    came: dict[str, float] = {}
    translation = ""
    for when_s, event in await _events(socket, typed_s + seconds):
        assert event["type"] != "failed", event
        if event["type"] == "translation" and event["commit"] + event["revise"] == translation:
            continue  # the end of it, which changes nothing
        translation = event.get("commit", "") + event.get("revise", "")
        came[event["type"]] = 1e3 * (when_s - typed_s)
    return Pause(*(came.get(kind) for kind in ("encoded", "translation", "sentiment")))


async def _events(socket: ClientConnection, until_s: float) -> list[tuple[float, dict[str, Any]]]:
    """What comes until then, and when."""
    events = []
    while (left_s := until_s - time.perf_counter()) > 0:
        try:
            async with asyncio.timeout(left_s):
                content = await socket.recv()
        except TimeoutError:
            break
        events.append((time.perf_counter(), json.loads(content)))
    return events


# --- sending -------------------------------------------------------------------------------------


async def send_all(plan: dict[str, Any]) -> list[dict[str, float]]:
    """Milliseconds to the first text of each reply, with a draft that was read before and without.

    Both in turn, and each first every other time.
    """
    found = []
    for number, (text, with_one, without) in enumerate(plan["sends"]):
        ways = [("draft", with_one), ("post", without)]
        times = {}
        for name, conversation in ways if number % 2 else reversed(ways):
            send = _send if name == "draft" else _post
            times[name] = 1e3 * await send(plan["port"], text, conversation)
        found.append(times)
    return found


async def _send(port: int, text: str, conversation: str) -> float:
    async with connect(f"ws://127.0.0.1:{port}/v1/live", compression=None) as socket:
        await _draft(socket, text, conversation_id=conversation)
        kinds: set[str] = set()
        while not {"encoded", "sentiment", "translation"} <= kinds:
            kinds.add(json.loads(await socket.recv())["type"])
        await _events(socket, time.perf_counter() + REREAD_S)
        begun_s = time.perf_counter()
        await socket.send(json.dumps({"type": "send", "conversation_id": conversation}))
        first_s = None
        while True:
            event = json.loads(await socket.recv())
            if event["type"] in FIRST and first_s is None:
                first_s = time.perf_counter() - begun_s
            if event["type"] in ("done", "failed"):
                assert first_s is not None, event
                return first_s


async def _post(port: int, text: str, conversation: str) -> float:
    connection = await Connection.open(port)
    marks = tuple(f"event: {name}" for name in FIRST)
    path = f"/v1/conversations/{conversation}/messages"
    answer = await connection.ask(Request(path, {"text": text, "stream": True}, marks))
    connection.close()
    assert answer.first_s is not None, answer.body
    return answer.first_s


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    plan = json.load(sys.stdin)
    work = type_all(plan) if "typists" in plan else send_all(plan)
    json.dump(asyncio.run(work), sys.stdout)


if __name__ == "__main__":
    main()
