"""Encoded memories in a folder of bounded size, so that a conversation need not be encoded again.

A memory is kept turn by turn, in one entry each. An entry is named after the path up to its turn
(records.chain_hash) and after the model, because these alone decide what is in it. So each turn is
written once, forks and edited branches share all that they have in common, and whoever knows the
messages of a conversation can find, and erase, what is kept of it.

    <hash>.<model>/        one turn, a folder that appears and goes as a whole
        part.safetensors   the segments of that turn
        entry.json         SHA-256 of that file, and which turns were in the memory at that turn

Entries are used by moving their times; the least recently used leave first. Nothing here needs to
survive: what is missing or damaged is encoded again. Processes may share the folder: entries are
only ever added, taken away and touched, each of which one process does and the others find done.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from duologue.config import from_dict
from duologue.errors import CheckpointError, ConfigError, StorageError

_PART, _ENTRY = "part.safetensors", "entry.json"
_NAME = re.compile(r"([0-9a-f]{64})\.[0-9a-f]{16}", re.ASCII)
_TEMPORARY = ".duologue-"
_STALE_S = 3600.0  # what is temporary for so long was left by a process that died
_MAX_ENTRY_BYTES = 2**20
# Entries leave until this share of the budget is free, so that not every save has to look at all.
# Processes look again after having written as much: each may be wrong by so much about the others.
_SLACK = 1 / 16


class Part(Protocol):
    """What engine.memory.Memory is here: it has a size and can be saved."""

    @property
    def num_tokens(self) -> int: ...

    def save(self, path: Path, fingerprint: str) -> None: ...


P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class CachedTurn(Generic[P]):
    """One turn of a path, and what of it is in the memory.

    hash  of the path up to it
    part  a memory of its own segments alone; None: it has left the memory
    """

    hash: str
    part: P | None


class MemoryCache:
    """A folder of encoded turns that takes at most max_bytes. Threads and processes may share it.

    folder   made if it is not there, for its owner alone; other things in it are left alone
    is_lazy  look at what there is, which takes a while, only when something is written

    Raises ConfigError for a budget below 1, StorageError if the folder cannot be made or read.
    """

    def __init__(self, folder: Path, max_bytes: int, is_lazy: bool = False) -> None:
        if max_bytes < 1:
            raise ConfigError(f"the budget of the memory cache must be positive, not {max_bytes}")
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()  # guards all of the following
        self._taken: int | None = None  # what the entries take; None: not looked at yet
        self._unseen_bytes = 0  # written since the folder was looked at
        self._last_use_ns = 0
        with _translated(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not is_lazy:
                self._taken = self._make_room(0)

    @property
    def num_bytes(self) -> int:
        """What the entries take, as far as this process knows."""
        with self._lock, _translated(self._folder):
            if self._taken is None:
                self._taken = self._make_room(0)
            return self._taken

    def save(self, fingerprint: str, turns: Sequence[CachedTurn[P]]) -> None:
        """Keep a memory: all turns of a path, the first one first. What is there is not written.

        fingerprint  of the model that encoded it

        Raises StorageError if it cannot be written; what was kept before stays.
        """
        kept = [_num_tokens(turn) for turn in turns]
        now_ns = self._next_use(len(turns))
        for index, turn in reversed(list(enumerate(turns))):
            if turn.part is None:
                continue
            entry = self._entry(fingerprint, turn.hash)
            # Of one path the last turns leave first: the first ones may be shared.
            use_ns = now_ns - index
            if not _touch(entry, use_ns):
                is_last = index == len(turns) - 1
                with _translated(self._folder):
                    self._write(entry, turn.part, fingerprint, kept if is_last else None, use_ns)

    def load(
        self, fingerprint: str, hashes: Sequence[str], read: Callable[[Path], P]
    ) -> list[CachedTurn[P]]:
        """The memory after as many turns of a path as can be had; an empty list if none can.

        fingerprint  of the model that is to use it
        hashes       of all turns of the path, the first one first
        read         a saved part of that model's; see Memory.load

        What is damaged is dropped. Raises StorageError if the folder cannot be used, and what
        `read` raises, but for CheckpointError.
        """
        with _translated(self._folder):
            return self._load(fingerprint, hashes, read)

    def erase(self, hashes: Iterable[str]) -> None:
        """Drop the turns with these hashes, of all models; see Conversations.delete."""
        gone = set(hashes)
        with _translated(self._folder):
            for entry, turn_hash in self._entries():
                if turn_hash in gone:
                    self._drop(entry)

    def sweep(self, known: Callable[[list[str]], set[str]]) -> None:
        """Drop the turns of messages that are no more: what a process that died could not erase.

        known  those of some hashes that a message has; see Conversations.known_hashes
        """
        with _translated(self._folder):
            entries = list(self._entries())
            still = known(sorted({turn_hash for _, turn_hash in entries}))
            for entry, turn_hash in entries:
                if turn_hash not in still:
                    self._drop(entry)

    # --- entries -----------------------------------------------------------------------------

    def _entry(self, fingerprint: str, turn_hash: str) -> Path:
        model = hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
        return self._folder / f"{turn_hash}.{model}"

    def _entries(self) -> Iterator[tuple[Path, str]]:
        """All entries with the hashes of their turns."""
        for path in self._folder.iterdir():
            matched = _NAME.fullmatch(path.name)
            if matched is not None:
                yield path, matched[1]

    def _load(
        self, fingerprint: str, hashes: Sequence[str], read: Callable[[Path], P]
    ) -> list[CachedTurn[P]]:
        parts: dict[str, P] = {}
        for end in range(len(hashes), 0, -1):
            last = self._entry(fingerprint, hashes[end - 1])
            kept = self._kept(last, end)
            if kept is None:
                continue
            turns = []
            for name, num_tokens in zip(hashes, kept, strict=False):
                if num_tokens and name not in parts:
                    part = self._read(self._entry(fingerprint, name), read)
                    if part is None:
                        break
                    parts[name] = part
                turns.append(CachedTurn(name, parts[name] if num_tokens else None))
            if [_num_tokens(turn) for turn in turns] == kept:
                now_ns = self._next_use(end)
                for index, turn in reversed(list(enumerate(turns))):
                    if turn.part is not None:
                        _touch(self._entry(fingerprint, turn.hash), now_ns - index)
                return turns
        return []

    def _next_use(self, num_turns: int) -> int:
        """A time in ns; it and the num_turns before it are later than all that were given out."""
        with self._lock:
            self._last_use_ns = max(time.time_ns(), self._last_use_ns + num_turns + 1)
            return self._last_use_ns

    def _write(
        self, entry: Path, part: Part, fingerprint: str, kept: list[int] | None, use_ns: int
    ) -> None:
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self._folder))
        try:
            part.save(temporary / _PART, fingerprint)
            content = json.dumps({"sha256": _sha256(temporary / _PART), "kept": kept})
            (temporary / _ENTRY).touch(mode=0o600)
            (temporary / _ENTRY).write_text(content, encoding="ascii")
            os.utime(temporary, ns=(use_ns, use_ns))
            num_bytes = _num_bytes(temporary)
            if num_bytes > self._max_bytes:
                return
            with self._lock:
                self._unseen_bytes += num_bytes
                is_full = self._taken is None or self._taken + num_bytes > self._max_bytes
                if is_full or self._unseen_bytes > _SLACK * self._max_bytes:
                    self._taken = self._make_room(num_bytes)
                if _renamed(temporary, entry):
                    self._taken = (self._taken or 0) + num_bytes
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _make_room(self, num_bytes: int) -> int:
        """Drop what was not used for longest until so many bytes fit; returns what is taken."""
        self._unseen_bytes = 0
        found = []
        for entry, _ in self._entries():
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                found.append((entry.stat().st_mtime_ns, _num_bytes(entry), entry))
        taken = sum(size for _, size, _ in found)
        if taken + num_bytes > self._max_bytes:
            most = max(0, int((1 - _SLACK) * self._max_bytes) - num_bytes)
            for _, size, entry in sorted(found):
                if taken <= most:
                    break
                self._drop(entry)
                taken -= size
        self._remove_stale()
        return taken

    def _remove_stale(self) -> None:
        for path in self._folder.glob(f"{_TEMPORARY}*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _STALE_S:
                    shutil.rmtree(path, ignore_errors=True)

    def _drop(self, entry: Path) -> None:
        """Take an entry away as a whole; who reads its files goes on."""
        doomed = self._folder / f"{_TEMPORARY}{secrets.token_hex(8)}"
        if _renamed(entry, doomed):
            shutil.rmtree(doomed, ignore_errors=True)

    def _kept(self, entry: Path, num_turns: int) -> list[int] | None:
        """How many tokens of each turn are in the memory at this one; None if that is unknown."""
        content = self._content(entry)
        if content is None or content.kept is None:
            return None
        if len(content.kept) != num_turns:
            self._drop(entry)
            return None
        return list(content.kept)

    def _read(self, entry: Path, read: Callable[[Path], P]) -> P | None:
        """The part in an entry; None, and the entry is dropped, if it is damaged."""
        content = self._content(entry)
        if content is None:
            return None
        try:
            if _sha256(entry / _PART) == content.sha256:
                return read(entry / _PART)
        except (OSError, CheckpointError):
            pass
        self._drop(entry)
        return None

    def _content(self, entry: Path) -> _Content | None:
        """What entry.json says; None if there is none, or it is damaged and was dropped."""
        try:
            with (entry / _ENTRY).open("rb") as file:
                values = json.loads(file.read(_MAX_ENTRY_BYTES))
            return from_dict(_Content, values, str(entry))
        except FileNotFoundError:
            if not entry.exists():
                return None
        except (OSError, ValueError, RecursionError, ConfigError):
            pass
        self._drop(entry)
        return None


@dataclass(frozen=True)
class _Content:
    """The content of entry.json.

    sha256  of the part
    kept    tokens of each turn of the path that were in the memory; None: only the part is kept
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    sha256: str
    kept: tuple[int, ...] | None


def _num_tokens(turn: CachedTurn[P]) -> int:
    return 0 if turn.part is None else turn.part.num_tokens


def _num_bytes(entry: Path) -> int:
    return sum(file.stat().st_size for file in entry.iterdir())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _touch(entry: Path, use_ns: int) -> bool:
    """Note that an entry is used; False if there is none."""
    try:
        os.utime(entry, ns=(use_ns, use_ns))
    except OSError:
        return False
    return True


def _renamed(source: Path, target: Path) -> bool:
    """Rename a folder; False if another process has taken it away, or put one there already."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True


@contextlib.contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, CheckpointError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StorageError(f"{folder}: the memory cache cannot be used: {reason}") from None
