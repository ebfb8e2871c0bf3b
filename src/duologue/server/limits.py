"""How much of everything: values that are on by default, and who has used how much of them.

Limits        the values; an error tells the name and value of the one it is about
RateLimiter   requests of each key in a minute
Places        how many of something each key may have at the same time
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from duologue.config.values import STRICT, require
from duologue.errors import InputError, OverloadedError
from duologue.runtime import Runtime
from duologue.server.errors import ApiError
from duologue.types import Options

_MAX_BUCKETS = 10_000


@dataclass(frozen=True)
class Limits:
    """max_body_bytes  of one request's body, and of one WebSocket frame
    max_document_bytes  of one document that is uploaded
    max_source_tokens  of the text of a request, as the model counts
    max_texts          texts in one request
    max_terms          terms of the glossary of one request
    max_tokens         of a reply that may be asked for
    max_beam_size      beams of one request
    max_hypotheses     hypotheses of one request (num_hypotheses, n, alternatives)
    max_erasures       times that an answer is scored again to explain it
    max_streams        open streams and WebSockets of one key
    max_requests_per_minute  of one key
    max_request_s      seconds until a request is ended
    max_active         requests that are worked on or wait for that, of all keys
    """

    __pydantic_config__ = STRICT

    max_body_bytes: int = 2**20
    max_document_bytes: int = 32 * 2**20
    max_source_tokens: int = 16_384
    max_texts: int = 64
    max_terms: int = 256
    max_tokens: int = 1024
    max_beam_size: int = 8
    max_hypotheses: int = 8
    max_erasures: int = 96
    max_streams: int = 64
    max_requests_per_minute: int = 3000
    max_request_s: float = 120.0
    max_active: int = 256

    def __post_init__(self) -> None:
        for field in fields(self):
            require(getattr(self, field.name) > 0, f"{field.name} must be positive")

    def options(self, changes: dict[str, Any], base: Options) -> Options:
        """Some options changed. Raises InputError for values that cannot be, or beyond a limit."""
        for name, limit in (
            ("max_tokens", "max_tokens"),
            ("beam_size", "max_beam_size"),
            ("num_hypotheses", "max_hypotheses"),
        ):
            self.check(name, changes.get(name, 0), limit)
        return Options(**{**vars(base), **changes})

    def check(self, name: str, value: float, limit: str) -> None:
        """Raises ApiError, which names the limit, if a value is beyond it."""
        most = getattr(self, limit)
        if value > most:
            problem = f"{name} is {value:,}; this server allows at most {most:,} ({limit})"
            raise ApiError("invalid_input", problem, name)

    def check_texts(self, runtime: Runtime, texts: Sequence[str], name: str = "text") -> None:
        """Raises ApiError for too many texts, or more tokens in all than one request may have."""
        self.check(f"the number of {name}", len(texts), "max_texts")
        # No tokenizer makes more tokens than there are bytes, and counting them takes a while.
        if sum(len(text.encode(errors="replace")) for text in texts) <= self.max_source_tokens:
            return
        try:
            num_tokens = sum(len(runtime.tokenizer.encode(text)) for text in texts)
        except InputError as error:
            raise ApiError("invalid_input", str(error), name) from None
        if num_tokens > self.max_source_tokens:
            problem = (
                f"{name} has {num_tokens:,} tokens; this server reads at most "
                f"{self.max_source_tokens:,} (max_source_tokens)"
            )
            raise ApiError("invalid_input", problem, name)


class RateLimiter:
    """Requests of each owner: as many at once as a minute allows, then as fast as that.

    clock  seconds, from any beginning
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # owner: requests left, and when

    def take(self, owner: str) -> None:
        """Count a request. Raises ApiError (rate_limited) if there is none left."""
        now_s = self._clock()
        left, seen_s = self._buckets.pop(owner, (float(self._per_minute), now_s))
        left = min(self._per_minute, left + (now_s - seen_s) * self._per_minute / 60)
        self._buckets[owner] = (left - 1 if left >= 1 else left), now_s
        if len(self._buckets) > _MAX_BUCKETS:
            del self._buckets[next(iter(self._buckets))]  # who came least recently
        if left < 1:
            raise ApiError(
                "rate_limited",
                f"more than {self._per_minute:,} requests a minute (max_requests_per_minute)",
                retry_after_s=(1 - left) * 60 / self._per_minute,
            )


class Places:
    """Places that are taken and given back. For the thread of the event loop alone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._streams: Counter[str] = Counter()
        self.num_active = 0

    @property
    def num_streams(self) -> int:
        """Open streams and WebSockets of all keys."""
        return self._streams.total()

    @contextmanager
    def stream(self, owner: str) -> Iterator[None]:
        """One open stream. Raises ApiError (rate_limited) if the owner has too many."""
        most = self._limits.max_streams
        if self._streams[owner] >= most:
            problem = f"{most:,} streams of this key are open already (max_streams)"
            raise ApiError("rate_limited", problem, retry_after_s=1.0)
        self._streams[owner] += 1
        try:
            yield
        finally:
            self._streams[owner] -= 1
            if not self._streams[owner]:
                del self._streams[owner]

    @contextmanager
    def active(self) -> Iterator[None]:
        """One request that is worked on. Raises OverloadedError if there are too many."""
        most = self._limits.max_active
        if self.num_active >= most:
            raise OverloadedError(f"{most:,} requests are worked on already (max_active)", 1.0)
        self.num_active += 1
        try:
            yield
        finally:
            self.num_active -= 1
