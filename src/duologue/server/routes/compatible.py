"""What the compatible routes share: their clients expect 400 where our own routes say 422."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from duologue.server.errors import ApiError, problem_of


class StrictRoute(APIRoute):
    """A route whose bodies of no use are answered with 400 and the field at fault."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError as error:
                message, param = problem_of(error)
                raise ApiError("invalid_input", message, param) from None

        return handle
