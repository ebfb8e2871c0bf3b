"""A decoder without weights: its logits are a seeded function of all it has read and been fed.

It has the methods of engine.forward.Forward that the engine uses, so that searches and scheduling
can be tested alone, on tiny vocabularies, against exhaustive search. It has a pool of pages, as the
native module has: it refuses to grow, and pages come back when nothing holds them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from weakref import WeakSet

import numpy as np

from duologue.engine.sampling import Scores

PAGE_TOKENS = 4
PAGE_BYTES = 10
CHUNK_TOKENS = 2
DOCUMENT = 100  # added to the ids of a document, which are read differently


class FakePage:
    """PAGE_TOKENS tokens of a segment or of a decoder state."""


class FakePool:
    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.most_used_bytes = 0
        self.is_broken = False
        self._pages: WeakSet[FakePage] = WeakSet()

    @property
    def used_bytes(self) -> int:
        return PAGE_BYTES * len(self._pages)

    def page(self) -> FakePage:
        page = FakePage()
        self._pages.add(page)
        self.most_used_bytes = max(self.most_used_bytes, self.used_bytes)
        assert self.used_bytes <= self.limit_bytes, "the pool grows past its limit"
        return page

    def check(self) -> None:
        assert not self.is_broken, "the pool is broken"


@dataclass(frozen=True)
class FakeMemory:
    ids: tuple[int, ...] = ()
    pages: tuple[FakePage, ...] = field(default=(), compare=False, repr=False)

    @property
    def num_tokens(self) -> int:
        return len(self.ids)

    @property
    def num_bytes(self) -> int:
        return PAGE_BYTES * len(self.pages)


class FakeClock:
    """Seconds that pass only when the fake computes, or when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class FakeEncoding:
    """CHUNK_TOKENS of the segment in each chunk."""

    def __init__(self, forward: FakeForward, ids: tuple[int, ...], memory: FakeMemory) -> None:
        self._forward = forward
        self._ids = ids
        self._before = memory
        self._pages: list[FakePage] = []
        self._num_done = 0

    def advance(self) -> bool:
        self._forward.log.append("chunk")
        self._forward.clock.now_s += self._forward.chunk_s
        if self._forward.problem is not None:
            raise self._forward.problem
        for _ in range(min(CHUNK_TOKENS, len(self._ids) - self._num_done)):
            if self._num_done % PAGE_TOKENS == 0:
                self._pages.append(self._forward.pool.page())
            self._num_done += 1
        return self._num_done == len(self._ids)

    @property
    def memory(self) -> FakeMemory:
        assert self._num_done == len(self._ids), "taken half way"
        before = self._before
        return FakeMemory((*before.ids, *self._ids), (*before.pages, *self._pages))


@dataclass(eq=False)
class FakeState:
    memory: FakeMemory
    pool: FakePool
    fed: list[int] = field(default_factory=list)
    pages: list[FakePage] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.fed)

    def fork(self) -> FakeState:
        """Full pages are shared, an open one is copied."""
        pages = self.pages[: len(self.fed) // PAGE_TOKENS]
        if len(pages) < len(self.pages):
            pages.append(self.pool.page())
        return FakeState(self.memory, self.pool, list(self.fed), pages)

    def feed(self, idx: int) -> None:
        if len(self.fed) % PAGE_TOKENS == 0:
            self.pages.append(self.pool.page())
        self.fed.append(idx)

    def attention(self) -> np.ndarray:
        """Row t holds the t-th fed id everywhere, so that tests can see which row they got."""
        return np.repeat(np.array(self.fed, np.float32)[:, None], self.memory.num_tokens, axis=1)


class FakeForward:
    """decode_step gives normal noise, seeded by memory and all ids fed so far.

    unlikely_id  is never the most likely one: an end token that does not come by itself
    log          "chunk" and "step" in the order they were computed
    problem      what the encoder raises, if anything
    """

    def __init__(
        self,
        vocab_size: int,
        max_positions: int = 64,
        spread: float = 2.0,
        pool_bytes: int = 10**9,
        chunk_s: float = 0.0,
        step_s: float = 0.0,
        unlikely_id: int | None = None,
    ) -> None:
        self.config = SimpleNamespace(
            vocab_size=vocab_size,
            source_vocab_size=None,
            max_positions=max_positions,
            target_positions=max_positions,
            encoder_mask="block_causal",
        )
        self.pool = FakePool(pool_bytes)
        self.spread = spread
        self.clock = FakeClock()
        self.chunk_s = chunk_s
        self.step_s = step_s
        self.unlikely_id = unlikely_id
        self.batch_sizes: list[int] = []
        self.log: list[str] = []
        self.fails_at_step: int | None = None
        self.problem: Exception | None = None

    def begin_encode(
        self, ids: tuple[int, ...], memory: FakeMemory, is_document: bool = False
    ) -> FakeEncoding:
        return FakeEncoding(self, tuple(idx + DOCUMENT * is_document for idx in ids), memory)

    def encode(self, ids, memory: FakeMemory, is_document: bool = False) -> FakeMemory:
        encoding = self.begin_encode(ids, memory, is_document)
        while not encoding.advance():
            pass
        return encoding.memory

    def request_bytes(self, num_source_tokens: int, num_target_tokens: int, num_rows: int) -> int:
        source = -(-num_source_tokens // PAGE_TOKENS)
        target = -(-num_target_tokens // PAGE_TOKENS)
        return PAGE_BYTES * (source + num_rows * target)

    def start(self, memory: FakeMemory, record_attention: bool = False) -> FakeState:
        return FakeState(memory, self.pool)

    def logits_after(self, memory: FakeMemory, fed: list[int]) -> np.ndarray:
        random = np.random.default_rng([len(memory.ids), *memory.ids, *fed])
        noise = random.standard_normal(self.config.vocab_size, dtype=np.float32)
        if self.unlikely_id is not None:
            noise[self.unlikely_id] = -50
        return noise * np.float32(self.spread)

    def score(self, logits: np.ndarray, suppressed_ids: list[int]) -> Scores:
        return Scores.of(logits, suppressed_ids)

    def decode_step(self, states: list[FakeState], ids: list[int]) -> np.ndarray:
        self.batch_sizes.append(len(states))
        self.log.append("step")
        self.clock.now_s += self.step_s
        if self.fails_at_step == len(self.batch_sizes):
            raise RuntimeError("the fake decoder was told to fail")
        assert len({id(state) for state in states}) == len(states), "a state is in two rows"
        for state, idx in zip(states, ids, strict=True):
            state.feed(idx)
        return np.stack([self.logits_after(state.memory, state.fed) for state in states])
