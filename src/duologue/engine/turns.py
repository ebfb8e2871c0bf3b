"""Whose turn it is to run a step, and how everybody else sleeps until there is mail for them.

Mailbox   progress that one reader waits for
Turns     lets one thread at a time run a step

There is no thread of the engine's own: a reader whose mailbox is empty runs the step that fills it,
unless another thread is at it. A thread is woken for its mail or for its turn, and for nothing
else, so a thousand that wait cost a running step nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from duologue.engine.request import Progress


class Mailbox:
    """Progress in the order it came; read by one thread at a time, under the lock of its Turns."""

    def __init__(self, lock: threading.RLock) -> None:
        self.items: deque[Progress] = deque()
        self.changed = threading.Condition(lock)

    def put(self, progress: Progress) -> None:
        """Add progress and wake the reader. The caller holds the lock."""
        self.items.append(progress)
        self.changed.notify()


class Turns:
    """One step at a time.

    lock  guards the mailboxes, and whatever else the threads share between steps
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._owner: int | None = None
        self._waiting: dict[Mailbox, None] = {}  # first come, first served

    @property
    def is_taken(self) -> bool:
        """Whether a thread is running a step."""
        return self._owner is not None

    def mailbox(self) -> Mailbox:
        """A new, empty mailbox."""
        return Mailbox(self.lock)

    def run(self, step: Callable[[], list[Progress]], mailbox: Mailbox) -> list[Progress]:
        """Run a step when it is this thread's turn; nothing if there is mail before that."""
        me = threading.get_ident()
        try:
            with self.lock:
                self._waiting[mailbox] = None
                while self._owner is not None and not mailbox.items:
                    mailbox.changed.wait()
                del self._waiting[mailbox]
                if mailbox.items:
                    return []
                self._owner = me
            return step()
        finally:
            # Also on the way of an exception: who was woken for a turn may die before taking it.
            with self.lock:
                self._waiting.pop(mailbox, None)
                if self._owner == me:
                    self._owner = None
                if self._owner is None:
                    self._wake_next()

    def _wake_next(self) -> None:
        """Wake the first thread that waits for its turn; those with mail have been woken for it."""
        for mailbox in self._waiting:
            if not mailbox.items:
                mailbox.changed.notify()
                return
