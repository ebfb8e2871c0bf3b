"""Real servers on free ports, with tiny models.

start     start(cell="transformer", limits={...}, **options) -> Site: a server in a thread
site      one of these with everything as it is by default
start_shop  start with a model that has room for passages, and with a knowledge base
run       run(pace_s=0.0, *options, port=0) -> Process: `duologue serve` as a process
database  what they store conversations in: a URL, or None for SQLite in their data folder

The modules in WITH_BOTH run once with SQLite and once with PostgreSQL.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import databases
import pytest
from server_process import Process, Run
from server_site import Json, Site, Start, start_site

from duologue.server.limits import Limits
from duologue.server.options import ServeOptions

WITH_BOTH = ("test_access", "test_conversations", "test_load", "test_restart")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__ in WITH_BOTH and "database" in metafunc.fixturenames:
        metafunc.parametrize("database", databases.KINDS, indirect=True)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    if getattr(request, "param", "sqlite") == "sqlite":
        yield None
        return
    with databases.new_postgres(request.getfixturevalue("postgres_folder")) as url:
        yield url


@pytest.fixture
def start(
    tiny_model_folder: Callable[..., Path], tmp_path: Path, database: str | None
) -> Iterator[Start]:
    sites: list[Site] = []

    def make(
        cell: str = "transformer",
        limits: Json | None = None,
        telemetry: Any = None,
        **changes: Any,
    ) -> Site:
        options = {"port": 0, "models": (str(tiny_model_folder(cell)),), "threads": 1, "kb": None}
        options |= {"data": tmp_path / "data", "database": database}
        options["limits"] = Limits(**limits or {})
        sites.append(start_site(ServeOptions(**{**options, **changes}), telemetry))
        return sites[-1]

    yield make
    for site in sites:
        site.stop()


@pytest.fixture
def site(start: Start) -> Site:
    return start()


@pytest.fixture
def start_shop(start: Start, tmp_path: Path, passage_model: Callable[..., Path]) -> Start:
    folder = passage_model(tmp_path / "shop", answers=False)

    def make(**options: Any) -> Site:
        return start(**{"models": (str(folder),), "kb": tmp_path / "kb", **options})

    return make


@pytest.fixture
def run(
    tiny_model_folder: Callable[..., Path], tmp_path: Path, database: str | None
) -> Iterator[Run]:
    started: list[Process] = []
    where = ("--database", database) if database is not None else ()

    def make(pace_s: float = 0.0, *options: str, port: int = 0) -> Process:
        folder = tiny_model_folder("transformer")
        started.append(Process(folder, tmp_path / "data", pace_s, *where, *options, port=port))
        return started[-1]

    yield make
    for one in started:
        one.client.close()
        if one.process.poll() is None:
            one.end(signal.SIGKILL)
