"""HTTP to one Duologue server, with the standard library alone.

Server       where it is, and the key
Client       requests: answers of known shape, and streams of events
read_server  a Server from a URL and a key, which are checked

Nothing is believed of what comes back: it has bounds, and its shape is checked. Redirections are
not followed: a key goes to the server that was named, and to no other.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from duologue import __version__
from duologue.cli.events import ServerEvent, events
from duologue.errors import InputError, RemoteError

T = TypeVar("T")

CONNECT_S = 10.0
ANSWER_S = 180.0  # servers end a request after max_request_s, which is 120 by default
SILENT_S = 60.0  # a stream has a comment every 15 seconds
MAX_RETRY_S = 60.0
MAX_BODY_BYTES = 64 << 20
MAX_ERROR_BYTES = 1 << 16
_MAX_MESSAGE_CHARS = 500
_PIECE_BYTES = 1 << 16
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Server:
    """base  what stands before every path; empty, or from a slash on
    key   None: none is sent
    """

    scheme: str
    host: str
    port: int
    base: str
    key: str | None = field(repr=False)

    @property
    def shows_key(self) -> bool:
        """Whether others on the way can read the key."""
        if self.key is None or self.scheme == "https":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"

    def __str__(self) -> str:
        """The address, without the key."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.base}"


@dataclass(frozen=True)
class Problem:
    """What a server has against a request."""

    message: str
    code: str

    def as_error(self) -> RemoteError:
        """To be raised."""
        return RemoteError(self.message[:_MAX_MESSAGE_CHARS], self.code)


@dataclass(frozen=True)
class Refused:
    """The body of every error of a server."""

    error: Problem


REFUSED = TypeAdapter(Refused)


def read_server(url: str, key: str | None) -> Server:
    """Raises InputError for an address that is not one, and for a key that cannot be sent."""
    if not (url.isascii() and url.isprintable() and " " not in url):
        raise InputError(f"--url {url}: only ASCII without blanks can be an address")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError(f"--url {url}: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise InputError(f"--url {url}: http://HOST:PORT or https://HOST is needed")
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError("--url takes a host, a port and a path alone; the key has its own option")
    if key is not None and not (key and key.isascii() and key.isprintable() and " " not in key):
        raise InputError("the key is empty, or holds blanks or other characters that none has")
    port = _PORTS[parts.scheme] if port is None else port
    return Server(parts.scheme, parts.hostname, port, parts.path.rstrip("/"), key)


class Client:
    """Requests to one server, each on a connection of its own.

    tell  is given what a person who waits should know

    Methods raise RemoteError.
    """

    def __init__(self, server: Server, tell: Callable[[str], None]) -> None:
        self._server = server
        self._tell = tell

    def call(self, shape: TypeAdapter[T], method: str, path: str, body: Any = None) -> T:
        """The JSON of an answer, as a value of this shape."""
        with self._answered(method, path, body, ANSWER_S) as response:
            content = response.read(MAX_BODY_BYTES + 1)
        if len(content) > MAX_BODY_BYTES:
            raise RemoteError(f"{self._server} sent more than {MAX_BODY_BYTES:,} bytes")
        return self.parsed(shape, content)

    def send(self, method: str, path: str) -> None:
        """A request whose answer says nothing but that it was done."""
        with self._answered(method, path, None, ANSWER_S):
            pass

    def stream(
        self, path: str, body: Any, go_on: Callable[[], bool]
    ) -> Generator[ServerEvent, None, None]:
        """The events that a POST is answered by. Closing it early closes the connection.

        go_on  asked while the server wants us to wait; False ends it as the server's own stop
        """
        with self._answered("POST", path, body, SILENT_S, go_on) as response:
            if response.headers.get_content_type() != "text/event-stream":
                raise self._foreign("no stream of events")
            yield from events(self._pieces(response))

    def parsed(self, shape: TypeAdapter[T], content: bytes) -> T:
        """JSON as a value of a shape, which any server of ours sends."""
        try:
            return shape.validate_json(content)
        except ValidationError:
            raise self._foreign("something else than was asked for") from None

    def _pieces(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        while piece := response.read1(_PIECE_BYTES):
            yield piece

    @contextmanager
    def _answered(
        self,
        method: str,
        path: str,
        body: Any,
        patience_s: float,
        go_on: Callable[[], bool] = lambda: True,
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer that is no error, while its body is read. Waits once if the server asks to."""
        with self._told():
            wait_s = None
            for is_again in (False, True):
                with closing(self._connect(patience_s)) as connection:
                    response = self._ask(connection, method, path, body)
                    wait_s = None if is_again else _retry_after_s(response)
                    if wait_s is None:
                        self._refuse_failure(response)
                        yield response
                        return
                self._tell(f"{self._server} is busy; trying again in {wait_s} s")
                until_s = time.monotonic() + wait_s
                while (left_s := until_s - time.monotonic()) > 0:
                    if not go_on():
                        raise RemoteError("nothing was sent again", "stopped")
                    time.sleep(min(left_s, 0.1))

    def _connect(self, patience_s: float) -> http.client.HTTPConnection:
        server = self._server
        connection: http.client.HTTPConnection
        if server.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(
                server.host, server.port, timeout=CONNECT_S, context=context
            )
        else:
            connection = http.client.HTTPConnection(server.host, server.port, timeout=CONNECT_S)
        connection.connect()
        connection.sock.settimeout(patience_s)
        return connection

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any
    ) -> http.client.HTTPResponse:
        headers = {"User-Agent": f"duologue/{__version__}"}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        if self._server.key is not None:
            headers["Authorization"] = f"Bearer {self._server.key}"
        connection.request(method, self._server.base + path, content, headers)
        return connection.getresponse()

    def _refuse_failure(self, response: http.client.HTTPResponse) -> None:
        """Raise what an answer says that is no success."""
        if 200 <= response.status < 300:
            return
        try:
            problem = REFUSED.validate_json(response.read(MAX_ERROR_BYTES)).error
        except ValidationError:  # the page of a proxy, or of another server
            reason = f"{response.status} {response.reason[:_MAX_MESSAGE_CHARS]}".strip()
            raise self._foreign(reason) from None
        if problem.code == "unauthorized":
            what = "a key" if self._server.key is None else "another key"
            raise RemoteError(f"{self._server} demands {what}: set DUOLOGUE_API_KEY", problem.code)
        raise problem.as_error()

    def _foreign(self, what: str) -> RemoteError:
        return RemoteError(f"{self._server} answered {what}; is it a Duologue server?")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What can go wrong on the way, in words."""
        where = self._server
        gone = RemoteError(f"{where} went away before its answer was whole")
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            problem = f"{where}: its certificate is not trusted: {error.verify_message}"
            raise RemoteError(problem) from None
        except (http.client.RemoteDisconnected, http.client.IncompleteRead, ssl.SSLEOFError):
            raise gone from None
        except ssl.SSLError:
            raise RemoteError(f"{where} does not speak TLS; is it http://?") from None
        except TimeoutError:
            raise RemoteError(f"{where} does not answer") from None
        except ConnectionRefusedError:
            raise RemoteError(f"nothing listens at {where}; duologue serve starts one") from None
        except socket.gaierror:
            raise RemoteError(f"{where}: no such host is known") from None
        except ConnectionError:
            raise gone from None
        except http.client.HTTPException:
            raise self._foreign("in a way that is not HTTP") from None
        except OSError as error:
            raise RemoteError(f"{where} cannot be reached: {error.strerror or error}") from None


def _retry_after_s(response: http.client.HTTPResponse) -> int | None:
    """For how many seconds the server asks us to wait; None: it does not, or for too long."""
    after = response.headers.get("Retry-After", "")
    if response.status not in (429, 503) or not (after.isascii() and after.isdecimal()):
        return None
    return int(after) if len(after) <= 4 and int(after) <= MAX_RETRY_S else None
