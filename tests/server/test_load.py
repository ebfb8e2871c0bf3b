"""Many clients talk, leave, stop, fork and delete at the same time, and nothing stays behind."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import httpx
import pytest
from server_site import LONG, Site, begin, events, shown

ALLOWED = (200, 201, 204, 404, 409)


class Visitor(threading.Thread):
    """Does this and that in two conversations of its own, and one that all share."""

    def __init__(self, site: Site, seed: int, shared: str) -> None:
        super().__init__()
        self.problem: BaseException | None = None
        self.own: list[str] = []
        self._chosen = random.Random(seed)
        self._client = site.client()
        self._shared = shared

    def run(self) -> None:
        try:
            for _ in range(15):
                self._do_something()
        except BaseException as error:
            self.problem = error

    def _do_something(self) -> None:
        chosen, client = self._chosen, self._client
        if not self.own or chosen.random() < 0.2:
            self.own.append(begin(client))
        own = chosen.choice(self.own)
        actions: list[Callable[[], None]] = [
            lambda: self._listen(own, chosen.randint(0, 3)),
            lambda: self._listen(own, None),
            lambda: self._listen(self._shared, chosen.randint(0, 3)),
            lambda: self._send(f"/{self._shared}/stop"),
            lambda: self._send(f"/{own}/fork"),
            lambda: self._send(f"/{own}/messages", text="what time", options={"max_tokens": 4}),
            lambda: self._erase(own),
            lambda: self._expect(client.get("/v1/conversations", params={"query": "time"})),
        ]
        chosen.choice(actions)()

    def _listen(self, conversation: str, num_events: int | None) -> None:
        """Listen to a reply, or leave after some events."""
        body = {"text": "hello how are you", "options": LONG, "stream": True}
        path = f"/v1/conversations/{conversation}/messages"
        with self._client.stream("POST", path, json=body) as response:
            self._expect(response)
            if response.status_code == 200:
                for number, (name, _) in enumerate(events(response)):
                    assert name != "failed" or conversation == self._shared
                    if number == num_events:
                        return

    def _send(self, path: str, **body: object) -> None:
        answer = self._client.post(f"/v1/conversations{path}", json=body or None)
        # What has no messages cannot be forked.
        assert answer.status_code in (*ALLOWED, 400), answer.text

    def _erase(self, conversation: str) -> None:
        self._expect(self._client.delete(f"/v1/conversations/{conversation}"))
        self.own.remove(conversation)

    def _expect(self, answer: httpx.Response) -> None:
        assert answer.status_code in ALLOWED, answer.read()


@pytest.mark.parametrize("seed", range(2))
def test_a_crowd_leaves_nothing_behind(site: Site, seed: int) -> None:
    client = site.client()
    shared = begin(client)
    visitors = [Visitor(site, 10 * seed + number, shared) for number in range(6)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert [visitor.problem for visitor in visitors] == [None] * len(visitors)
    site.wait_for_replies()
    for conversation in (shared, *(name for visitor in visitors for name in visitor.own)):
        path = shown(client, conversation)["messages"]
        assert all(message["status"] == "complete" for message in path)
        assert [message["parent"] for message in path[1:]] == [one["id"] for one in path[:-1]]
    while page := client.get("/v1/conversations").json()["data"]:
        for conversation in page:
            assert client.delete(f"/v1/conversations/{conversation['id']}").status_code == 204
    service, served = site.service, site.served
    assert service.places.num_active == service.places.num_streams == served.bridge.num_live == 0
    dialogues = site.server.config.app.state.dialogues  # type: ignore[union-attr]
    assert dialogues._running == dialogues._paths._kept == {}
    assert served.memories.num_bytes == served.runtime.forward.pool.used_bytes == 0
    assert service.cache is not None
    assert list(service.cache._folder.iterdir()) == []
    served.runtime.engine.check(held_bytes=0)
