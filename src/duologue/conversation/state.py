"""What a conversation knows at one moment, and how a turn more fits into its memory.

Said     a turn, and what of it is in the memory
State    everything a conversation knows; replaced as a whole, so that it is never half changed
Placed   a state with one turn more, and what that cost the others

Turns are placed before they are encoded: until then they are `pending`, and count as tokens.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from duologue.engine.engine import EncodeItem
from duologue.engine.memory import Memory
from duologue.explain import Explanation, Source
from duologue.runtime import Runtime
from duologue.types import Role, Span, Turn, Usage


@dataclass(frozen=True)
class Said:
    """A turn and what of it is in the memory; None once it has left it."""

    turn: Turn
    source: Source | None

    @property
    def ids(self) -> tuple[int, ...]:
        """What of it is in the memory; empty once it has left it."""
        return self.source.ids if self.source else ()


@dataclass(frozen=True)
class State:
    """Everything a conversation knows.

    pending  the last turns in `said` that are still to be encoded after the memory
    """

    memory: Memory = field(default_factory=Memory.empty)
    said: tuple[Said, ...] = ()
    pending: tuple[EncodeItem, ...] = ()
    explanation: Explanation | None = None

    @property
    def sources(self) -> list[Source]:
        """The turns in the memory, or on their way there, oldest first."""
        return [said.source for said in self.said if said.source]

    @property
    def num_tokens(self) -> int:
        """Tokens in the memory once all is read."""
        return self.memory.num_tokens + self.num_pending

    @property
    def num_pending(self) -> int:
        """Tokens that are still to be encoded."""
        return sum(len(item.ids) for item in self.pending)


@dataclass(frozen=True)
class Placed:
    """A state with one turn more, which is still to be encoded.

    truncated    what of the turn did not fit: one span or none
    num_trimmed  how many old turns had to leave the memory
    """

    state: State
    truncated: tuple[Span, ...]
    num_trimmed: int


def place(runtime: Runtime, state: State, role: Role, source: Source) -> Placed:
    """Put a turn after a state; the oldest turns leave, whole, to make room for it.

    Raises EngineError if documents leave no room at all.
    """
    limit = runtime.config.max_positions
    state, num_trimmed = _trimmed(state, max(0, limit - len(source.ids)))
    kept, truncated = runtime.cut(source, limit - state.num_tokens, len(state.sources))
    state = replace(
        state,
        said=(*state.said, Said(Turn(role, source.text), kept)),
        pending=(*state.pending, EncodeItem(kept.ids, role == "document")),
    )
    return Placed(state, truncated, num_trimmed)


def read(runtime: Runtime, state: State) -> tuple[State, Usage]:
    """Encode what is pending."""
    begun_s = time.perf_counter()
    memory = state.memory
    for item in state.pending:
        memory = runtime.forward.encode(item.ids, memory, item.is_document)
    encode_ms = 1000 * (time.perf_counter() - begun_s)
    return have_read(state, memory), reading_usage(runtime, state, memory, encode_ms)


def have_read(state: State, memory: Memory) -> State:
    """The state once all that was pending is in this memory."""
    return replace(state, memory=memory, pending=())


def reading_usage(runtime: Runtime, state: State, memory: Memory, encode_ms: float) -> Usage:
    """What it cost to bring the pending turns of a state into this memory."""
    is_full = runtime.config.encoder_mask == "full"  # encodes everything again
    reused = 0 if is_full and state.pending else state.memory.num_tokens
    return Usage(
        encoded_tokens=memory.num_tokens - reused, reused_tokens=reused, encode_ms=encode_ms
    )


def _trimmed(state: State, max_tokens: int) -> tuple[State, int]:
    """The state without the oldest turns in its memory, and how many left it."""
    if state.num_tokens <= max_tokens:
        return state, 0
    inside = [index for index, said in enumerate(state.said) if said.source]
    num_read = len(inside) - len(state.pending)
    memory = state.memory.trim(max(0, max_tokens - state.num_pending))
    kept = {id(segment) for segment in memory.segments}
    segments = state.memory.segments
    if len(segments) == num_read:
        is_gone = [id(segment) not in kept for segment in segments]
    else:  # encoder_mask "full" makes one segment of all turns: they leave together
        is_gone = [not kept] * num_read
    excess = memory.num_tokens + state.num_pending - max_tokens
    for item in state.pending:
        is_gone.append(excess > 0 and not item.is_document)
        excess -= len(item.ids) if is_gone[-1] else 0
    gone = {index for index, leaves in zip(inside, is_gone, strict=True) if leaves}
    pending = zip(state.pending, is_gone[num_read:], strict=True)
    state = replace(
        state,
        memory=memory,
        said=tuple(
            replace(one, source=None) if index in gone else one
            for index, one in enumerate(state.said)
        ),
        pending=tuple(item for item, leaves in pending if not leaves),
    )
    return state, len(gone)
