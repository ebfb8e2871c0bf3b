"""`duologue` as a real process, as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

COMMAND = (sys.executable, "-m", "duologue.cli")
Finished = subprocess.CompletedProcess[bytes]
RunCli = Callable[..., Finished]


def environment() -> dict[str, str]:
    """The environment of the child, without what would change its output."""
    dropped = (
        "DUOLOGUE_DEBUG",
        "DUOLOGUE_API_KEY",
        "COLUMNS",
        "LC_ALL",
        "LANG",
        "PYTHONUTF8",
        "PYTHONIOENCODING",
    )
    return {name: value for name, value in os.environ.items() if name not in dropped}


def assert_refused(done: Finished, *words: str, code: int = 2) -> None:
    """Bad input is answered by the exit code and one line on stderr, after any warnings."""
    lines = done.stderr.decode().splitlines()
    assert done.returncode == code, lines
    *warnings, message = lines
    assert all(line.startswith("duologue: warning: ") for line in warnings)
    assert message.startswith("duologue: ")
    for word in words:
        assert word in message


def lines_of(done: Finished) -> list[str]:
    """The lines of stdout of a run that must have worked."""
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split("\n")[:-1]
