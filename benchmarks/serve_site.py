"""A server in a process of its own, with a data folder of its own, and what it takes.

serving    `duologue serve` until the block ends
Site       where it is, what it takes, and how to ask it things
ask_users  clients in a process of their own
run_client any of the client scripts, with a plan
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serve_client import Answer, Request

FOLDER = Path(__file__).parent
# What one key may have by default is less than all of these clients together need.
LIMITS = {"max_streams": 2000, "max_requests_per_minute": 10_000_000}


@dataclass(frozen=True)
class Asked:
    """What a process of clients found. wall_s: from the start to the end of all."""

    answers: list[list[Answer]]
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Site:
    """A server that runs. Figures of its process come from /proc."""

    process: subprocess.Popen[str]
    port: int
    model: str

    @property
    def cpu_s(self) -> float:
        """Processor time that it has used."""
        values = self._read("stat").rpartition(")")[2].split()
        return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def rss_bytes(self) -> int:
        """Memory that it holds."""
        return int(self._read("statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def files(self) -> Counter[str]:
        """Open files and sockets by name, but for those of the database, which keeps some open."""
        names: Counter[str] = Counter()
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                name = str(entry.readlink())
                names["socket" if name.startswith("socket:") else name] += "duologue.db" not in name
        return +names

    def get(self, path: str, method: str = "GET", body: dict[str, Any] | None = None) -> str:
        """What it answers. Raises urllib.error.HTTPError for an error."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request) as answer:
            return str(answer.read().decode())

    def post(self, path: str, **body: Any) -> Any:
        """What it answers, read as JSON."""
        return json.loads(self.get(path, "POST", body))

    def begin(self) -> str:
        """The id of a new conversation."""
        return str(self.post("/v1/conversations")["id"])

    def metrics(self) -> dict[str, float]:
        """What /metrics tells: name with labels -> value."""
        lines = [line for line in self.get("/metrics").split("\n") if line and line[0] != "#"]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    def _read(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text(encoding="utf-8")


@contextmanager
def serving(model: str, threads: int, limits: dict[str, int] | None = None) -> Iterator[Site]:
    """A server with an empty data folder, until the block ends; then it must end well.

    model, threads  see `duologue serve`
    limits          beside LIMITS
    """
    command = [sys.executable, "-c", "from duologue.cli import main; main()"]
    command += ["serve", "--port", "0", "--model", model]
    command += ["--threads", str(threads)]
    for name, value in {**LIMITS, **(limits or {})}.items():
        command += ["--limit", f"{name}={value}"]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([*command, "--data", folder], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        line = process.stderr.readline()
        try:
            yield Site(process, int(line.rpartition(":")[2]), Path(model).name)
        finally:
            process.terminate()
            _, rest = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"the server ended with {process.returncode}: {rest}")


def ask_users(site: Site, users: Sequence[Sequence[Request]], arrivals: Sequence[float]) -> Asked:
    """From its arrival, in seconds, each user asks one thing after another; see serve_client.py."""
    plan = {"port": site.port, "arrivals": list(arrivals)}
    requests = [[asdict(one) for one in user] for user in users]
    found = run_client("serve_client", {**plan, "users": requests})
    answers = [[Answer(**one) for one in made] for made in found.pop("answers")]
    return Asked(answers, **found)


def run_client(script: str, plan: dict[str, Any]) -> Any:
    """What a client script found, which gets a plan. Raises CalledProcessError if it failed."""
    command = [sys.executable, str(FOLDER / f"{script}.py")]
    done = subprocess.run(
        command, input=json.dumps(plan), stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)
