"""The page in a real browser, against real `duologue serve` processes.

chromium       one Debian chromium for the tests of a module; while it runs, so does an event loop
start_server   start_server(*arguments, slow=False) -> Server, a process
tiny_server    a server with a tiny random model
slow_server    the same, and each token takes a while
duo_server     a server with the shipped model
keyed_server   a server that demands a key, and the key
open_page      open_page(server, path="", **context) -> Page; at the end of the test the page must
               have asked no other origin for anything and have written no error on its console
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from web_server import WAIT_MS, Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium is installed (Debian, Ubuntu: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    running: list[Server] = []

    def start(*arguments: str, **options: Any) -> Server:
        server = Server(arguments, tmp_path_factory.mktemp("serve"), **options)
        running.append(server)
        server.start()
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def tiny_server(
    start_server: Callable[..., Server], tiny_model_folder: Callable[..., Path]
) -> Server:
    return start_server("--model", str(tiny_model_folder()))


@pytest.fixture(scope="session")
def duo_server(start_server: Callable[..., Server]) -> Server:
    return start_server("--model", "duo-s")


@pytest.fixture(scope="session")
def slow_server(
    start_server: Callable[..., Server], tiny_model_folder: Callable[..., Path]
) -> Server:
    return start_server("--model", str(tiny_model_folder()), slow=True)


@pytest.fixture(scope="session")
def keyed_server(
    start_server: Callable[..., Server], tiny_model_folder: Callable[..., Path]
) -> tuple[Server, str]:
    server = start_server("--model", str(tiny_model_folder()))
    server.stop()
    key = server.create_key()
    server.start()
    return server, key


@dataclass
class Watch:
    """What a page did that it must not do. `allow` adds a pattern of console errors to expect."""

    origin: str
    allowed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def allow(self, pattern: str) -> None:
        self.allowed.append(pattern)

    def request(self, request: Any) -> None:
        own = (self.origin, self.origin.replace("http", "ws"), "blob:" + self.origin)
        if not request.url.startswith(own):
            self.problems.append(f"asked for {request.url}")

    def console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console: {message.text}")

    def error(self, error: Any) -> None:
        self.problems.append(f"exception: {error}")

    def check(self) -> None:
        expected = re.compile("|".join(self.allowed) or r"(?!)")
        assert [problem for problem in self.problems if not expected.search(problem)] == []


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    contexts = []
    watches = []

    def open_(server: Server, path: str = "", **options: Any) -> Page:
        options.setdefault("locale", "en-US")
        options.setdefault("color_scheme", "light")
        context = chromium.new_context(**options)
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()
        watch = Watch(server.url.rstrip("/"))
        watches.append(watch)
        page.on("request", watch.request)
        page.on("websocket", watch.request)
        page.on("console", watch.console)
        page.on("pageerror", watch.error)
        page.watch = watch
        page.goto(server.url + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    for watch in watches:
        watch.check()
