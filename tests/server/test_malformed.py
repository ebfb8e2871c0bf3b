"""Whatever is sent is answered in one form, never by a 5xx, and does not get into the log."""

from __future__ import annotations

import json
import logging
import random
import re
import socket
from typing import Any

import pytest
from server_site import Site, Start, begin, error_of, say, streaming, texts

from duologue.errors import StorageError
from duologue.server.schemas import OptionChanges

NASTY: list[Any] = [
    None, True, -1, 0, 1e308, -0.0, 2**70, "", "x" * 300, "\ud800", "\0", "‮", [], [[]], {}, {"": 0},
    [None] * 100, {"text": "hello"}, float("nan"), float("inf"), "null", "../../etc/passwd",
]  # fmt: skip
FIELDS = ("text", "parent", "stream", "options", "title", "model", "head", "message_id", "extra")
OPTIONS = tuple(OptionChanges.model_fields)


def is_in_form(answer: Any) -> bool:
    if answer.status_code < 400:
        return True
    error = answer.json()["error"]
    return error.keys() == {"message", "type", "code", "param"} and bool(error["message"])


@pytest.mark.parametrize("seed", range(8))
def test_bodies_of_any_shape_are_answered_without_a_5xx(start: Start, seed: int) -> None:
    site = start(limits={"max_requests_per_minute": 100_000})
    client = site.client()
    chosen = random.Random(seed)
    conversation = begin(client)
    message = say(client, conversation, "hello")["message"]["id"]
    paths = [
        "/v1/conversations",
        f"/v1/conversations/{conversation}",
        f"/v1/conversations/{conversation}/messages",
        f"/v1/conversations/{conversation}/messages/{message}/regenerate",
        f"/v1/conversations/{conversation}/fork",
        f"/v1/conversations/{conversation}/stop",
    ]
    for _ in range(80):
        body = {chosen.choice(FIELDS): chosen.choice(NASTY) for _ in range(chosen.randint(0, 3))}
        if chosen.random() < 0.6:
            body["text"] = "hello"
        if chosen.random() < 0.5:
            names = chosen.sample(OPTIONS, 2)
            body["options"] = {name: chosen.choice(NASTY) for name in names}
        content = json.dumps(body if chosen.random() < 0.9 else chosen.choice(NASTY)).encode()
        if chosen.random() < 0.1:
            content = content[: chosen.randint(0, len(content))]
        answer = client.request(
            chosen.choice(["POST", "PATCH"]),
            chosen.choice(paths),
            content=content,
            headers={"content-type": "application/json"},
        )
        assert answer.status_code < 500, (content, answer.text)
        assert is_in_form(answer), (content, answer.text)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[" * 100_000, 400),
        (b"\xff\xfe", 422),
        (b'{"text": "\\ud800"}', 422),
        (b'{"text": " "}', 400),
        (b'{"text": "hello", "txet": 1}', 422),
        (b'{"text": "hello", "options": {"temperature": NaN}}', 422),
        (b'{"text": "hello", "options": {"beam_size": 2, "temperature": 1}}', 400),
        (b'{"text": "hello", "parent": "msg_nothing"}', 404),
    ],
)
def test_what_cannot_be_used_is_told_and_not_repeated(
    site: Site, content: bytes, status: int
) -> None:
    client = site.client()
    conversation = begin(client)
    answer = client.post(
        f"/v1/conversations/{conversation}/messages",
        content=content,
        headers={"content-type": "application/json"},
    )
    error = error_of(answer, status, "not_found" if status == 404 else "invalid_input")
    assert "hello" not in error["message"]
    assert texts(client, conversation) == []


def test_the_field_at_fault_is_named(site: Site) -> None:
    path = f"/v1/conversations/{begin(site.client())}/messages"
    for body, param in (
        ({}, "text"),
        ({"text": 1}, "text"),
        ({"text": "hello", "txet": 1}, "txet"),
        ({"text": "hello", "options": {"top_p": 2}}, "options.top_p"),
    ):
        error = error_of(site.client().post(path, json=body), 422, "invalid_input")
        assert error["param"] == param
        assert param in error["message"]


def test_unknown_paths_and_methods_are_answered_in_the_same_form(site: Site) -> None:
    client = site.client()
    error_of(client.get("/v1/nothing"), 404, "not_found")
    error_of(client.put("/v1/conversations"), 405, "method_not_allowed")
    for query in ("limit=0", "limit=x", "limit=201", f"query={'x' * 201}"):
        error_of(client.get(f"/v1/conversations?{query}"), 422, "invalid_input")
    for query in ("cursor=nonsense", "query=%ED%A0%80"):
        assert client.get(f"/v1/conversations?{query}").status_code in (200, 400)


def test_what_is_no_http_does_not_disturb_the_others(site: Site) -> None:
    host, port = site.url.removeprefix("http://").split(":")
    for content in (b"\0" * 100, b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/info HTTP/1.1\r\n", b""):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(content)
    assert site.client().get("/health/live").status_code == 200


def test_a_bug_is_told_without_what_was_said(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(site.service.conversations, "page", broken)
    answer = site.client().get("/v1/conversations", params={"query": "a secret"})
    error_of(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert "RuntimeError at" in caplog.text
    assert "secret" not in caplog.text


def test_a_step_that_fails_ends_its_replies_and_nothing_else(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = site.client()
    conversation = begin(client)
    engine = site.served.runtime.engine

    def broken(*_: object) -> None:
        raise RuntimeError("a secret")

    with monkeypatch.context() as patch:
        patch.setattr(engine._forward, "decode_step", broken)
        with streaming(client, conversation, "hello") as stream:
            (_, question), (name, data) = stream
        assert (name, data["error"]["code"]) == ("failed", "engine_error")
        path = f"/v1/conversations/{conversation}/messages/{question['id']}/regenerate"
        error_of(client.post(path), 503, "engine_error")
    assert "secret" not in caplog.text + str(data)
    assert client.post(path).status_code == 200
    assert len(texts(client, conversation)) == 2


def test_a_store_that_fails_ends_the_reply_and_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = site.client()
    conversation = begin(client)

    def broken(*_: object) -> None:
        raise StorageError("the database failed: disk full")

    for method, code in (("ask", 503), ("complete", 503)):
        with monkeypatch.context() as patch:
            patch.setattr(site.service.conversations, method, broken)
            answer = client.post(
                f"/v1/conversations/{conversation}/messages", json={"text": "hello"}
            )
            error_of(answer, code, "storage_error")
        site.wait_for_replies()
        assert site.service.places.num_active == 0
    say(client, conversation, "hello")


def test_nothing_that_was_said_gets_into_the_log(
    site: Site, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    client = site.client()
    conversation = begin(client, title="xyzzy")
    say(client, conversation, "xyzzy hello")
    client.get("/v1/conversations", params={"query": "xyzzy"})
    client.post(f"/v1/conversations/{conversation}/messages", json={"text": "xyzzy", "a": "xyzzy"})
    client.post(f"/v1/conversations/{conversation}/messages", content=b"xyzzy")
    client.get("/v1/xyzzy")
    site.stop()
    written = capfd.readouterr()
    ours = [record for record in caplog.records if not record.name.startswith("http")]
    assert "xyzzy" not in written.out + written.err
    assert not any("xyzzy" in record.getMessage() for record in ours)


def test_metrics_count_and_tell_nothing_else(site: Site) -> None:
    client = site.client()
    conversation = begin(client, title="xyzzy")
    usage = say(client, conversation, "hello")["reply"]["result"]["usage"]
    client.get("/v1/xyzzy")
    text = client.get("/metrics").text
    name = site.served.name
    route = "/v1/conversations/{conversation_id}/messages"
    assert f'duologue_requests_total{{method="POST",route="{route}",status="200"}} 1.0' in text
    for kind in ("encoded", "reused", "produced"):
        line = f'duologue_tokens_total{{kind="{kind}",model="{name}"}} {usage[f"{kind}_tokens"]}.0'
        assert line in text
    assert f'duologue_first_token_seconds_count{{model="{name}"}} 1.0' in text
    forward, cache = site.served.runtime.forward, site.service.cache
    assert cache is not None
    for kind, model, num_bytes in (
        ("weights", name, forward.weight_bytes),
        ("pool", name, forward.pool.used_bytes),
        ("conversations", name, site.served.memories.num_bytes),
        ("disk", "", cache.num_bytes),
    ):
        assert num_bytes > 0
        line = f'duologue_memory_bytes{{kind="{kind}",model="{model}"}}'
        (value,) = re.findall(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
        assert float(value) == num_bytes
    assert "xyzzy" not in text
    assert conversation not in text


def test_a_method_that_nobody_uses_makes_no_series_of_its_own(site: Site) -> None:
    client = site.client()
    for method in ("PROPFIND", "MKCOL"):
        assert client.request(method, "/v1/info").status_code == 405
    counted = client.get("/metrics").text
    assert "PROPFIND" not in counted
    assert 'duologue_requests_total{method="other",route="other",status="405"} 2.0' in counted
