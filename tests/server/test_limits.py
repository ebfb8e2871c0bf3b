"""Every limit is tried, and every error has the form that the protocol gives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from server_site import LONG, Site, Start, begin, error_of, say, shown, streaming, texts

from duologue.errors import ConfigError
from duologue.server import limits
from duologue.server.errors import ApiError
from duologue.server.limits import Limits, RateLimiter
from duologue.server.options import read_options

# --- one request ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "options"),
    [
        ({"max_tokens": 7}, {"max_tokens": 8}),
        ({"max_beam_size": 2}, {"beam_size": 3}),
        ({"max_hypotheses": 2}, {"num_hypotheses": 3, "temperature": 1}),
    ],
)
def test_options_beyond_a_limit_are_refused_and_the_limit_is_named(
    start: Start, limits: dict[str, int], options: dict[str, Any]
) -> None:
    client = start(limits=limits).client()
    conversation = begin(client)
    path = f"/v1/conversations/{conversation}/messages"
    ((name, most),) = limits.items()
    error = error_of(
        client.post(path, json={"text": "hello", "options": options}), 400, "invalid_input"
    )
    assert name in error["message"]
    assert f"{most} " in error["message"]
    assert error["param"] in options
    assert texts(client, conversation) == []
    within = {key: min(value, most) for key, value in options.items()}
    say(client, conversation, "hello", options=within)


def test_a_text_with_too_many_tokens_is_refused_before_it_is_stored(start: Start) -> None:
    client = start(limits={"max_source_tokens": 20}).client()
    conversation = begin(client)
    path = f"/v1/conversations/{conversation}/messages"
    error = error_of(client.post(path, json={"text": "hello " * 50}), 400, "invalid_input")
    assert "20 (max_source_tokens)" in error["message"]
    assert texts(client, conversation) == []
    say(client, conversation, "hello how are you today")  # more bytes than tokens are allowed


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(start: Start, is_chunked: bool) -> None:
    client = start(limits={"max_body_bytes": 1000}).client()
    client.headers["content-type"] = "application/json"

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 100

    content = chunks() if is_chunked else b" " * 1001
    error = error_of(client.post("/v1/conversations", content=content), 413, "too_large")
    assert "1,000 bytes (max_body_bytes)" in error["message"]
    assert client.post("/v1/conversations", content=b"{}" + b" " * 998).status_code == 201


def test_a_reply_that_takes_too_long_is_ended_and_kept(start: Start) -> None:
    site = start(limits={"max_request_s": 0.5})
    client = site.client()
    conversation = begin(client)
    site.gate.shut(8)
    with streaming(client, conversation, "hello") as stream:
        assert [next(stream)[0] for _ in range(2)] == ["message", "commit"]
        site.gate.wait_until_aborted()
        site.gate.open()
        *_, (name, done) = stream
    assert (name, done["message"]["finish_reason"]) == ("done", "abort")
    site.gate.shut()
    with streaming(site.client(), begin(client), "what time") as earlier:
        next(earlier)
        site.gate.wait_until_used_up()
        with streaming(client, conversation, "hello") as stream:
            next(stream)
            site.gate.wait_until_aborted(times=2)
            site.gate.open()
            ((name, data),) = stream
    assert (name, data["error"]["code"]) == ("failed", "timeout")


# --- how many, how often -------------------------------------------------------------------------


def test_requests_are_counted_by_the_minute(start: Start) -> None:
    client = start(limits={"max_requests_per_minute": 3}).client()
    for _ in range(3):
        assert client.get("/v1/info").status_code == 200
    refused = client.get("/v1/info")
    assert "max_requests_per_minute" in error_of(refused, 429, "rate_limited")["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert client.get("/health/live").status_code == 200


def test_a_rate_is_that_of_one_owner_and_comes_back_with_time() -> None:
    now_s = [0.0]
    rates = RateLimiter(60, clock=lambda: now_s[0])
    for _ in range(60):
        rates.take("ann")
    with pytest.raises(ApiError) as refused:
        rates.take("ann")
    assert refused.value.retry_after_s == pytest.approx(1)
    rates.take("bob")
    now_s[0] += 1.5
    rates.take("ann")
    with pytest.raises(ApiError) as refused:
        rates.take("ann")
    assert refused.value.retry_after_s == pytest.approx(0.5)
    now_s[0] += 1e6
    for _ in range(60):
        rates.take("ann")
    with pytest.raises(ApiError):
        rates.take("ann")


def test_owners_that_come_once_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MAX_BUCKETS", 10)
    rates = RateLimiter(1)
    for number in range(50):
        rates.take(str(number))
    assert len(rates._buckets) == 10
    with pytest.raises(ApiError):
        rates.take("49")


def test_open_streams_are_counted(start: Start) -> None:
    site = start(limits={"max_streams": 2})
    client = site.client()
    made = [begin(client) for _ in range(3)]
    site.gate.shut(4)
    with streaming(site.client(), made[0], "hello") as first:
        next(first)
        with streaming(site.client(), made[1], "hello") as second:
            next(second)
            body = {"text": "hello", "stream": True}
            refused = client.post(f"/v1/conversations/{made[2]}/messages", json=body)
            assert "2 streams" in error_of(refused, 429, "rate_limited")["message"]
            assert refused.headers["retry-after"] == "1"
            site.gate.open()
            assert [list(stream)[-1][0] for stream in (first, second)] == ["done", "done"]
    say(client, made[2], "hello", stream=False)
    assert site.service.places.num_streams == 0


def test_an_overloaded_server_refuses_at_once_and_goes_on_telling_its_health(start: Start) -> None:
    site = start(limits={"max_active": 2})
    client = site.client()
    made = [begin(client) for _ in range(3)]
    site.gate.shut(4)
    answers: list[Any] = []

    def ask(conversation: str) -> None:
        answers.append(say(site.client(), conversation, "hello", options=LONG))

    threads = [threading.Thread(target=ask, args=(one,)) for one in made[:2]]
    for thread in threads:
        thread.start()
    site.gate.wait_until_used_up()
    while site.service.places.num_active < 2:
        assert client.get("/health/ready").status_code == 200
    for stream in (True, False):
        body = {"text": "hello", "stream": stream}
        refused = client.post(f"/v1/conversations/{made[2]}/messages", json=body)
        assert "2 requests" in error_of(refused, 503, "overloaded")["message"]
        assert int(refused.headers["retry-after"]) >= 1
    assert texts(client, made[2]) == []
    assert not shown(client, made[2])["replying"]
    # The engine stands still, and yet:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/v1/conversations").status_code == 200
    assert "duologue_active_requests 2.0" in client.get("/metrics").text
    site.gate.open()
    for thread in threads:
        thread.join()
    assert [answer["reply"]["finish_reason"] for answer in answers] == ["length", "length"]
    say(client, made[2], "hello")


def test_a_full_queue_of_the_engine_is_overload_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = site.served.runtime.engine._scheduler
    monkeypatch.setattr(
        scheduler, "options", type(scheduler.options)(max_waiting=1, max_client_waiting=1)
    )
    client = site.client()
    made = [begin(client) for _ in range(3)]
    site.gate.shut()
    with streaming(site.client(), made[0], "hello") as first:
        next(first)
        site.gate.wait_until_used_up()
        with streaming(site.client(), made[1], "hello") as second:
            next(second)
            refused = client.post(f"/v1/conversations/{made[2]}/messages", json={"text": "hello"})
            assert "max_client_waiting" in error_of(refused, 503, "overloaded")["message"]
            assert texts(client, made[2]) == []
            site.gate.open()
            assert [list(stream)[-1][0] for stream in (first, second)] == ["done", "done"]


def test_the_memory_of_a_model_is_its_weights_and_what_it_holds(site: Site) -> None:
    client, forward = site.client(), site.served.runtime.forward

    def told() -> int:
        (model,) = client.get("/v1/info").json()["models"]
        return int(model["memory_bytes"])

    assert told() == forward.weight_bytes > 0
    say(client, begin(client), "hello")
    assert told() == forward.weight_bytes + forward.pool.used_bytes > forward.weight_bytes


# --- settings ------------------------------------------------------------------------------------


def test_the_limits_are_told(start: Start) -> None:
    limits = start(limits={"max_tokens": 7}).client().get("/v1/info").json()["limits"]
    assert limits.keys() == {field.name for field in fields(Limits)}
    assert limits["max_tokens"] == 7


@pytest.mark.parametrize("field", fields(Limits), ids=lambda field: field.name)
def test_a_limit_is_positive(field: Any) -> None:
    for value in (0, -1):
        with pytest.raises(ConfigError, match=f"{field.name} must be positive"):
            read_options(None, limits={field.name: value})
