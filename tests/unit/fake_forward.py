"""A decoder without weights: its logits are a seeded function of all it has read and been fed.

It has the methods of engine.forward.Forward that the engine uses, so that searches and scheduling
can be tested alone, on tiny vocabularies, against exhaustive search.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np


@dataclass(frozen=True)
class FakeMemory:
    ids: tuple[int, ...] = ()

    @property
    def num_tokens(self) -> int:
        return len(self.ids)


@dataclass
class FakeState:
    memory: FakeMemory
    fed: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.fed)

    def fork(self) -> FakeState:
        return FakeState(self.memory, list(self.fed))

    def attention(self) -> np.ndarray:
        """Row t holds the t-th fed id everywhere, so that tests can see which row they got."""
        return np.repeat(np.array(self.fed, np.float32)[:, None], self.memory.num_tokens, axis=1)


class FakeForward:
    """decode_step gives normal noise, seeded by memory and all ids fed so far."""

    def __init__(self, vocab_size: int, max_positions: int = 64, spread: float = 2.0) -> None:
        self.config = SimpleNamespace(vocab_size=vocab_size, max_positions=max_positions)
        self.spread = spread
        self.batch_sizes: list[int] = []
        self.fails_at_step: int | None = None

    def start(self, memory: FakeMemory, record_attention: bool = False) -> FakeState:
        return FakeState(memory)

    def logits_after(self, memory: FakeMemory, fed: list[int]) -> np.ndarray:
        random = np.random.default_rng([len(memory.ids), *memory.ids, *fed])
        noise = random.standard_normal(self.config.vocab_size, dtype=np.float32)
        return noise * np.float32(self.spread)

    def decode_step(self, states: list[FakeState], ids: list[int]) -> np.ndarray:
        self.batch_sizes.append(len(states))
        if self.fails_at_step == len(self.batch_sizes):
            raise RuntimeError("the fake decoder was told to fail")
        assert len({id(state) for state in states}) == len(states), "a state is in two rows"
        for state, idx in zip(states, ids, strict=True):
            state.fed.append(idx)
        return np.stack([self.logits_after(state.memory, state.fed) for state in states])
