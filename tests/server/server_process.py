"""A server in a process of its own, whose model decodes one step in PACE_S seconds at best.

server_process.py PACE_S [options of `duologue serve`]   the process itself
Process   starts one and ends it; see conftest.py for the fixture `run`
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from duologue.cli import run
from duologue.engine.forward import Forward


class Process:
    """`duologue serve` as a process."""

    def __init__(
        self, folder: Path, data: Path, pace_s: float, *options: str, port: int = 0
    ) -> None:
        command = [sys.executable, __file__, str(pace_s), "--threads", "1"]
        command += ["--port", str(port), "--model", str(folder), "--data", str(data), *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.fullmatch(r"duologue: listening on (http://127\.0\.0\.1:\d+)\n", line)
        assert found is not None, line + self.process.stderr.read()
        self.url = found[1]
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal and wait; exit code and what was written to stderr."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        _, written = self.process.communicate(timeout=60)
        return self.process.returncode, written


Run = Callable[..., Process]


def slow_down(pace_s: float) -> None:
    decode_step = Forward.decode_step

    def slow(self: Forward, states: Any, ids: Any) -> Any:
        time.sleep(pace_s)
        return decode_step(self, states, ids)

    Forward.decode_step = slow  # type: ignore[method-assign]


if __name__ == "__main__":
    slow_down(float(sys.argv[1]))
    sys.exit(run(["serve", *sys.argv[2:]]))
