"""Commands told to an address, in JSON; the only part of the assistant that uses the network.

post     tells it, and gives what came back
Hook     how, and to whom

What is sent: {"intent", "slots", "text", "language", "user"}, with an `Idempotency-Key` that stays
the same when it is sent again, so that a receiver can do each command once. What may come back: an
empty body, or a JSON object with "text" (the answer), "values" (for the answer's template) and
"undo" (what undoing needs).

It is sent again once where the connection failed or the answer was 5xx, within the same time.
Redirects are followed only to the same scheme, host and port. Every address of a host is looked at
before it is used: link-local ones (where clouds keep secrets) are refused always, private ones
where `allow_private` is False, which suits whoever takes declarations from other people; at home
the point of a webhook is a machine in one's own house, so they are allowed by default. What is said
never changes where it is told: addresses are those of the declaration.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from duologue.errors import WebhookError

MAX_SENT_BYTES = 64 * 2**10
MAX_RECEIVED_BYTES = 64 * 2**10
_MAX_REDIRECTS = 3


class _TransientError(WebhookError):
    """The same, but it may work when it is tried again."""


@dataclass(frozen=True)
class Hook:
    """How webhooks are called.

    allow_private  whether addresses of private networks and of this machine may be called
    clock          seconds, from any beginning
    new_key        makes an idempotency key
    """

    allow_private: bool = True
    clock: Callable[[], float] = time.monotonic
    new_key: Callable[[], str] = lambda: str(uuid.uuid4())

    def post(self, url: str, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Tell an address; returns the object that it answered with, {} for an empty body.

        timeout_s  for everything together, the second try included

        Raises WebhookError, which says what was wrong and quotes neither message nor answer.
        """
        body = json.dumps(message, ensure_ascii=False).encode()
        if len(body) > MAX_SENT_BYTES:
            raise WebhookError(f"a command has {len(body):,} bytes; at most {MAX_SENT_BYTES:,}")
        deadline = _Deadline(self.clock() + timeout_s, self.clock)
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Idempotency-Key": self.new_key(),
        }
        try:
            return self._once(url, body, headers, deadline)
        except _TransientError:
            return self._once(url, body, headers, deadline)

    def _once(
        self, url: str, body: bytes, headers: dict[str, str], deadline: _Deadline
    ) -> dict[str, Any]:
        for _ in range(_MAX_REDIRECTS + 1):
            status, location, data = self._exchange(urlsplit(url), body, headers, deadline)
            if status in (307, 308) and location:
                after = urljoin(url, location)
                if _origin(urlsplit(after)) != _origin(urlsplit(url)):
                    raise WebhookError("the webhook redirects to another host")
                url = after
                continue
            if status >= 500:
                raise _TransientError(f"the webhook answered with status {status}")
            if not 200 <= status < 300:
                raise WebhookError(f"the webhook answered with status {status}")
            return _object(data)
        raise WebhookError("the webhook redirects in a circle")

    def _exchange(
        self, parts: SplitResult, body: bytes, headers: dict[str, str], deadline: _Deadline
    ) -> tuple[int, str, bytes]:
        """Status, location and body of one request."""
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = self._connect(parts, deadline)
        try:
            with deadline.cutting(connection.sock):
                connection.request("POST", target, body, headers)
                response = connection.getresponse()
                data = response.read(MAX_RECEIVED_BYTES + 1)
            if len(data) > MAX_RECEIVED_BYTES:
                problem = f"the webhook answered with more than {MAX_RECEIVED_BYTES:,} bytes"
                raise WebhookError(problem)
            return response.status, response.headers.get("Location", ""), data
        except TimeoutError:
            raise WebhookError("the webhook did not answer in time") from None
        except ssl.SSLError as error:
            raise WebhookError(f"the webhook's certificate was refused: {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            raise _TransientError(f"the connection to the webhook failed: {_name(error)}") from None
        finally:
            connection.close()

    def _connect(self, parts: SplitResult, deadline: _Deadline) -> http.client.HTTPConnection:
        """A connection to an address that was looked at: a name cannot change its mind between."""
        is_secure = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if is_secure else 80)
        timeout_s = deadline.left()
        try:
            address = self._address(host, port)
            sock = socket.create_connection((address, port), timeout_s)
        except TimeoutError:
            raise WebhookError("the webhook did not answer in time") from None
        except OSError as error:
            raise _TransientError(f"the connection to the webhook failed: {_name(error)}") from None
        connection = http.client.HTTPConnection(host, port)
        if is_secure:
            try:
                sock.settimeout(deadline.left())
                sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
            except TimeoutError:
                sock.close()
                raise WebhookError("the webhook did not answer in time") from None
            except (OSError, ssl.SSLError) as error:
                sock.close()
                raise WebhookError(f"no secure connection to the webhook: {_name(error)}") from None
        connection.sock = sock
        return connection

    def _address(self, host: str, port: int) -> str:
        """The first address of a host, if all of them may be called."""
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise WebhookError("the webhook's host has no valid name") from None
        addresses = [str(row[4][0]) for row in rows]
        for text in addresses:
            address = ipaddress.ip_address(text.partition("%")[0])
            mapped = getattr(address, "ipv4_mapped", None) or address
            is_refused = mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified
            if is_refused or (not self.allow_private and not mapped.is_global):
                raise WebhookError("the webhook's address may not be called from here")
        return addresses[0]


@dataclass(frozen=True)
class _Deadline:
    at: float
    clock: Callable[[], float]

    def left(self) -> float:
        """Seconds until it; raises WebhookError when it is over."""
        rest = self.at - self.clock()
        if rest <= 0:
            raise WebhookError("the webhook did not answer in time")
        return rest

    @contextmanager
    def cutting(self, sock: socket.socket) -> Iterator[None]:
        """Break the connection when time is over, even for one that sends a byte now and then."""
        rest = self.left()
        sock.settimeout(rest)
        cut = threading.Timer(rest, _shut, (sock,))
        cut.daemon = True
        cut.start()
        try:
            yield
            self.left()  # an answer that was cut may look whole
        finally:
            cut.cancel()


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port


def _name(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or type(error).__name__)


def _object(data: bytes) -> dict[str, Any]:
    if not data.strip():
        return {}
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        raise WebhookError("the webhook's answer is no JSON") from None
    if not isinstance(answer, dict):
        raise WebhookError("the webhook's answer is no JSON object")
    return answer
