"""Encode a turn, decode a step: the native module behind three calls.

Forward            .encode appends to a memory, .encode_frames makes one of speech, .start begins to
                   decode one, .decode_step goes on
Encoding           a segment that is encoded in pieces; made by Forward.begin_encode(_frames)
Pool               where segments and decoder states lie, and how much of it is taken
DecoderState       what one decoding row carries; made by .start and .fork, described in _native.pyi

Everything is ids and arrays; nothing here knows text, or whether the model is recurrent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from duologue import _native
from duologue._native import DecoderState
from duologue.checkpoint.weights import Bf16Weight, Int4Weight, Int8Weight, Weight
from duologue.config import ModelConfig
from duologue.engine.cores import default_threads
from duologue.engine.memory import Memory, Segment
from duologue.engine.sampling import Scores
from duologue.errors import CheckpointError, ConfigError, EngineError

__all__ = ["DecoderState", "Encoding", "Forward", "Pool"]

DEFAULT_CACHE_BYTES = 2**30

_PAGE_TOKENS = 16  # of one layer, as csrc/core.h says


class Pool(Protocol):
    """The bytes that encoded segments and decoder states of one model share."""

    @property
    def limit_bytes(self) -> int:
        """Most that may be taken."""

    @property
    def used_bytes(self) -> int:
        """What is taken now, by whomever."""

    def check(self) -> None:
        """Raise an exception if an invariant of the pool is broken."""


class Forward:
    """A loaded model: weights packed for this processor, and the threads to run it.

    config       shape of the model
    weights      every name of weight_spec(config), in any precision; asked for one after another
                 and copied, so that they may be made on the way. Matrices are computed in the
                 precision they come in
    threads      threads of one forward pass, the caller's included; None is default_threads()
    cache_bytes  most that the keys and values of all memories and decoders take together; None is
                 DEFAULT_CACHE_BYTES. They are float32 if all weights are, else bfloat16
    two_stage    where one row decodes alone and the output matrix is int8: look at all ids coarsely
                 first, then exactly at those that could be the best or come close. Logits far
                 below the best are approximate; takes half the output matrix more memory
    pool         (attribute) the pages of all keys and values: used_bytes, limit_bytes, check()

    May be called from several threads: passes of one model run one after another.
    Raises CheckpointError if the weights do not fit the config, ConfigError for a wrong number of
    threads or an unknown instruction set in the environment variable DUOLOGUE_ISA.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, Weight],
        threads: int | None = None,
        cache_bytes: int | None = None,
        two_stage: bool = False,
    ) -> None:
        self.config = config
        self.threads = default_threads() if threads is None else threads
        if not 1 <= self.threads <= 256:
            raise ConfigError(f"threads must be between 1 and 256, not {self.threads}")
        try:
            self.isa = _native.default_isa()
        except ValueError as error:
            raise ConfigError(str(error)) from None
        limit = DEFAULT_CACHE_BYTES if cache_bytes is None else cache_bytes
        try:
            self._model = _native.Model(
                config, _NativeWeights(weights), self.threads, self.isa, "auto", limit, two_stage
            )
        except ValueError as error:
            raise CheckpointError(str(error)) from None
        self.pool = self._model.pool

    @property
    def weight_bytes(self) -> int:
        """What the packed matrices take."""
        return self._model.weight_bytes

    def encode(self, ids: Sequence[int], memory: Memory, is_document: bool = False) -> Memory:
        """The memory with one more segment; only the new tokens are computed.

        ids          role token, then text
        is_document  the segment sees itself alone and counts its positions from 0

        With encoder_mask "full" nothing can be reused: all ids are encoded again as one segment.
        Raises EngineError for no ids, an unknown id, more than max_positions tokens in all, or a
        cache that is full.
        """
        encoding = self.begin_encode(ids, memory, is_document)
        while not encoding.advance():
            pass
        return encoding.memory

    def begin_encode(
        self, ids: Sequence[int], memory: Memory, is_document: bool = False
    ) -> Encoding:
        """What encode does, in pieces; raises what it raises. Nothing is computed yet."""
        if self.config.encoder_mask == "full":
            ids = [*(idx for segment in memory.segments for idx in segment.ids), *ids]
            memory, is_document = Memory.empty(), False
        earlier = [segment.encoded for segment in memory.segments]
        try:
            native = self._model.begin_encode(earlier, list(ids), is_document)
        except (ValueError, _native.CacheFullError) as error:
            raise EngineError(str(error)) from None
        return Encoding(native, tuple(ids), memory, is_document)

    def encode_frames(self, frames: npt.NDArray[np.float32]) -> Memory:
        """The memory of a stretch of speech: log-mel frames [n, mel_bins], two for each token.

        Raises EngineError for no frames, more than 2 * max_positions, the wrong number of bins, a
        model that does not hear, or a cache that is full.
        """
        encoding = self.begin_encode_frames(frames)
        while not encoding.advance():
            pass
        return encoding.memory

    def begin_encode_frames(self, frames: npt.NDArray[np.float32]) -> Encoding:
        """What encode_frames does, in pieces; raises what it raises. Nothing is computed yet."""
        try:
            native = self._model.begin_encode_frames(np.ascontiguousarray(frames, np.float32))
        except (ValueError, _native.CacheFullError) as error:
            raise EngineError(str(error)) from None
        return Encoding(native, (), Memory.empty(), is_document=False)

    def restore(
        self, arrays: tuple[Any, Any], num_tokens: int, start: int, is_document: bool
    ) -> _native.Segment:
        """A segment from what _native.Segment.arrays gave when it was saved.

        Raises ValueError for what does not fit this model or holds no numbers, TypeError for
        arrays of another type, EngineError if the cache is full.
        """
        try:
            return self._model.restore(*arrays, num_tokens, start, is_document)
        except _native.CacheFullError as error:
            raise EngineError(str(error)) from None

    def request_bytes(self, num_source_tokens: int, num_target_tokens: int, num_rows: int) -> int:
        """Most bytes for one new segment, and num_rows decoder states that are fed so many tokens.

        Rows that fork copy their last page before the old ones are gone: one page more each.
        Recorded attention is not counted.
        """
        config, page = self.config, self.pool.page_bytes
        source, target = (-(-num // _PAGE_TOKENS) for num in (num_source_tokens, num_target_tokens))
        if config.cell == "gru":
            state = 4 * config.d_model * config.num_encoder_layers
            return page * source + (state if num_source_tokens else 0)
        layers = config.num_decoder_layers
        rows = num_rows * (target + 1) if target else 0
        # Where the encoder sees everything, its keys and values live for one layer only.
        kept = 1 if config.encoder_mask == "full" else config.num_encoder_layers
        return page * (source * (kept + layers) + rows * layers)

    def start(
        self,
        memory: Memory,
        record_attention: bool = False,
        recorded_heads: Sequence[tuple[int, int]] = (),
    ) -> DecoderState:
        """A decoder that was fed nothing yet and reads `memory`; copies nothing.

        record_attention  keep the cross-attention weights for DecoderState.attention
        recorded_heads    (layer, head): keep these heads' instead, for DecoderState.head_attention
        Raises EngineError for the memory of another model, or a head that there is not.
        """
        encoded = [segment.encoded for segment in memory.segments]
        try:
            return self._model.start(encoded, record_attention, list(recorded_heads))
        except ValueError as error:
            raise EngineError(str(error)) from None

    def decode_step(
        self, states: Sequence[DecoderState], ids: Sequence[int]
    ) -> npt.NDArray[np.float32]:
        """Feed one token to each state: logits [B, V] float32 of what comes next.

        states  B different states of this model; each has its own memory and length
        ids     B token ids

        Raises EngineError, and changes nothing, for a state of another model or twice the same,
        an unknown id, a state that has reached target_positions, or a cache that is full.
        """
        try:
            return self._model.decode_step(states, ids)
        except (ValueError, _native.CacheFullError) as error:
            raise EngineError(str(error)) from None

    def score(self, logits: npt.NDArray[np.float32], suppressed_ids: Sequence[int]) -> Scores:
        """Scores.of, computed by all threads: suppressed_ids of logits [B, V] become impossible."""
        best, log_norm = self._model.score(logits, suppressed_ids)
        return Scores(logits, best.tolist(), log_norm.tolist())


class Encoding:
    """One segment on its way into a memory. Made by Forward.begin_encode; dropping it frees all."""

    def __init__(
        self, native: _native.Encoding, ids: tuple[int, ...], earlier: Memory, is_document: bool
    ) -> None:
        self._native = native
        self._ids = ids
        self._earlier = earlier
        self._is_document = is_document
        self._memory: Memory | None = None

    def advance(self) -> bool:
        """Compute one piece, a bounded amount of work; True once the memory is there."""
        if self._memory is None and self._native.advance():
            encoded = self._native.segment()
            segment = Segment(self._ids, self._is_document, encoded.start, encoded)
            self._memory = Memory(
                (*self._earlier.segments, segment), segment.num_tokens, self._earlier.num_tokens
            )
        return self._memory is not None

    @property
    def memory(self) -> Memory:
        """The memory with the new segment. Raises EngineError before advance said True."""
        if self._memory is None:
            raise EngineError("this segment has not been encoded to its end")
        return self._memory

    def states(self) -> npt.NDArray[np.float32]:
        """[n, D] float32: what the encoder made of the new tokens, final norm included.

        Raises EngineError before advance said True.
        """
        try:
            return self._native.states()
        except ValueError as error:
            raise EngineError(str(error)) from None


class _NativeWeights(Mapping[str, Any]):
    """Weights in the form that _native.Model takes, each when it is asked for."""

    def __init__(self, weights: Mapping[str, Weight]) -> None:
        self._weights = weights

    def __len__(self) -> int:
        return len(self._weights)

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __getitem__(self, name: str) -> Any:
        return _native_weight(self._weights[name])


def _native_weight(weight: Weight) -> Any:
    if isinstance(weight, Bf16Weight):
        return np.ascontiguousarray(weight.bits)
    if isinstance(weight, Int8Weight):
        return np.ascontiguousarray(weight.values), np.ascontiguousarray(weight.scale)
    if isinstance(weight, Int4Weight):
        nibbles, scale = (np.ascontiguousarray(part) for part in (weight.nibbles, weight.scale))
        return nibbles, scale, weight.num_inputs
    return np.ascontiguousarray(weight)
