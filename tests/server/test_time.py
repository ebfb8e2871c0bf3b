"""Work that takes too long, or that nobody waits for, ends between two pieces of it."""

from __future__ import annotations

import asyncio
import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from server_site import WAIT_S, Json, Site, Start, error_of

from duologue.server.errors import ApiError

HELLO = "hello how are you"
ON_THREADS = {
    "/v1/encode": {"text": HELLO},
    "/v1/sentiment": {"text": HELLO},
    "/v1/embeddings": {"model": "transformer-int8", "input": [HELLO, HELLO]},
}
ON_ENGINE = {
    "/v1/translate": {"text": HELLO, "to": "zh"},
    "/v1/chat/completions": {
        "model": "transformer-int8",
        "messages": [{"role": "user", "content": HELLO}],
        "n": 2,
    },
    "/v1/responses": {"model": "transformer-int8", "input": HELLO},
}


class Endless:
    """An encoder that never comes to an end; told of by events.

    begun  something is being read
    ended  what was being read was given up
    """

    def __init__(self, site: Site) -> None:
        self.begun, self.ended = threading.Event(), threading.Event()
        site.served.runtime.forward.begin_encode = self._begin  # type: ignore[method-assign]

    def _begin(self, *_: Any) -> Any:
        reading = _Reading(self.begun)
        weakref.finalize(reading, self.ended.set)
        return reading


class _Reading:
    def __init__(self, begun: threading.Event) -> None:
        self._begun = begun

    def advance(self) -> bool:
        self._begun.set()
        return False


def asking(site: Site, path: str, body: Json) -> Future[httpx.Response]:
    """The answer to a request, which is sent by another thread."""
    client = site.client()
    threads = ThreadPoolExecutor(1)
    site.resources.callback(threads.shutdown)
    return threads.submit(lambda: client.post(path, json=body))


def is_idle(site: Site) -> bool:
    return site.service.places.num_active == site.service._num_working == 0


# --- too long ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "body"), ON_THREADS.items())
def test_what_is_read_for_too_long_is_ended(start: Start, path: str, body: Json) -> None:
    site = start(limits={"max_request_s": 0.2})
    endless = Endless(site)
    error = error_of(site.client().post(path, json=body), 503, "timeout")
    assert "max_request_s" in error["message"]
    assert endless.begun.is_set()
    assert endless.ended.wait(WAIT_S)
    assert is_idle(site)


@pytest.mark.parametrize(("path", "body"), ON_ENGINE.items())
def test_what_is_said_for_too_long_is_ended(start: Start, path: str, body: Json) -> None:
    site = start(limits={"max_request_s": 0.2})
    site.gate.shut(1)
    error_of(site.client().post(path, json=body), 503, "timeout")
    site.gate.wait_until_aborted()
    site.gate.open()
    assert is_idle(site)


def test_a_page_of_many_texts_has_no_more_time_than_one_text(start: Start) -> None:
    site = start(limits={"max_request_s": 0.2, "max_texts": 1})
    site.gate.shut(1)
    body = {"q": "<p>hello</p><p>how are you</p>", "source": "en", "target": "zh"}
    answer = site.client().post("/translate", json={**body, "format": "html"})
    assert answer.status_code == 503
    assert "max_request_s" in answer.json()["error"]
    site.gate.open()


# --- nobody waits --------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "body"), ON_THREADS.items())
def test_who_goes_away_ends_the_reading(site: Site, path: str, body: Json) -> None:
    endless = Endless(site)
    with pytest.raises(httpx.ReadTimeout):
        site.client().post(path, json=body, timeout=0.3)
    assert endless.ended.wait(WAIT_S)
    assert site.client().get("/health/ready").status_code == 200
    assert is_idle(site)


# --- the server goes down ------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "body"), ON_THREADS.items())
def test_a_stop_ends_what_is_read_after_the_grace_time(start: Start, path: str, body: Json) -> None:
    site = start(grace_s=0.1)
    endless = Endless(site)
    answer = asking(site, path, body)
    assert endless.begun.wait(WAIT_S)
    site.server.should_exit = True
    error = error_of(answer.result(WAIT_S), 503, "stopped")
    assert "going down" in error["message"]
    assert endless.ended.wait(WAIT_S)
    site.thread.join(WAIT_S)
    assert not site.thread.is_alive()


@pytest.mark.parametrize(("path", "body"), ON_ENGINE.items())
def test_a_stop_ends_what_is_said_after_the_grace_time(start: Start, path: str, body: Json) -> None:
    site = start(grace_s=0.1)
    site.gate.shut(1)
    answer = asking(site, path, body)
    site.gate.wait_until_used_up()
    site.server.should_exit = True
    error_of(answer.result(WAIT_S), 503, "stopped")


def test_a_stop_lets_what_was_begun_end(start: Start) -> None:
    site = start()
    site.gate.shut(1)
    body = {"q": [HELLO, "what time"], "source": "en", "target": "zh"}
    answer = asking(site, "/translate", body)
    site.gate.wait_until_used_up()
    site.server.should_exit = True
    assert site.is_stopping.wait(WAIT_S)
    site.gate.open()
    assert len(answer.result(WAIT_S).json()["translatedText"]) == 2


def test_what_begins_after_the_grace_time_is_ended_at_once(site: Site) -> None:
    async def begin_late() -> None:
        await site.service.drain(0)
        async with site.service.timed():
            await asyncio.Event().wait()

    with pytest.raises(ApiError, match="going down"):
        asyncio.run_coroutine_threadsafe(begin_late(), site.loop).result(WAIT_S)
