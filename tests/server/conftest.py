"""Real servers on free ports, with tiny models.

start   start(cell="transformer", limits={...}, **options) -> Site: a server in a thread
site    one of these with everything as it is by default
run     run(pace_s=0.0, *options, port=0) -> Process: `duologue serve` as a process
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from server_process import Process, Run
from server_site import Json, Site, Start, start_site

from duologue.server.limits import Limits
from duologue.server.options import ServeOptions


@pytest.fixture
def start(tiny_model_folder: Callable[..., Path], tmp_path: Path) -> Iterator[Start]:
    sites: list[Site] = []

    def make(
        cell: str = "transformer",
        limits: Json | None = None,
        telemetry: Any = None,
        **changes: Any,
    ) -> Site:
        options = {"port": 0, "models": (str(tiny_model_folder(cell)),), "threads": 1}
        options |= {"data": tmp_path / "data", "limits": Limits(**limits or {})}
        sites.append(start_site(ServeOptions(**{**options, **changes}), telemetry))
        return sites[-1]

    yield make
    for site in sites:
        site.stop()


@pytest.fixture
def site(start: Start) -> Site:
    return start()


@pytest.fixture
def run(tiny_model_folder: Callable[..., Path], tmp_path: Path) -> Iterator[Run]:
    started: list[Process] = []

    def make(pace_s: float = 0.0, *options: str, port: int = 0) -> Process:
        folder = tiny_model_folder("transformer")
        started.append(Process(folder, tmp_path / "data", pace_s, *options, port=port))
        return started[-1]

    yield make
    for one in started:
        one.client.close()
        if one.process.poll() is None:
            one.end(signal.SIGKILL)
