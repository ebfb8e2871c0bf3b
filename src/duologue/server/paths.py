"""The messages up to those that were said last, so that a turn need not read all of them again.

Paths   a bounded part of what Conversations.path would give; complete messages never change
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from duologue.storage.conversations import Conversations
from duologue.storage.records import StoredMessage

MAX_CHARS = 16 * 2**20

Key = tuple[str, str, str]


class Paths:
    """Threads may share it. Messages come without results and options, which are large.

    max_chars  of all texts that are kept
    """

    def __init__(self, store: Conversations, max_chars: int = MAX_CHARS) -> None:
        self._store = store
        self._max_chars = max_chars
        self._lock = threading.Lock()  # guards the following
        self._kept: OrderedDict[Key, tuple[StoredMessage, ...]] = OrderedDict()
        self._num_chars = 0

    def to(self, owner: str, conversation: str, message: str) -> list[StoredMessage]:
        """The messages up to this one, the first one first, of a conversation that is there.

        Raises NotFoundError if it has no such message.
        """
        with self._lock:
            kept = self._kept.get((owner, conversation, message))
        return self._store.path(owner, conversation, message) if kept is None else list(kept)

    def keep(self, owner: str, path: Sequence[StoredMessage]) -> None:
        """Remember the path to its last message, in place of the ones to those before it."""
        slim = tuple(replace(message, result=None, options=None) for message in path)
        conversation = slim[-1].conversation
        with self._lock:
            for message in slim[-3:]:
                self._drop((owner, conversation, message.id))
            self._kept[owner, conversation, slim[-1].id] = slim
            self._num_chars += _num_chars(slim)
            while self._num_chars > self._max_chars:
                self._drop(next(iter(self._kept)))

    def forget(self, owner: str, conversation: str) -> None:
        """Let go of a conversation that is no more."""
        with self._lock:
            for key in [key for key in self._kept if key[:2] == (owner, conversation)]:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        self._num_chars -= _num_chars(self._kept.pop(key, ()))


def _num_chars(path: Sequence[StoredMessage]) -> int:
    """What a path takes: its texts, and something for each message."""
    return sum(len(message.text) + 200 for message in path)
