"""OpenTelemetry: a span for each request, and one for each stage of the replies in it.

Telemetry      where spans go
TracedBridge   notes how long jobs waited, were read, and decoded
Traced         stands around all routes: a span for each request

Spans hold names of routes and models, numbers, and nothing else: no text, key, id or address.
Loaded only where telemetry is configured; running.py decides that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duologue import __version__
from duologue.engine.engine import Engine, Progress
from duologue.server.bridge import Bridge, Job
from duologue.server.bridge import Receive as ReceiveProgress
from duologue.server.metrics import route_of

_PARENT = TraceContextTextMapPropagator()
_UNTRACED = frozenset({"/health/live", "/health/ready", "/metrics"})  # asked for all the time


class Telemetry:
    """Where spans go: to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names.

    All settings are OpenTelemetry's own environment variables.

    processor  takes the spans instead
    """

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        about = Resource({"service.name": "duologue", "service.version": __version__})
        self._provider = TracerProvider(
            resource=about.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("duologue", __version__)

    def middleware(self, app: ASGIApp) -> Traced:
        """An application with a span for each of its requests."""
        return Traced(app, self._tracer)

    def bridge(self, model: str, engine: Engine, loop: asyncio.AbstractEventLoop) -> Bridge:
        """The bridge to the engine of a model."""
        return TracedBridge(model, engine, loop, self._tracer)

    async def close(self) -> None:
        """Send what was not sent yet."""
        await asyncio.to_thread(self._provider.shutdown)


# --- jobs ------------------------------------------------------------------------------------


class TracedBridge(Bridge):
    """A bridge whose jobs tell the span of their request what became of them."""

    def __init__(
        self, model: str, engine: Engine, loop: asyncio.AbstractEventLoop, tracer: Tracer
    ) -> None:
        super().__init__(engine, loop)
        self._model = model
        self._tracer = tracer

    def submit(self, job: Job, receive: ReceiveProgress) -> int:
        """See Bridge."""
        if not trace.get_current_span().is_recording():
            return super().submit(job, receive)
        num_tokens = sum(len(source.ids) for source in job.sources), job.memory.num_tokens
        stages = _Stages(self._model, *num_tokens, parent=get_current())

        def noting(progress: Progress) -> None:
            stages.note(progress)
            receive(progress)
            if progress.finished is not None:
                stages.tell(self._tracer, progress)

        return super().submit(job, noting)


@dataclass(eq=False)
class _Stages:
    """When the stages of one job began, on time.perf_counter, which is the engine's clock too."""

    model: str
    num_encoded: int
    num_reused: int
    parent: Context

    def __post_init__(self) -> None:
        self._asked_s = time.perf_counter()
        self._read_s: float | None = None
        self._first_token_s: float | None = None

    def note(self, progress: Progress) -> None:
        if self._read_s is None and progress.memory is not None:
            self._read_s = time.perf_counter()
        if self._first_token_s is None and (progress.committed_ids or progress.tail_ids):
            self._first_token_s = time.perf_counter()

    def tell(self, tracer: Tracer, last: Progress) -> None:
        """Spans of the stages that were reached; each ends where the next one begins."""
        assert last.finished is not None
        end_s = time.perf_counter()
        best = last.finished.best
        is_read = self.num_encoded > 0
        stages: list[tuple[str, float | None, dict[str, int | str]]] = [
            ("queue", self._asked_s, {}),
            (
                "encode",
                last.admitted_s if is_read else None,
                {
                    "duologue.encoded_tokens": self.num_encoded,
                    "duologue.reused_tokens": self.num_reused,
                },
            ),
            ("first_token", self._read_s if is_read else last.admitted_s, {}),
            (
                "decode",
                self._first_token_s,
                {
                    "duologue.produced_tokens": len(best.ids),
                    "duologue.finish_reason": best.finish_reason,
                },
            ),
        ]
        reached = [(name, begun, told) for name, begun, told in stages if begun is not None]
        ends = [begun for _, begun, _ in reached[1:]] + [end_s]
        for (name, begun_s, told), stage_end_s in zip(reached, ends, strict=True):
            span = tracer.start_span(
                name,
                self.parent,
                attributes={"duologue.model": self.model, **told},
                start_time=_unix_ns(begun_s),
            )
            span.end(_unix_ns(stage_end_s))


def _unix_ns(perf_s: float) -> int:
    return time.time_ns() - int(1e9 * (time.perf_counter() - perf_s))


# --- requests --------------------------------------------------------------------------------


class Traced:
    """ASGI middleware: a span for each request, and for each WebSocket as long as it is open.

    The trace of `traceparent` goes on here; `tracestate`, which may hold anything, is left alone.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        span = self._tracer.start_span("request", _parent(Headers(scope=scope)), SpanKind.SERVER)
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            status = status or _status(message)
            await send(message)

        try:
            # An exception is not recorded: its message may hold what somebody said.
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                await self._app(scope, receive, noting)
        finally:
            _describe(span, scope, status)
            span.end()


def _parent(headers: Mapping[str, str]) -> Context:
    return _PARENT.extract({"traceparent": headers.get("traceparent", "")}, Context())


def _status(message: Message) -> int:
    """The status that a message begins an answer with; 0: it does not."""
    match message["type"]:
        case "http.response.start" | "websocket.http.response.start":
            return int(message["status"])
        case "websocket.accept":
            return 101
        case "websocket.close":
            return 403
        case _:
            return 0


def _describe(span: Span, scope: Scope, status: int) -> None:
    method, route = route_of(scope)
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.request.method": method, "http.route": route})
    if status:
        span.set_attribute("http.response.status_code", status)
    if status >= 500 or not status:
        span.set_status(Status(StatusCode.ERROR))
