"""Memories that clients made with /v1/encode, and decode as often as they like.

HeldMemory    one of them
HeldMemories  those of all keys, within a number of bytes and for a limited time
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from duologue.engine.memory import Memory
from duologue.errors import NotFoundError
from duologue.server.service import ServedModel

# Of a model's pool; more is for conversations and for what runs.
SHARE_OF_POOL = 0.125
LIFE_S = 600.0


@dataclass(frozen=True)
class HeldMemory:
    """expires_s  Unix time in seconds after which it is gone"""

    id: str
    owner: str
    served: ServedModel
    memory: Memory
    expires_s: float


class HeldMemories:
    """For the thread of the event loop alone.

    clock  Unix time in seconds

    When there is no room, the oldest memory goes of the key that holds most with this model.
    """

    def __init__(self, life_s: float = LIFE_S, clock: Callable[[], float] = time.time) -> None:
        self._life_s = life_s
        self._clock = clock
        self._held: dict[str, HeldMemory] = {}  # oldest first

    @property
    def num_bytes(self) -> int:
        """What all of them take."""
        return sum(held.memory.num_bytes for held in self._held.values())

    def keep(self, owner: str, served: ServedModel, memory: Memory) -> HeldMemory:
        """Hold a memory for a key."""
        self._expire()
        number = f"mem_{secrets.token_urlsafe(18)}"
        held = HeldMemory(number, owner, served, memory, self._clock() + self._life_s)
        self._held[held.id] = held
        most = SHARE_OF_POOL * served.runtime.forward.pool.limit_bytes
        while self._make_room(served.name, most):
            pass
        return held

    def get(self, owner: str, number: str) -> HeldMemory:
        """A memory of this key. Raises NotFoundError."""
        self._expire()
        held = self._held.get(number)
        if held is None or held.owner != owner:
            raise NotFoundError("there is no such memory, or its time is over: encode it again")
        return held

    def _expire(self) -> None:
        now_s = self._clock()
        for held in list(self._held.values()):
            if held.expires_s > now_s:
                break
            del self._held[held.id]

    def _make_room(self, model: str, most_bytes: float) -> bool:
        """Drop one memory if those of a model take too much; whether one was dropped."""
        owners: Counter[str] = Counter()
        for held in self._held.values():
            if held.served.name == model:
                owners[held.owner] += held.memory.num_bytes
        if owners.total() <= most_bytes:
            return False
        owner = owners.most_common(1)[0][0]
        oldest = next(
            held
            for held in self._held.values()
            if held.owner == owner and held.served.name == model
        )
        del self._held[oldest.id]
        return True
