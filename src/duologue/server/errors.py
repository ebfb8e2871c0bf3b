"""Every error in one form: {"error": {"message", "type", "code", "param"}}.

ApiError          an error that only the service has: who, how often, how much at a time
body, status_of   the JSON and the HTTP status of any expected error
install           makes an application answer so, whatever happens
problem_of        what is wrong with a request that does not fit its route
report            notes a bug in the log, without what anybody said
"""

from __future__ import annotations

import logging
import math
import traceback
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from duologue.errors import DuologueError, OverloadedError

LOG = logging.getLogger("duologue.server")

# code: HTTP status and type. Codes that are not here are bugs of ours.
KINDS: dict[str, tuple[int, str]] = {
    "invalid_input": (400, "invalid_request_error"),
    "invalid_audio": (400, "invalid_request_error"),
    "unauthorized": (401, "authentication_error"),
    "forbidden": (403, "permission_error"),
    "not_found": (404, "not_found_error"),
    "method_not_allowed": (405, "invalid_request_error"),
    "busy": (409, "conflict_error"),
    "too_large": (413, "invalid_request_error"),
    "rate_limited": (429, "rate_limit_error"),
    "internal_error": (500, "server_error"),
    "engine_error": (503, "server_error"),
    "overloaded": (503, "server_error"),
    "storage_error": (503, "server_error"),
    "stopped": (503, "server_error"),
    "timeout": (503, "server_error"),
}
_BY_STATUS = {401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed"}
_BY_STATUS |= {413: "too_large", 429: "rate_limited", 503: "overloaded"}
_BUG = "this is a bug in Duologue; the server's log says where"


class ApiError(DuologueError):
    """An expected failure of the service itself.

    code           one of KINDS
    param          the field at fault
    retry_after_s  when it may be tried again
    """

    def __init__(
        self,
        code: str,
        message: str,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        super().__init__(message)


def status_of(error: DuologueError) -> int:
    """The HTTP status of an expected error."""
    return KINDS.get(error.code, KINDS["internal_error"])[0]


def body(error: DuologueError) -> dict[str, Any]:
    """An expected error as it is sent."""
    if error.code not in KINDS:
        report(error)
        return _body(_BUG, "internal_error")
    return _body(str(error), error.code, getattr(error, "param", None))


def _body(message: str, code: str, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": KINDS[code][1], "code": code, "param": param}}


def response(error: DuologueError) -> JSONResponse:
    """An expected error as an answer."""
    headers = {}
    if isinstance(error, ApiError | OverloadedError) and error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.code == "unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body(error), status_of(error), headers)


def bug() -> JSONResponse:
    """The answer where something failed that should not."""
    return JSONResponse(_body(_BUG, "internal_error"), 500)


def report(error: BaseException) -> None:
    """Log where a bug is. Its message is left out: it may hold what somebody said."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    LOG.error("%s at %s", type(error).__name__, where or "an unknown place")


def install(app: FastAPI) -> None:
    """Let the application answer every error in this form."""

    @app.exception_handler(DuologueError)
    async def expected(_request: Request, error: DuologueError) -> JSONResponse:
        return response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        message, param = problem_of(error)
        return JSONResponse(_body(message, "invalid_input", param), 422)

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        code = _BY_STATUS.get(error.status_code, "invalid_input")
        return JSONResponse(_body(str(error.detail), code), error.status_code, error.headers)


def problem_of(error: RequestValidationError) -> tuple[str, str | None]:
    """What is wrong with a request, without what it said, and the first field at fault."""
    problems = []
    fields = []
    for item in error.errors():
        where, *path = (str(part) for part in item["loc"])
        field = ".".join(path) if path and item["type"] != "json_invalid" else where
        message = str(item["msg"]).removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "there is no such field"
        problems.append(f"{field}: {message}")
        fields.append(field)
    return "; ".join(problems[:10]), fields[0] if fields else None
