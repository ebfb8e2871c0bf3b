"""A server in a thread, a gate in its model's way, and how to talk to it.

Site        the running server
Gate        decides how many steps its model decodes
Reads       what its encoder is asked to read
start_site  starts one; see conftest.py for the fixtures
begin, say, streaming, events, shown, texts, error_of   talking
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from duologue.server.app import make_app
from duologue.server.options import ServeOptions
from duologue.server.running import Server, listen, open_service
from duologue.server.service import ServedModel, Service

Json = dict[str, Any]
Event = tuple[str, Json]

SHORT = {"max_tokens": 5}
LONG = {"max_tokens": 40, "min_tokens": 40}
WAIT_S = 60  # for what must come; a test that waits so long has failed


class Gate:
    """Lets an engine decode as many steps as a test allows; all of them until it is shut."""

    def __init__(self, engine: Any) -> None:
        self._changed = threading.Condition()
        self._allowed: int | None = None
        self._num_waiting = 0
        self._num_aborts = 0
        self.num_steps = 0
        decode_step, abort = engine._forward.decode_step, engine.abort

        def gated(states: Any, ids: Any) -> Any:
            with self._changed:
                self._num_waiting += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._allowed != 0)
                self._num_waiting -= 1
                self.num_steps += 1
                if self._allowed is not None:
                    self._allowed -= 1
            return decode_step(states, ids)

        def noted(request_id: int) -> None:
            abort(request_id)
            with self._changed:
                self._num_aborts += 1
                self._changed.notify_all()

        engine._forward.decode_step, engine.abort = gated, noted

    def shut(self, allowed: int = 0) -> None:
        """So many steps more, and none after them."""
        with self._changed:
            self._allowed = allowed
            self._changed.notify_all()

    def open(self) -> None:
        """As many steps as there are."""
        with self._changed:
            self._allowed = None
            self._changed.notify_all()

    def wait_until_used_up(self) -> None:
        """Until a step waits at the gate."""
        self._wait(lambda: self._allowed == 0 and self._num_waiting > 0)

    def wait_until_aborted(self, times: int = 1) -> None:
        """Until the engine was told so often to end a request, since this was asked last."""
        self._wait(lambda: self._num_aborts >= times)
        self._num_aborts = 0

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_S)


@dataclass
class Site:
    """A server that runs, and ways to talk to it."""

    url: str
    service: Service
    server: Server
    thread: threading.Thread
    loop: asyncio.AbstractEventLoop
    gate: Gate
    is_stopping: threading.Event
    resources: ExitStack = field(default_factory=ExitStack)

    def client(self, key: str | None = None, **headers: str) -> httpx.Client:
        """A client with connections of its own."""
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        raw = {name: value.encode() for name, value in headers.items()}
        client = httpx.Client(base_url=self.url, headers=raw, timeout=WAIT_S)
        return self.resources.enter_context(client)

    @property
    def served(self) -> ServedModel:
        """The first model."""
        return self.service.model()

    def wait_for_replies(self) -> None:
        """Until no reply is being made."""

        async def wait() -> None:
            await asyncio.gather(*(reply.wait() for reply in self.service._replies))

        asyncio.run_coroutine_threadsafe(wait(), self.loop).result(WAIT_S)

    def stop(self) -> None:
        """As SIGTERM does."""
        self.gate.open()
        self.resources.close()
        self.server.should_exit = True
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive(), "the server does not stop"


class Reads:
    """What the encoder is asked to read."""

    def __init__(self, site: Site) -> None:
        self.ids: list[tuple[int, ...]] = []
        forward = site.served.runtime.forward
        begin_encode = forward.begin_encode

        def noted(ids: Any, memory: Any, is_document: bool = False) -> Any:
            self.ids.append(tuple(ids))
            return begin_encode(ids, memory, is_document)

        forward.begin_encode = noted  # type: ignore[method-assign]


Start = Callable[..., Site]


def start_site(options: ServeOptions, telemetry: Any = None) -> Site:
    """A server on a free port; it takes requests by the time this returns."""
    service = open_service(options)
    (runtime,) = service._runtimes.values()
    gate = Gate(runtime.engine)
    listener = listen(options)
    server = Server(make_app(service, options, telemetry), service, options)
    started, is_stopping = threading.Event(), threading.Event()
    drain = service.drain

    async def draining(grace_s: float) -> None:
        loops[0].call_soon(is_stopping.set)
        await drain(grace_s)

    service.drain = draining  # type: ignore[method-assign]
    loops: list[asyncio.AbstractEventLoop] = []

    def on_start() -> None:
        loops.append(asyncio.get_running_loop())
        started.set()

    def run() -> None:
        with listener:
            server.run(sockets=[listener])

    server.on_start = on_start
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(WAIT_S)
    return Site(url, service, server, thread, loops[0], gate, is_stopping)


# --- talking -------------------------------------------------------------------------------------


def begin(client: httpx.Client, **body: Any) -> str:
    """The id of a new conversation."""
    made = client.post("/v1/conversations", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def say(client: httpx.Client, conversation: str, text: str, **body: Any) -> Json:
    """Say something; {message, reply}."""
    body = {"text": text, "options": SHORT, **body}
    answer = client.post(f"/v1/conversations/{conversation}/messages", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@contextmanager
def streaming(
    client: httpx.Client, conversation: str, text: str, **body: Any
) -> Iterator[Iterator[Event]]:
    """Say something; the events as they come. Leaving early closes the connection."""
    body = {"text": text, "options": LONG, "stream": True, **body}
    path = f"/v1/conversations/{conversation}/messages"
    with client.stream("POST", path, json=body) as response:
        assert response.status_code == 200, response.read()
        yield events(response)


def events(response: httpx.Response) -> Iterator[Event]:
    """Name and data of each event of a stream."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def shown(client: httpx.Client, conversation: str) -> Json:
    """A conversation with its messages."""
    answer = client.get(f"/v1/conversations/{conversation}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def texts(client: httpx.Client, conversation: str) -> list[str]:
    """The texts that are shown of a conversation."""
    return [message["text"] for message in shown(client, conversation)["messages"]]


def error_of(response: httpx.Response, status: int, code: str) -> Json:
    """The error in a response, which has to be the expected one."""
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error"}
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "code", "param"}
    assert error["code"] == code
    return dict(error)
