"""Passages as a model has read them: encoded once, kept on disk as int8, put back when asked for.

Encoded   a passage's memory and its embedding
Question  the same of a question
Encoder   reads passages and questions, and knows which passages it has read already
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from duologue.apps.support.passages import Passage
from duologue.engine.memory import Memory, Segment
from duologue.errors import CheckpointError
from duologue.explain import Source
from duologue.runtime import Runtime
from duologue.storage.memory_cache import CachedTurn, MemoryCache
from duologue.types import Span

Floats = npt.NDArray[np.float32]

FORMAT = "duologue.passage.v1"
_GROUP = 64  # values that share a scale: one head's values of a token, or its keys of a few
_PAGE_TOKENS = 16


@dataclass(frozen=True)
class Encoded:
    """memory     one document segment; None: of a model that does not answer
    embedding  [D] of length 1
    """

    memory: Memory | None
    embedding: Floats


@dataclass(frozen=True)
class Question:
    """A question that was read.

    source  what was read of it
    unread  what was not, as offsets into the text
    """

    text: str
    source: Source
    unread: tuple[Span, ...]
    encoded: Encoded
    encode_ms: float


class Encoder:
    """Reads passages and questions with one model. Threads may share it.

    memories  where the memories of passages are kept
    """

    def __init__(self, runtime: Runtime, memories: MemoryCache) -> None:
        self._runtime = runtime
        self._memories = memories
        self._store = _Store(runtime)
        self.can_answer = "answer" in runtime.config.tasks
        self.num_dimensions = runtime.config.d_model
        self.num_encoded = 0  # passages that had to be read

    @property
    def model(self) -> str:
        """Names the model and how it reads passages."""
        fingerprint = self._runtime.fingerprint
        return fingerprint if self.can_answer else f"{fingerprint} alone"

    def passage(self, passage: Passage) -> Encoded:
        """A passage as the model reads it, from disk if it is there.

        Raises StorageError if the memories cannot be used.
        """
        if not self.can_answer:
            source = self._alone(passage.lead + passage.text)
            self.num_encoded += 1
            return Encoded(None, self._read(source, is_document=False)[1])
        found = self._memories.load(self.model, [passage.hash], self._store.load)
        if found and found[0].part is not None:
            return found[0].part.encoded
        memory, embedding = self._read(self.source(passage), is_document=True)
        self.num_encoded += 1
        encoded = Encoded(memory, embedding)
        part = _Part(encoded, self._store)
        self._memories.save(self.model, [CachedTurn(passage.hash, part)])
        return encoded

    def question(self, text: str) -> Question:
        """Read a question, a quarter of the model's positions at most."""
        before = time.perf_counter()
        whole = self._runtime.turn("user", text) if self.can_answer else self._alone(text)
        source, unread = self._runtime.cut(whole, self._runtime.config.max_positions // 4, 0)
        encoded = Encoded(*self._read(source, is_document=False))
        return Question(text, source, unread, encoded, 1000 * (time.perf_counter() - before))

    def source(self, passage: Passage) -> Source:
        """What is read of a passage, with its text; for spans."""
        source = self._runtime.turn("document", passage.lead + passage.text)
        return source.cut(self._runtime.config.max_positions)

    def _alone(self, text: str) -> Source:
        made = self._runtime.template.alone(text)
        return Source(made.ids, text, made.start, made.stop)

    def _read(self, source: Source, is_document: bool) -> tuple[Memory, Floats]:
        """Encode a segment by itself; the embedding is the mean of what its tokens became."""
        source = source.cut(self._runtime.config.max_positions)
        encoding = self._runtime.forward.begin_encode(source.ids, Memory.empty(), is_document)
        while not encoding.advance():
            pass
        states = encoding.states()[source.start : source.stop]
        mean = (states if len(states) else encoding.states()).mean(axis=0)
        embedding: Floats = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return encoding.memory, embedding


class _Store:
    """How the keys and values of one model are written and read."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        page = runtime.forward.pool.page_bytes
        values, rest = divmod(page, 2 * _PAGE_TOKENS * runtime.config.d_model)
        # float32 or bfloat16; what is laid out in another way is kept as it is
        self._value_bytes = values if not rest and values in (2, 4) else 0

    def save(self, encoded: Encoded, path: Path, fingerprint: str) -> None:
        """Write a passage. Raises CheckpointError if that fails."""
        assert encoded.memory is not None  # others are never stored
        (segment,) = encoded.memory.segments
        pages, carried = segment.encoded.arrays()
        tensors: dict[str, npt.NDArray[Any]] = {
            "ids": np.array(segment.ids, dtype=np.int32),
            "embedding": encoded.embedding.astype(np.float16),
            "carried": carried,
            **self._packed(pages),
        }
        metadata = {"format": FORMAT, "fingerprint": fingerprint}
        try:
            safetensors.numpy.save_file(tensors, path, metadata)
        except (OSError, safetensors.SafetensorError) as error:
            raise CheckpointError(f"{path}: cannot be written: {error}") from None

    def load(self, path: Path) -> _Part:
        """Read a passage. Raises CheckpointError if it is damaged, or of another model."""
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise CheckpointError(f"{path}: not a passage of this version")
                if metadata.get("fingerprint") != self._runtime.fingerprint:
                    raise CheckpointError(f"{path}: this passage was read by another model")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            ids = tensors["ids"]
            pages = self._unpacked(tensors)
            native = self._runtime.forward.restore(
                (pages, tensors["carried"]), len(ids), 0, is_document=True
            )
        except (OSError, KeyError, ValueError, TypeError, safetensors.SafetensorError) as error:
            raise CheckpointError(f"{path}: the passage is damaged: {error}") from None
        segment = Segment(tuple(ids.tolist()), native.is_document, native.start, native)
        embedding = tensors["embedding"].astype(np.float32)
        return _Part(Encoded(Memory((segment,)), embedding), self)

    def _packed(self, pages: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        if not self._value_bytes:
            return {"pages": pages}
        values = self._floats(pages).reshape(-1, _GROUP)
        with np.errstate(over="ignore"):
            scale = (np.abs(values).max(axis=1, keepdims=True) / 127).astype(np.float16)
        if not np.isfinite(scale).all():
            return {"pages": pages}
        divisor = np.where(scale == 0, 1, scale.astype(np.float32))
        quantised = np.clip(np.rint(values / divisor), -127, 127).astype(np.int8)
        return {"values": quantised, "scale": scale, "shape": np.array(pages.shape, np.int32)}

    def _unpacked(self, tensors: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.uint8]:
        if "pages" in tensors:
            return tensors["pages"]
        values = tensors["values"].astype(np.float32)
        values *= tensors["scale"].astype(np.float32)
        shape = tuple(tensors["shape"].tolist())
        if self._value_bytes == 4:
            return values.view(np.uint8).reshape(shape)
        bits = values.view(np.uint32)
        bits += 0x8000  # to the nearest: values are far from where this could run over
        halves = bits.view(np.uint16)[:, 1::2]
        return np.ascontiguousarray(halves).view(np.uint8).reshape(shape)

    def _floats(self, pages: npt.NDArray[np.uint8]) -> Floats:
        """The numbers in pages."""
        if self._value_bytes == 4:
            return pages.view(np.float32).ravel()
        bits = pages.view(np.uint16).ravel().astype(np.uint32) << 16
        return bits.view(np.float32)


@dataclass(frozen=True)
class _Part:
    """What the cache keeps of a passage."""

    encoded: Encoded
    store: _Store

    @property
    def num_tokens(self) -> int:
        return 0 if self.encoded.memory is None else self.encoded.memory.num_tokens

    def save(self, path: Path, fingerprint: str) -> None:
        self.store.save(self.encoded, path, fingerprint)


def joined(memories: Sequence[Memory]) -> Memory:
    """The segments of memories in a row, which read as one: documents, then the question."""
    return Memory(tuple(segment for memory in memories for segment in memory.segments))
