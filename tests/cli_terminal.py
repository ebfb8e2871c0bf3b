"""`duologue` at a pseudo-terminal, as a person sees it.

Terminal   a process, what it shows, and the keys that are typed
"""

from __future__ import annotations

import os
import pty
import select
from collections.abc import Callable
from pathlib import Path

from cli_process import COMMAND, environment

PROMPT = b"you> "


class Terminal:
    """A process on a pseudo-terminal; reads wait for what is expected, never for a time."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.seen = b""
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            command = [*COMMAND, *arguments]
            os.execve(command[0], command, environment() | {"TERM": "dumb"})

    def expect(self, words: bytes) -> bytes:
        """Everything up to and with `words`."""
        while words not in self.seen:
            self.read_more()
        before, _, self.seen = self.seen.partition(words)
        return before + words

    def read_more(self) -> None:
        """Wait for more output."""
        ready, _, _ = select.select([self.screen], [], [], 60)
        assert ready, f"nothing more came after {self.seen!r}"
        chunk = os.read(self.screen, 4096)
        assert chunk, f"ended after {self.seen!r}"
        self.seen += chunk

    def type(self, keys: bytes) -> None:
        os.write(self.screen, keys)

    def exit_code(self, keys: bytes) -> int:
        """Read to the end of the output, typing `keys`, again if a second brings nothing new."""
        try:
            self.type(keys)
            while True:
                if select.select([self.screen], [], [], 1)[0]:
                    self.seen += os.read(self.screen, 4096)
                else:
                    self.type(keys)
        except OSError:  # how Linux tells that the other side is closed
            pass
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)


OpenTerminal = Callable[[list[str]], Terminal]
