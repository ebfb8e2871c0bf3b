"""Numbers for Prometheus. Labels are names of routes, models and kinds; never what anybody said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import Scope

from duologue.types import Usage

if TYPE_CHECKING:
    from duologue.server.service import Service

_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)
_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


def route_of(scope: Scope) -> tuple[str, str]:
    """Method and route of a request that was answered; few are possible, whatever was asked for.

    The route is its template, such as /v1/conversations/{conversation_id}; "other": there is none.
    """
    method = scope.get("method", "GET")
    route = getattr(scope.get("route"), "path", None) or "other"
    return (method if method in _METHODS else "other"), route


class Metrics:
    """What one service counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "duologue_requests",
            "Requests that were answered",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._request_s = Histogram(
            "duologue_request_seconds",
            "From a request to the end of its answer",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._tokens = Counter(
            "duologue_tokens",
            "Tokens that replies took",
            ["model", "kind"],
            registry=self.registry,
        )
        self._first_token_s = Histogram(
            "duologue_first_token_seconds",
            "From a request to the engine to the first text of the reply",
            ["model"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; method and route as of route_of."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_s.labels(route).observe(seconds)

    def used(self, model: str, usage: Usage) -> None:
        """Count the tokens of a result."""
        for kind in ("encoded", "reused", "produced"):
            self._tokens.labels(model, kind).inc(getattr(usage, f"{kind}_tokens"))

    def first_token(self, model: str, seconds: float) -> None:
        """Note how long a reader waited for the first text."""
        self._first_token_s.labels(model).observe(seconds)

    def watch(self, service: Service) -> None:
        """Show what the service holds whenever somebody asks."""
        self.registry.register(_State(service))

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)


class _State(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[GaugeMetricFamily]:
        service = self._service
        active = GaugeMetricFamily(
            "duologue_active_requests", "Requests that are worked on, or wait for that"
        )
        active.add_metric([], service.places.num_active)
        yield active
        streams = GaugeMetricFamily("duologue_open_streams", "Open streams and WebSockets")
        streams.add_metric([], service.places.num_streams)
        yield streams
        queue = GaugeMetricFamily(
            "duologue_engine_jobs", "Replies that wait for an engine, or run", labels=["model"]
        )
        memory = GaugeMetricFamily(
            "duologue_memory_bytes",
            "Bytes: weights, pool (all keys and values), conversations (of these, kept), disk",
            labels=["model", "kind"],
        )
        for served in service.models.values():
            queue.add_metric([served.name], served.bridge.num_live)
            forward = served.runtime.forward
            memory.add_metric([served.name, "weights"], forward.weight_bytes)
            memory.add_metric([served.name, "pool"], forward.pool.used_bytes)
            memory.add_metric([served.name, "conversations"], served.memories.num_bytes)
        if service.cache is not None:
            memory.add_metric(["", "disk"], service.cache.num_bytes)
        yield queue
        yield memory
