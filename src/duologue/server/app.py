"""The application: all routes, and what stands around them.

make_app   a FastAPI application of one service
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from duologue import __version__
from duologue.server import errors, schemas
from duologue.server.commands import Commands
from duologue.server.curves import Curves
from duologue.server.desk import Desk
from duologue.server.dialogues import Dialogues
from duologue.server.held import HeldMemories
from duologue.server.knowledge import Knowledge
from duologue.server.options import ServeOptions
from duologue.server.routes import (
    assistant,
    conversations,
    explain,
    handovers,
    health,
    info,
    knowledge,
    libretranslate,
    live,
    openai,
    reference,
    tasks,
)
from duologue.server.security import Guard
from duologue.server.service import Service

if TYPE_CHECKING:
    from duologue.server.telemetry import Telemetry

# Each is asked in turn whether a request is its own: those that are asked most come first.
ROUTERS: tuple[APIRouter, ...] = (
    openai.router,
    conversations.router,
    live.router,
    tasks.router,
    explain.router,
    assistant.router,
    knowledge.router,
    handovers.router,
    libretranslate.router,
    info.router,
    health.router,
    reference.router,
)
PAGE = Path(__file__).parent / "web"
# FastAPI's own spans and logs hold queries and messages of exceptions, which is what people said.
_NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


class PageFiles(StaticFiles):
    """Files of the page: browsers keep them, and ask each time whether they are still the same."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """See Starlette."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def make_app(
    service: Service, options: ServeOptions | None = None, telemetry: Telemetry | None = None
) -> FastAPI:
    """The application. It starts the service, and closes it and the telemetry at its end."""
    options = options or ServeOptions()
    documents = Knowledge(service)
    desk = Desk(service, documents, options.handover_webhook)

    commands = Commands(service, options.data, options.assistant)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start(telemetry.bridge if telemetry is not None else None)
        await desk.start()
        try:
            yield
        finally:
            await service.close()
            await asyncio.to_thread(desk.close)
            commands.close()
            if telemetry is not None:
                await telemetry.close()

    app = FastAPI(
        title="Duologue",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # these pages would load scripts from elsewhere: see routes/reference.py
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
        responses={"4XX": {"model": schemas.Error}, "5XX": {"model": schemas.Error}},
    )
    app.state.service = service
    app.state.options = options
    app.state.dialogues = Dialogues(service, desk)
    app.state.desk = desk
    app.state.commands = commands
    app.state.held = HeldMemories()
    app.state.curves = Curves()
    app.state.knowledge = documents
    errors.install(app)
    if options.allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(options.allow_origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(Guard, service=service, options=options)
    if telemetry is not None:
        app.add_middleware(telemetry.middleware)
    for router in ROUTERS:
        app.include_router(router)
    if PAGE.is_dir():
        app.mount("/", PageFiles(directory=PAGE, html=True))
    return app
