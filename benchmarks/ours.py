"""Our engine as a contender: the one place of the benchmarks that calls it.

Ours     one model: greedy decoding of one or many users, and the encoder alone
Service  users who come at any time, each getting tokens as they are made
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from shapes import START_ID, reply_end

from duologue.checkpoint.weights import Weights, to_precision
from duologue.config import ModelConfig
from duologue.engine.engine import EncodeItem, Engine, SpecialIds
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory
from duologue.types import EngineOptions, Options

NEVER = -1  # an end token that no row can choose: every reply has the length that was asked for


class Ours:
    """A model of ours; ids in, ids out, greedy.

    weights    float32
    precision  "int8", or "f32"
    threads    of one forward pass
    """

    def __init__(self, config: ModelConfig, weights: Weights, precision: str, threads: int) -> None:
        packed = to_precision(weights, "int8") if precision == "int8" else weights
        self.config = config
        self.forward = Forward(config, packed, threads)

    def encode(self, ids: Sequence[int], memory: Memory | None = None) -> Memory:
        """One segment more; also makes the keys and values of every decoder layer."""
        return self.forward.encode(ids, Memory.empty() if memory is None else memory)

    def engine(self, rows: int, end_id: int = NEVER) -> Engine:
        """An engine for so many users at once.

        end_id  ends a reply before max_tokens; without one the model's own is never produced, as in
                a peer that is told the least length of a reply
        """
        absent_ids = (reply_end(self.config),) if end_id == NEVER else ()
        special = SpecialIds((end_id,), absent_ids)
        return Engine(self.forward, special, EngineOptions(max_rows=rows))

    def decode(
        self,
        memories: Sequence[Memory],
        num_tokens: int,
        prefix: Sequence[int] = (START_ID,),
        end_id: int = NEVER,
    ) -> list[list[int]]:
        """num_tokens ids after the prefix for each memory, all rows decoded together.

        end_id  see engine(); with one, replies may be shorter
        """
        options = Options(max_tokens=num_tokens)
        pairs = [(memory, prefix) for memory in memories]
        finished = self.engine(len(pairs), end_id).generate_batch(pairs, options)
        return [list(item.best.ids) for item in finished]

    def greedy(
        self,
        sources: Sequence[Sequence[int]],
        num_tokens: int,
        prefix: Sequence[int] = (START_ID,),
        end_id: int = NEVER,
    ) -> list[list[int]]:
        """Encode each source, then decode all together."""
        memories = [self.encode(source) for source in sources]
        return self.decode(memories, num_tokens, prefix, end_id)

    def transcribe(self, frames: npt.NDArray[np.float32], num_tokens: int) -> list[int]:
        """num_tokens ids after the start of a model that hears; frames [n, mel_bins]."""
        assert self.config.generation is not None
        memory = self.forward.encode_frames(frames)
        return self.decode([memory], num_tokens, self.config.generation.start_ids)[0]


class Service:
    """Many users of one model, driven by one loop: submit whoever came, then step.

    rows  most users that decode at the same time
    """

    def __init__(self, ours: Ours, rows: int, num_tokens: int) -> None:
        self._engine = ours.engine(rows)
        self._options = Options(max_tokens=num_tokens)
        self._users: dict[int, int] = {}

    @property
    def is_busy(self) -> bool:
        """Whether anybody waits for tokens."""
        return bool(self._users)

    def submit(self, user: int, source: Sequence[int]) -> None:
        """Queue a source and its reply: the engine encodes between the steps of others."""
        sources = [EncodeItem(tuple(source))]
        number = self._engine.add(Memory.empty(), (START_ID,), self._options, sources=sources)
        self._users[number] = user

    def step(self) -> list[tuple[int, int]]:
        """One decoding step for all: (user, number of new tokens)."""
        made = []
        for progress in self._engine.step():
            made.append((self._users[progress.request_id], len(progress.committed_ids)))
            if progress.finished is not None:
                del self._users[progress.request_id]
        return made
