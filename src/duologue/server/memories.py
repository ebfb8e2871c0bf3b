"""Where the memory of a conversation comes from: this process, the disk, or the encoder.

Memories   of one model: what was used lately stays; more is on disk; the rest is encoded again
names_of   the hashes of a dialogue that is not stored

A memory is known by the hash of the path that it belongs to (storage.records.chain_hash), which
names its owner too. So edits, forks and new replies go on from whatever they share; and so do
dialogues of clients that send all of it with each turn.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

from duologue.api import Model
from duologue.conversation import Conversation
from duologue.engine.memory import Memory
from duologue.errors import CheckpointError, EngineError, StorageError
from duologue.runtime import Runtime
from duologue.server.errors import LOG
from duologue.storage.memory_cache import CachedTurn, MemoryCache
from duologue.storage.records import StoredMessage, chain_hash, chain_root
from duologue.types import Turn

# The rest of the pool is for what runs.
SHARE_OF_POOL = 0.5


class Memories:
    """The memories of conversations with one model. Threads may share it.

    cache  on disk; None: there is none
    """

    def __init__(self, model: Model, runtime: Runtime, cache: MemoryCache | None) -> None:
        self._model = model
        self._runtime = runtime
        # Where every turn encodes everything, there is nothing to save.
        self._cache = cache if runtime.config.encoder_mask != "full" else None
        self._max_bytes = int(SHARE_OF_POOL * runtime.forward.pool.limit_bytes)
        self._lock = threading.Lock()  # guards the following
        self._recent: OrderedDict[str, Conversation] = OrderedDict()
        self._uses: Counter[int] = Counter()  # of each segment, by its id, in _recent
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        """What is held here; segments that memories share count once."""
        return self._num_bytes

    def restore(self, path: Sequence[StoredMessage]) -> tuple[Conversation, list[Turn]]:
        """A conversation with the first of these messages, and those that are still to be read."""
        hashes = [message.hash or "" for message in path]
        turns = [Turn(message.role, message.text) for message in path]
        known, conversation = self._recall(hashes)
        if conversation is None or known < len(path) - 1:
            saved, loaded = self._load(hashes, turns)
            if loaded is not None and saved > known:
                known, conversation = saved, loaded
        if conversation is None:
            return self._model.conversation(), turns
        return conversation, turns[known:]

    def recall(
        self, hashes: Sequence[str], turns: Sequence[Turn]
    ) -> tuple[Conversation, Sequence[Turn]]:
        """What restore gives, of what is remembered here as a whole: no turn has left it.

        So a reply is the same as from a dialogue that is read from its beginning.
        """
        known, conversation = self._recall(hashes)
        is_full = self._runtime.config.encoder_mask == "full"
        if conversation is None or is_full or any(part is None for _, part in conversation.parts):
            return self._model.conversation(), turns
        return conversation, turns[known:]

    def keep(self, hashes: Sequence[str], conversation: Conversation) -> None:
        """Remember the memory after a path, in this process."""
        conversation = conversation.fork()
        with self._lock:
            if hashes[-1] in self._recent:
                self._drop(hashes[-1])
            self._recent[hashes[-1]] = conversation
            for segment in conversation.memory.segments:
                self._uses[id(segment)] += 1
                self._num_bytes += segment.encoded.num_bytes if self._uses[id(segment)] == 1 else 0
            while self._num_bytes > self._max_bytes:
                self._drop(next(iter(self._recent)))

    def save(self, hashes: Sequence[str], conversation: Conversation) -> None:
        """Write the memory after a path to disk. Raises StorageError if that fails."""
        if self._cache is not None:
            parts = conversation.parts
            turns = [CachedTurn(name, part) for name, (_, part) in zip(hashes, parts, strict=True)]
            self._cache.save(self._runtime.fingerprint, turns)

    def forget(self, hashes: Iterable[str]) -> None:
        """Let go of paths that no message has any more, here and on disk."""
        gone = list(hashes)
        with self._lock:
            for name in gone:
                if name in self._recent:
                    self._drop(name)
        if self._cache is not None:
            self._cache.erase(gone)

    def _recall(self, hashes: Sequence[str]) -> tuple[int, Conversation | None]:
        """The longest part of a path that is remembered here."""
        with self._lock:
            for known in range(len(hashes), 0, -1):
                conversation = self._recent.get(hashes[known - 1])
                if conversation is not None:
                    self._recent.move_to_end(hashes[known - 1])
                    return known, conversation.fork()
        return 0, None

    def _load(
        self, hashes: Sequence[str], turns: Sequence[Turn]
    ) -> tuple[int, Conversation | None]:
        """The longest part of a path whose memory is on disk."""
        if self._cache is None:
            return 0, None
        conversation = self._model.conversation()
        try:
            cached = self._cache.load(self._runtime.fingerprint, hashes, self._read)
            conversation.restore(
                [(turn, item.part) for turn, item in zip(turns, cached, strict=False)]
            )
        except (StorageError, CheckpointError, EngineError) as error:
            LOG.warning("a saved memory cannot be used: %s", error)
            return 0, None
        return len(cached), conversation

    def _read(self, path: Path) -> Memory:
        return Memory.load(path, self._runtime.fingerprint, self._runtime.forward)

    def _drop(self, name: str) -> None:
        for segment in self._recent.pop(name).memory.segments:
            self._uses[id(segment)] -= 1
            if not self._uses[id(segment)]:
                del self._uses[id(segment)]
                self._num_bytes -= segment.encoded.num_bytes


def names_of(owner: str, turns: Sequence[Turn]) -> list[str]:
    """The hash of the path up to each turn, which is what it would have if it were stored."""
    roots = accumulate(
        turns,
        lambda before, turn: chain_hash(before, turn.role, turn.text),
        initial=chain_root(owner),
    )
    return list(roots)[1:]
