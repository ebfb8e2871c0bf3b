"""`duologue serve` as a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

COMMAND = (sys.executable, "-m", "duologue.cli")
# The same command with an engine that takes its time, so that a reply can be seen while it is made.
SLOW = (
    sys.executable,
    "-c",
    """
import sys, time
from duologue.engine.engine import Engine
collect = Engine.collect
def slow(self, *values):
    time.sleep(0.05)
    return collect(self, *values)
Engine.collect = slow
from duologue.cli import main
main()
""",
)
START_S = 60


class Server:
    """A server on a free port of this machine; it can be stopped and started again there."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, slow: bool = False) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.folder = folder
        self._command = [
            *(SLOW if slow else COMMAND),
            *("serve", "--port", str(self.port), "--data", str(folder), *arguments),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the server is ready."""
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        log.close()
        pause = threading.Event()
        for _ in range(START_S * 20):
            assert self._process.poll() is None, (self.folder / "log").read_text()
            try:
                with urllib.request.urlopen(self.url + "health/ready"):
                    return
            except OSError:
                pause.wait(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None
