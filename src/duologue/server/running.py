"""Start, signals, and a stop that loses nothing.

open_service   the models, the database and the cache of a data folder
open_store     the database alone
listen, run    serve until SIGTERM or Ctrl-C
open_telemetry where spans go, if anywhere
Server         uvicorn, which lets replies end before it leaves
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI

from duologue.api import model_folder
from duologue.apps.assistant import opened
from duologue.apps.support import KnowledgeBase
from duologue.checkpoint.store import load_model
from duologue.errors import ConfigError
from duologue.runtime import Runtime
from duologue.server.app import make_app
from duologue.server.glossaries import Glossaries
from duologue.server.options import ServeOptions
from duologue.server.security import is_loopback
from duologue.server.service import Service
from duologue.storage.database import Database, open_database, sqlite_url
from duologue.storage.folder import data_folder
from duologue.storage.keys import Keys
from duologue.storage.knowledge import KnowledgeStore
from duologue.storage.memory_cache import MemoryCache

if TYPE_CHECKING:
    from duologue.server.telemetry import Telemetry

CACHE_FOLDER = "memories"
# Browsers and proxies use a connection again; one that waits takes next to nothing.
_KEEP_ALIVE_S = 75
# After their replies have ended, connections may take so long to take the rest.
_LAST_WORDS_S = 5.0


def open_service(options: ServeOptions) -> Service:
    """Open the store and load the models.

    Raises ConfigError for a model that is named twice, and for an address that others can reach
    while there are no keys; and what api.load, open_database, MemoryCache, Glossaries
    and the assistant's opened raise.
    """
    glossaries = Glossaries.read(options.glossaries)
    opened(options.assistant)  # which is made later, but a mistake in it is told now
    database = open_store(options.data, options.database)
    try:
        needs_key = _needs_key(Keys(database), options.host)
        cache = None
        if options.cache_bytes:
            cache = MemoryCache(options.data / CACHE_FOLDER, options.cache_bytes)
        runtimes = _runtimes(options)
        glossaries.require_known(code for one in runtimes.values() for code in one.config.languages)
        base = None if options.kb is None else _open_base(options.kb, runtimes)
        return Service(runtimes, database, cache, options.limits, needs_key, base, glossaries)
    except BaseException:
        database.close()
        raise


def open_store(data: Path | None, database: str | None) -> Database:
    """The database of a data folder (None: the usual one), or another one by its URL."""
    return open_database(database or sqlite_url(data or data_folder()))


def _runtimes(options: ServeOptions) -> dict[str, Runtime]:
    runtimes: dict[str, Runtime] = {}
    for model in options.models:
        folder = model_folder(model)
        name = folder.resolve().name if Path(model).expanduser().is_dir() else model
        if name in runtimes:
            raise ConfigError(f"two models are called {name!r}; rename the folder of one of them")
        loaded = load_model(folder, options.precision)
        runtimes[name] = Runtime(loaded, options.threads, options.two_stage)
    return runtimes


def _open_base(folder: Path, runtimes: Mapping[str, Runtime]) -> KnowledgeBase:
    """Documents, for the first model that has learnt to answer, or else the first that reads."""
    readers = [one for one in runtimes.values() if one.config.front_end != "mel"]
    if not readers:
        raise ConfigError("documents need a model that reads texts, and these only hear speech")
    able = (one for one in readers if "answer" in one.config.tasks)
    return KnowledgeBase(KnowledgeStore(folder.expanduser()), next(able, readers[0]))


def _needs_key(keys: Keys, host: str) -> bool:
    """Whether requests must bring a key: where there are keys, and on any address but loopback."""
    has_keys = keys.has_any()
    if not has_keys and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines, and there is no key yet: make one with "
            "duologue keys create NAME, or bind to 127.0.0.1"
        )
    return has_keys


def run(service: Service, options: ServeOptions, on_start: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; then running replies end, and all that is known is written.

    on_start  is given the address once requests are taken

    Raises ConfigError if the address cannot be had, KeyboardInterrupt after Ctrl-C, and what
    open_telemetry raises.
    """
    telemetry = open_telemetry(os.environ)
    listener = listen(options)
    port = listener.getsockname()[1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    server = Server(make_app(service, options, telemetry), service, options)
    server.on_start = lambda: on_start(f"http://{host}:{port}")
    with listener:
        server.run(sockets=[listener])
    if server.signal == signal.SIGINT:
        raise KeyboardInterrupt


def open_telemetry(environment: Mapping[str, str]) -> Telemetry | None:
    """Spans for a collector, if OpenTelemetry's environment variables name one.

    Raises ConfigError if its packages are missing.
    """
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    is_off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    is_off = is_off or environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp"
    named = next((name for name in endpoints if environment.get(name)), None)
    if named is None or is_off:
        return None
    try:
        from duologue.server.telemetry import Telemetry
    except ImportError as error:
        raise ConfigError(
            f"{named} is set, and {error.name} is not installed: pip install "
            "'duologue[telemetry]', or set OTEL_SDK_DISABLED=true"
        ) from None
    return Telemetry()


class Server(uvicorn.Server):
    """uvicorn with our own stop: replies end within the grace time, or are cut and kept.

    signal    (attribute) that told it to stop
    on_start  (attribute) called once requests are taken
    """

    def __init__(self, app: FastAPI, service: Service, options: ServeOptions) -> None:
        config = uvicorn.Config(
            app,
            access_log=False,  # addresses hold what people search for
            proxy_headers=False,
            server_header=False,
            log_level="warning",
            timeout_keep_alive=_KEEP_ALIVE_S,
            ws_max_size=service.limits.max_body_bytes,
            ws_per_message_deflate=False,  # frames are short; it takes 40 kB a connection
            timeout_graceful_shutdown=int(options.grace_s + _LAST_WORDS_S),
        )
        super().__init__(config)
        self.signal: int | None = None
        self.on_start: Callable[[], None] = lambda: None
        self._service = service
        self._options = options

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(list(sockets) if sockets is not None else None)
        if self.started:
            self.on_start()

    async def shutdown(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """See uvicorn; replies end while it waits for its connections."""
        draining = asyncio.create_task(self._service.drain(self._options.grace_s))
        await super().shutdown(list(sockets) if sockets is not None else None)
        await draining

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn, which would raise the signal once more at the end: a stop is no failure."""
        self.signal = self.signal or sig
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def listen(options: ServeOptions) -> socket.socket:
    """The socket that requests come to. Raises ConfigError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"cannot listen on {options.host}, port {options.port}: {reason}"
        ) from None
    return listener
