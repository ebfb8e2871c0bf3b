"""Who may come in, and what they may do.

Access            whom a request is for, and its scopes
requires          a dependency of routes: the scope that a key must have
of_app            another: a part of the application
authenticate      the same for connections that bring their key in ways of their own
Guard             stands around all routes: hosts, origins, sizes, headers, and bugs
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duologue.errors import OverloadedError
from duologue.server import errors
from duologue.server.errors import ApiError
from duologue.server.metrics import route_of
from duologue.server.options import ServeOptions
from duologue.server.service import Service
from duologue.storage.keys import SCOPES
from duologue.storage.keys import Scope as KeyScope

LOCAL = "local"
UPLOAD_PATH = "/v1/kb/documents"  # the one place where large bodies are taken, with a scope
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
# Proxies say for whom they ask; then not only this machine can reach the server.
_FORWARDED = {"forwarded", "x-forwarded-for"}
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"


@dataclass(frozen=True)
class Access:
    """owner  whose conversations are seen: the id of a key, or LOCAL"""

    owner: str
    scopes: frozenset[KeyScope]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that is bound to this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# Tells the documentation of the API about keys, and reads the header.
BearerKey = Annotated[
    HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False, scheme_name="key"))
]

# --- keys ------------------------------------------------------------------------------------


def requires(scope: KeyScope | None) -> Callable[[Request, BearerKey], Awaitable[Access]]:
    """A dependency that lets in who has the scope (None: whoever has a key), and counts them."""

    async def access(request: Request, key: BearerKey) -> Access:
        return await authenticate(request, key.credentials if key else None, scope)

    return access


def bearer(connection: HTTPConnection) -> str | None:
    """The key in the header, if there is one; for routes that take a key elsewhere as well."""
    kind, _, secret = connection.headers.get("authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else None


async def authenticate(
    connection: HTTPConnection, secret: str | None, scope: KeyScope | None
) -> Access:
    """Whom a key belongs to.

    Raises ApiError: unauthorized, forbidden, or rate_limited; OverloadedError while the server
    stops: who was let in before goes on.
    """
    service: Service = connection.app.state.service
    if service.is_stopping:
        raise OverloadedError("the server is going down", 1.0)
    if not await service.demands_key():
        access = Access(LOCAL, frozenset(SCOPES))
    else:
        key = await service.stored(service.keys.verify, secret) if secret else None
        if key is None:
            raise ApiError("unauthorized", "a valid key is needed: Authorization: Bearer KEY")
        access = Access(key.id, key.scopes)
    service.rates.take(access.owner)
    if scope is not None and scope not in access.scopes:
        raise ApiError("forbidden", f"this key lacks the scope {scope!r}")
    return access


def of_app(name: str) -> Callable[[HTTPConnection], Awaitable[Any]]:
    """A dependency of routes: what make_app keeps under this name."""

    async def found(connection: HTTPConnection) -> Any:  # what is no coroutine gets a thread
        return getattr(connection.app.state, name)

    return found


ServiceDep = Annotated[Service, Depends(of_app("service"))]
Chat = Annotated[Access, Depends(requires("chat"))]
Translate = Annotated[Access, Depends(requires("translate"))]
Admin = Annotated[Access, Depends(requires("admin"))]
AnyKey = Annotated[Access, Depends(requires(None))]


# --- around everything -----------------------------------------------------------------------


class Guard:
    """ASGI middleware: refuses foreign hosts and origins and large bodies, and adds headers.

    What fails inside without having been foreseen is answered as a bug, and told in the log.
    """

    def __init__(self, app: ASGIApp, service: Service, options: ServeOptions) -> None:
        self._app = app
        self._service = service
        self._options = options
        self._hosts = {"localhost", "127.0.0.1", "[::1]", options.host, f"[{options.host}]"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        most = self._most_bytes(scope)
        refused = await self._refusal(Headers(scope=scope), most)
        if scope["type"] == "websocket":
            if refused is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": str(refused)})
            return
        begun_s = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message)
            await send(message)

        try:
            if refused is not None:
                await errors.response(refused)(scope, receive, answer)
            else:
                await self._app(scope, self._bounded(receive, most), answer)
        except Exception as error:
            errors.report(error)
            if status == 0:
                await errors.bug()(scope, receive, answer)
        seconds = time.perf_counter() - begun_s
        self._service.metrics.answered(*route_of(scope), status, seconds)

    def _most_bytes(self, scope: Scope) -> str:
        """The name of the limit for the body of a request."""
        is_upload = scope["path"] == UPLOAD_PATH and scope.get("method") == "POST"
        return "max_document_bytes" if is_upload else "max_body_bytes"

    async def _refusal(self, headers: Headers, most: str) -> ApiError | None:
        """Why a request is not even looked at."""
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if is_loopback(self._options.host) and name.lower() not in self._hosts:
            return ApiError("forbidden", "the Host header does not name this machine")
        if _FORWARDED & set(headers) and not await self._service.demands_key():
            problem = (
                "a server without keys serves no proxy: make one with duologue keys create NAME"
            )
            return ApiError("forbidden", problem)
        origin = headers.get("origin")
        if origin is not None and origin not in self._options.allow_origins:
            try:
                is_own = urlsplit(origin).netloc.lower() == host.lower() != ""
            except ValueError:
                is_own = False
            if not is_own:
                return ApiError("forbidden", "this origin is not allowed (--allow-origin)")
        size = headers.get("content-length", "")
        if size.isdecimal() and int(size) > getattr(self._service.limits, most):
            return self._too_large(most)
        return None

    def _too_large(self, most: str) -> ApiError:
        num_bytes = getattr(self._service.limits, most)
        return ApiError("too_large", f"the body has more than {num_bytes:,} bytes ({most})")

    def _bounded(self, receive: Receive, most: str) -> Receive:
        """The body, as far as it is allowed to go."""
        num_bytes, most_bytes = 0, getattr(self._service.limits, most)

        async def bounded() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > most_bytes:
                raise HTTPException(413, str(self._too_large(most)))
            return message

        return bounded


def _add_headers(start: Message) -> None:
    headers = MutableHeaders(scope=start)
    is_page = headers.get("content-type", "").startswith("text/html")
    for name, value in _HEADERS.items():
        headers[name] = value
    if start["status"] != 304:  # whose headers would replace those of the page that was kept
        headers["Content-Security-Policy"] = _PAGE_POLICY if is_page else _DATA_POLICY
    headers.setdefault("Cache-Control", "no-store")
