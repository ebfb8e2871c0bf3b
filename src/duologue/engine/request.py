"""One thing to encode and decode, from add to its end.

EncodeItem   a segment that is to be encoded before decoding starts
Progress     what a step brought a request
Request      a prompt on its way: waiting, encoding, running, finished

require_possible   refuses what can never be encoded or decoded
most_bytes         what a request takes at most
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from duologue.engine.beam import BeamSearch
from duologue.engine.rules import SpecialIds
from duologue.engine.search import Finished, Hypothesis, Prompt, Search, SingleSearch
from duologue.errors import EngineError
from duologue.types import FinishReason

if TYPE_CHECKING:
    from duologue.config import ModelConfig
    from duologue.engine.forward import Encoding, Forward
    from duologue.engine.memory import Memory


class EncodeItem(NamedTuple):
    """A segment to be appended to a memory.

    ids          role token, then text
    is_document  the segment sees itself alone
    """

    ids: Sequence[int]
    is_document: bool = False


@dataclass(frozen=True)
class Progress:
    """What one step brought one request.

    committed_ids  new ids that will not change
    tail_ids       beam search: the current guess of what follows all committed ids
    finished       set in the last progress of a request
    memory         set once, before the first ids, if the request brought sources: they are in it
    admitted_s     when it left the queue, on the clock of the engine; None: it never did
    """

    request_id: int
    committed_ids: tuple[int, ...] = ()
    tail_ids: tuple[int, ...] = ()
    finished: Finished | None = None
    memory: Memory | None = None
    admitted_s: float | None = None


def require_possible(
    config: ModelConfig, memory: Memory, prompt: Prompt, sources: Sequence[EncodeItem]
) -> None:
    """Raise EngineError, with the sizes, for what no model of these sizes can encode or decode."""
    if not prompt.prefix_ids:
        raise EngineError("the decoder's prefix is empty")
    _require_known("the prefix", prompt.fed_ids, config.vocab_size)
    for source in sources:
        if not source.ids:
            raise EngineError("a source to encode is empty")
        _require_known("a source", source.ids, config.source_vocab_size or config.vocab_size)
    if prompt.num_target_tokens > config.target_positions:
        raise EngineError(
            f"a prefix of {len(prompt.fed_ids)} tokens and max_tokens {prompt.options.max_tokens} "
            f"are more than the model's {config.target_positions} positions"
        )
    num_tokens = memory.num_tokens + sum(len(source.ids) for source in sources)
    if num_tokens > config.max_positions:
        raise EngineError(
            f"the memory has {num_tokens} tokens, sources included, the model reads at most "
            f"{config.max_positions}"
        )


def _require_known(name: str, ids: Sequence[int], vocab_size: int) -> None:
    if not all(0 <= idx < vocab_size for idx in ids):
        raise EngineError(f"{name} holds ids outside of the vocabulary of {vocab_size}")


def most_bytes(
    forward: Forward, memory: Memory, prompt: Prompt, sources: Sequence[EncodeItem]
) -> int:
    """Most bytes of the pool that a request takes at any time."""
    lengths = [len(source.ids) for source in sources]
    if forward.config.encoder_mask == "full":
        # Everything is encoded again with each source; the last two exist at the same time.
        lengths = list(accumulate(lengths, initial=memory.num_tokens))[1:][-2:]
    rows = forward.request_bytes(0, prompt.num_target_tokens, prompt.options.num_rows)
    return rows + sum(forward.request_bytes(length, 0, 0) for length in lengths)


class Status(Enum):
    """Where a request is on its way."""

    WAITING = "waiting"
    ENCODING = "encoding"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(eq=False)
class Request:
    """One thing to encode and decode. Takes nothing from the pool while it is WAITING.

    client         whom it is for; clients get their turns one after another
    memory         what the decoder will read; grows while the request is ENCODING
    sources        what is still to be encoded
    num_bytes      most that it takes from the pool between its admission and its end
    claimed_bytes  what its sources take by now
    search         holds the rows and decides on them while the request is RUNNING
    committed_ids  every final id so far, for a reader that comes late
    delivered_memory  what it was told of its sources, for the same
    is_aborted     the scheduler drops the request before the next step
    admitted_s     when it left the queue; None before
    """

    request_id: int
    client: str
    prompt: Prompt
    memory: Memory
    sources: deque[EncodeItem] = field(default_factory=deque)
    num_bytes: int = 0
    claimed_bytes: int = 0
    status: Status = Status.WAITING
    encoding: Encoding | None = None
    search: Search | None = None
    committed_ids: list[int] = field(default_factory=list)
    delivered_memory: Memory | None = None
    is_aborted: bool = False
    admitted_s: float | None = None

    def __post_init__(self) -> None:
        self.has_sources = bool(self.sources)
        self._given_bytes = self.memory.num_bytes

    @property
    def num_rows(self) -> int:
        """Most rows that it may take while it runs."""
        return self.prompt.options.num_rows

    @property
    def reached_memory(self) -> Memory | None:
        """What its sources have become, when all of them are encoded; None if it had none."""
        return self.memory if self.has_sources and not self.sources else None

    def progress(
        self,
        committed_ids: tuple[int, ...] = (),
        tail_ids: tuple[int, ...] = (),
        finished: Finished | None = None,
        memory: Memory | None = None,
    ) -> Progress:
        """What a step brought it; see Progress."""
        number, admitted_s = self.request_id, self.admitted_s
        return Progress(number, committed_ids, tail_ids, finished, memory, admitted_s)

    def encode_chunk(self, forward: Forward) -> None:
        """Do a bounded piece of the encoding of its sources. Raises EngineError if that fails."""
        if self.encoding is None:
            source = self.sources[0]
            self.encoding = forward.begin_encode(source.ids, self.memory, source.is_document)
        if self.encoding.advance():
            self.memory = self.encoding.memory
            self.encoding = None
            self.sources.popleft()
            self.claimed_bytes = max(0, self.memory.num_bytes - self._given_bytes)

    def start(self, forward: Forward, special: SpecialIds) -> None:
        """Begin to search. Raises EngineError for the memory of another model."""
        state = forward.start(self.memory, record_attention=self.prompt.record_attention)
        kind = BeamSearch if self.prompt.options.beam_size > 1 else SingleSearch
        self.search = kind(state, self.prompt, special)

    def best_so_far(self, reason: FinishReason) -> Hypothesis:
        """What there is when it is ended from outside."""
        if self.search is None:
            return Hypothesis((), 0.0, (), reason)
        return self.search.best_so_far(reason)

    def release(self) -> None:
        """Let go of all that it has taken from the pool."""
        self.encoding = self.search = self.delivered_memory = None
