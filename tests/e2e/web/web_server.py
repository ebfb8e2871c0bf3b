"""`duologue serve` as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

COMMAND = (sys.executable, "-m", "duologue.cli")
# The same command with an engine that takes its time: a reply can be seen while it is made.
SLOW = (
    sys.executable,
    "-c",
    """
import time
from duologue.cli import main
from duologue.engine.engine import Engine
collect = Engine.collect
def slow(self, *values):
    time.sleep(0.05)
    return collect(self, *values)
Engine.collect = slow
main()
""",
)
WAIT_MS = 60_000  # a failing test says so after this long; no passing test waits for it
LISTENS = "listening on http://"


class Server:
    """A server on a free port of this machine; it can be stopped and started again there."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, slow: bool = False) -> None:
        self.url = ""
        self._folder = folder
        self._command = [*(SLOW if slow else COMMAND), "serve", "--threads", "1", *arguments]
        self._process: subprocess.Popen[str] | None = None

    def create_key(self) -> str:
        """A new key. A server demands one if there were any when it started."""
        create = [*COMMAND, "keys", "create", "browser", "--data", str(self._folder)]
        return subprocess.run(create, capture_output=True, check=True, text=True).stdout.strip()

    def start(self) -> None:
        """Returns when the server listens."""
        port = self.url.rstrip("/").rpartition(":")[2] or "0"
        command = [*self._command, "--port", port, "--data", str(self._folder)]
        command += ["--kb", str(self._folder / "kb")]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if LISTENS in line:
                self.url = line.strip().rpartition(" ")[2].rstrip("/") + "/"
                break
        else:
            raise AssertionError("".join(said))
        self._drain = threading.Thread(target=self._process.stderr.read)
        self._drain.start()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._drain.join()
            self._process.stderr.close()
            self._process = None
