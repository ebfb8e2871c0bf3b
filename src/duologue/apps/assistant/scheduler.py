"""Timers, alarms and reminders that are to ring, by a clock that the caller gives.

Scheduler   set, list, cancel, and what is due now; it neither waits nor rings
utc_now     the clock of this machine
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from duologue.storage.preferences import Due, PersonalStore

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time of this machine, in UTC."""
    return datetime.now(UTC)


class Scheduler:
    """What is to ring is kept in the store, so that it outlives the process.

    clock  tells the time, with a zone
    """

    def __init__(self, store: PersonalStore, clock: Clock = utc_now) -> None:
        self._store = store
        self.clock = clock

    def set(self, user: str, kind: str, at: datetime, label: str, language: str) -> Due:
        """Something to ring; kind is timer, alarm or reminder."""
        return self._store.add_due(user, kind, at.timestamp(), label, language)

    def pending(self, user: str, kind: str) -> list[Due]:
        """What will ring for a person, soonest first."""
        return self._store.dues(user, kind)

    def cancel(self, user: str, ids: list[int]) -> int:
        """Forget some; returns how many there were."""
        return self._store.remove_dues(user, ids)

    def due(self, user: str | None = None) -> list[Due]:
        """What rings now, late ones included; each is told once. user None: for everybody."""
        return self._store.take_due(self.clock().timestamp(), user)
