"""Spans tell what a request took, and nothing of what was said in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from http_listener import listening
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from server_site import SHORT, WAIT_S, Start, begin, error_of, say, streaming, texts
from websockets.sync.client import connect

from duologue.errors import ConfigError
from duologue.server.running import open_store, open_telemetry
from duologue.server.telemetry import Telemetry
from duologue.storage.keys import Keys

SAID = "quokka"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAY = "POST /v1/conversations/{conversation_id}/messages"
ATTRIBUTES = {
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "duologue.encoded_tokens",
    "duologue.finish_reason",
    "duologue.model",
    "duologue.produced_tokens",
    "duologue.reused_tokens",
}


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def telemetry(spans: InMemorySpanExporter) -> Telemetry:
    return Telemetry(SimpleSpanProcessor(spans))


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_reply_is_told_stage_by_stage_in_the_trace_of_its_client(
    start: Start, telemetry: Telemetry, spans: InMemorySpanExporter
) -> None:
    site = start(telemetry=telemetry)
    conversation = begin(site.client())
    client = site.client(traceparent=f"00-{TRACE}-{PARENT}-01")
    reply = say(client, conversation, "hello", options={"max_tokens": 5, "min_tokens": 5})["reply"]
    site.stop()
    (request,) = named(spans, SAY)
    assert told(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/conversations/{conversation_id}/messages",
        "http.response.status_code": 200,
    }
    assert f"{request.context.trace_id:032x}" == TRACE
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT
    stages = [span for span in spans.get_finished_spans() if span.parent == request.context]
    assert [span.name for span in stages] == ["queue", "encode", "first_token", "decode"]
    queue, encode, first_token, decode = stages
    assert told(queue) == told(first_token) == {"duologue.model": site.served.name}
    assert told(encode)["duologue.encoded_tokens"] > 0
    assert told(encode)["duologue.reused_tokens"] == 0
    assert told(decode)["duologue.produced_tokens"] == reply["result"]["usage"]["produced_tokens"]
    assert told(decode)["duologue.finish_reason"] == "length"
    assert request.start_time is not None
    assert request.start_time <= queue.start_time
    for stage, following in pairwise(stages):
        assert stage.start_time <= stage.end_time
        assert abs(stage.end_time - following.start_time) < 1e6  # a clock is read for each
    assert told(encode).keys() | told(decode).keys() <= ATTRIBUTES


def test_a_reply_that_nobody_waits_for_has_the_stages_that_it_reached(
    start: Start, telemetry: Telemetry, spans: InMemorySpanExporter
) -> None:
    site = start(telemetry=telemetry)
    client = site.client()
    conversation = begin(client)
    site.gate.shut()
    with streaming(client, conversation, "hello"):
        site.gate.wait_until_used_up()
    site.gate.wait_until_aborted()
    site.gate.open()
    site.wait_for_replies()
    site.stop()
    (request,) = named(spans, SAY)
    stages = [span for span in spans.get_finished_spans() if span.parent == request.context]
    assert [span.name for span in stages][:3] == ["queue", "encode", "first_token"]


def test_no_span_holds_what_anybody_said_or_who_it_was(
    start: Start, telemetry: Telemetry, spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    database = open_store(tmp_path / "data", None)
    _, secret = Keys(database).create(SAID, ["chat", "translate"])
    database.close()
    site = start(telemetry=telemetry)
    client = site.client(
        secret,
        traceparent=f"00-{TRACE}-{PARENT}-01",
        tracestate=f"{SAID}={SAID}",
        baggage=f"{SAID}={SAID}",
        **{"user-agent": SAID},
    )
    conversation = begin(client, title=SAID)
    say(client, conversation, f"{SAID} hello")
    with streaming(client, conversation, SAID, options=SHORT) as events:
        list(events)
    client.get("/v1/conversations", params={"query": SAID})
    client.get(f"/v1/conversations/{SAID}")
    client.get(f"/{SAID}")
    client.request(SAID.upper(), "/v1/info")  # some parsers refuse it before anything sees it
    client.request("PROPFIND", "/v1/info")
    client.post("/v1/translate", json={"text": SAID, "to": SAID})
    client.post("/v1/sentiment", json={"text": SAID, SAID: SAID})
    client.post("/translate", json={"q": SAID, "target": "zh", "api_key": secret})
    chat = {"model": SAID, "messages": [{"role": "user", "content": SAID}]}
    error_of(client.post("/v1/chat/completions", json=chat), 404, "not_found")
    client.post("/v1/chat/completions", json={**chat, "model": site.served.name})
    protocols = ["duologue", f"duologue.key.{secret}"]
    url = site.url.replace("http", "ws") + "/v1/live"
    with connect(url, subprotocols=protocols, proxy=None, open_timeout=WAIT_S) as socket:  # type: ignore[arg-type]
        socket.send(json.dumps({"type": "draft", "text": SAID, "conversation_id": conversation}))
        assert json.loads(socket.recv(WAIT_S))["type"] == "encoded"
    key_id = secret.split("_")[1]
    hidden = [SAID, secret, secret.split("_")[2], key_id, conversation, "127.0.0.1"]
    hidden += [text for text in texts(client, conversation) if len(text) > 3]
    site.stop()
    finished = spans.get_finished_spans()
    assert {"GET /v1/live", "GET other", "other other", SAY, "decode"} <= {
        span.name for span in finished
    }
    for span in finished:
        assert told(span).keys() <= ATTRIBUTES
        assert span.events == ()
        assert span.links == ()
        assert span.status.description is None
        content = span.to_json().lower()
        assert not [one for one in hidden if one.lower() in content], content


def test_what_a_client_does_not_record_is_not_recorded(
    start: Start, telemetry: Telemetry, spans: InMemorySpanExporter
) -> None:
    site = start(telemetry=telemetry)
    client = site.client(traceparent=f"00-{TRACE}-{PARENT}-00")
    say(client, begin(client), "hello")
    client.get("/health/ready")
    site.client(traceparent="00-nonsense").get("/health/live")
    site.stop()
    assert spans.get_finished_spans() == ()


def test_spans_reach_a_collector_before_the_server_ends(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector() as (url, bodies):
        monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")  # whose spans would say more
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        site = start(telemetry=open_telemetry(os.environ))
        client = site.client()
        say(client, begin(client), f"{SAID} hello")
        client.get("/v1/conversations", params={"query": SAID})
        site.stop()
    content = b"".join(bodies)
    assert SAY.encode() in content
    assert b"duologue.produced_tokens" in content
    assert SAID.encode() not in content


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "a"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_SDK_DISABLED": "True"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_spans_go_nowhere_unless_a_collector_is_named(environment: dict[str, str]) -> None:
    assert open_telemetry(environment) is None


def test_a_collector_without_the_packages_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "duologue.server.telemetry")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"duologue\[telemetry\]"):
        open_telemetry({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"})


def test_without_a_collector_the_sdk_is_not_loaded() -> None:
    code = (
        "import sys; from duologue.server.running import open_telemetry, run;"
        "open_telemetry({}); print([name for name in sys.modules if 'opentelemetry.sdk' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- a collector ---------------------------------------------------------------------------------


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A server that takes what OpenTelemetry sends: its address, and the bodies."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.end_headers()

    with listening(Handler) as port:
        yield f"http://127.0.0.1:{port}", bodies
