"""Encode a turn, decode a step: the native module behind three calls.

Forward            .encode appends to a memory, .start begins to decode one, .decode_step goes on
Encoding           a turn that is encoded piece by piece; made by .begin_encode
Pool               where encoded turns and decoder states lie, and how much of it is taken
DecoderState       what one decoding row carries; made by .start and .fork, described in _native.pyi
default_threads    how many threads a model should use here

Everything is ids and arrays; nothing here knows text, or whether the model is recurrent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from duologue import _native
from duologue._native import DecoderState
from duologue.checkpoint.weights import QuantizedWeight, Weights
from duologue.config import ModelConfig
from duologue.engine.memory import Memory, Segment
from duologue.errors import CheckpointError, ConfigError, EngineError

__all__ = ["DecoderState", "Encoding", "Forward", "Pool", "default_threads"]

# The layers of the models this engine is made for are too narrow to feed more.
MAX_DEFAULT_THREADS = 8

_BLOCK = 16  # keys and values are stored in blocks of so many tokens

_SYS = Path("/sys")
_PROC = Path("/proc")


class Pool(Protocol):
    """The bytes that encoded segments and decoder states of one model share."""

    @property
    def limit_bytes(self) -> int:
        """Most that may be taken."""

    @property
    def used_bytes(self) -> int:
        """What is taken now, by whomever."""

    def check(self) -> None:
        """Raise AssertionError if an invariant of the pool is broken."""


class Encoding:
    """A segment on its way into a memory: call advance until it is finished, then take memory.

    Dropping it half way frees all that it has. Here one chunk is the whole segment.
    """

    def __init__(self, encode: Callable[[], Memory]) -> None:
        self._encode = encode
        self._memory: Memory | None = None

    def advance(self) -> bool:
        """Do a bounded piece of the work; True once it is finished. Raises as Forward.encode."""
        if self._memory is None:
            self._memory = self._encode()
        return True

    @property
    def memory(self) -> Memory:
        """The longer memory, once advance has returned True."""
        assert self._memory is not None, "the encoding is not finished"
        return self._memory


class Forward:
    """A loaded model: weights packed for this processor, and the threads to run it.

    config   shape of the model
    weights  every name of weight_spec(config); float32 or QuantizedWeight. They are copied, so
             the caller may free them. Matrices are computed in the precision they are given in.
    threads  threads of one forward pass, the caller's included; None is default_threads()

    pool     where segments and decoder states lie; None: wherever there is room, without a limit

    May be called from several threads: passes of one model run one after another.
    Raises CheckpointError if the weights do not fit the config, ConfigError for a wrong number of
    threads or an unknown instruction set in the environment variable DUOLOGUE_ISA.
    """

    def __init__(self, config: ModelConfig, weights: Weights, threads: int | None = None) -> None:
        self.config = config
        self.pool: Pool | None = None
        self.threads = default_threads() if threads is None else threads
        if not 1 <= self.threads <= 256:
            raise ConfigError(f"threads must be between 1 and 256, not {self.threads}")
        try:
            self.isa = _native.default_isa()
        except ValueError as error:
            raise ConfigError(str(error)) from None
        f32: dict[str, npt.NDArray[np.float32]] = {}
        s8: dict[str, tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]] = {}
        for name, weight in weights.items():
            if isinstance(weight, QuantizedWeight):
                values = np.ascontiguousarray(weight.values)
                s8[name] = (values, np.ascontiguousarray(weight.scale))
            else:
                f32[name] = np.ascontiguousarray(weight)
        try:
            self._model = _native.Model(config, f32, s8, self.threads, self.isa)
        except ValueError as error:
            raise CheckpointError(str(error)) from None

    def encode(self, ids: Sequence[int], memory: Memory, is_document: bool = False) -> Memory:
        """The memory with one more segment; only the new tokens are computed.

        ids          role token, then text
        is_document  the segment sees itself alone and counts its positions from 0

        With encoder_mask "full" nothing can be reused: all ids are encoded again as one segment.
        Raises EngineError for no ids, an unknown id, or more than max_positions tokens in all.
        """
        if self.config.encoder_mask == "full":
            ids = [*(idx for segment in memory.segments for idx in segment.ids), *ids]
            memory, is_document = Memory.empty(), False
        earlier = [segment.encoded for segment in memory.segments]
        try:
            encoded = self._model.encode(earlier, list(ids), is_document)
        except ValueError as error:
            raise EngineError(str(error)) from None
        segment = Segment(tuple(ids), is_document, encoded.start, encoded)
        return Memory((*memory.segments, segment), len(ids), memory.num_tokens)

    def begin_encode(
        self, ids: Sequence[int], memory: Memory, is_document: bool = False
    ) -> Encoding:
        """As encode, but in chunks between which something else may be done."""
        return Encoding(lambda: self.encode(ids, memory, is_document))

    def request_bytes(self, num_source_tokens: int, num_target_tokens: int, num_rows: int) -> int:
        """Most bytes for one new segment, and num_rows decoder states that are fed so many tokens.

        Recorded attention is not counted.
        """
        width, num_layers = self.config.d_model, self.config.num_decoder_layers
        num_source = -(-num_source_tokens // _BLOCK) * _BLOCK
        num_target = -(-num_target_tokens // _BLOCK) * _BLOCK
        if self.config.cell == "gru":
            carried = 4 * width * self.config.num_encoder_layers if num_source_tokens else 0
            return 8 * width * num_source + carried + 4 * width * num_layers * num_rows
        source = num_source * (self.config.num_encoder_layers + num_layers)
        return 8 * width * (source + num_rows * num_target * num_layers)

    def start(self, memory: Memory, record_attention: bool = False) -> DecoderState:
        """A decoder that was fed nothing yet and reads `memory`; copies nothing.

        record_attention  keep the cross-attention weights for DecoderState.attention
        Raises EngineError for the memory of another model.
        """
        encoded = [segment.encoded for segment in memory.segments]
        try:
            return self._model.start(encoded, record_attention)
        except ValueError as error:
            raise EngineError(str(error)) from None

    def decode_step(
        self, states: Sequence[DecoderState], ids: Sequence[int]
    ) -> npt.NDArray[np.float32]:
        """Feed one token to each state: logits [B, V] float32 of what comes next.

        states  B different states of this model; each has its own memory and length
        ids     B token ids

        Raises EngineError, and changes nothing, for a state of another model or twice the same,
        an unknown id, or a state that has reached max_positions.
        """
        try:
            return self._model.decode_step(states, ids)
        except ValueError as error:
            raise EngineError(str(error)) from None


def default_threads() -> int:
    """Physical cores that this process may use, at least 1 and at most MAX_DEFAULT_THREADS.

    Respects the affinity mask and the CPU quota of control groups (containers); two hardware
    threads of one core count once, because they share the vector units.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = _physical_cores(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cpu_quota()
    if quota is not None:
        cores = min(cores, int(quota))
    return max(1, min(cores, MAX_DEFAULT_THREADS))


def _physical_cores(cpus: set[int]) -> int:
    cores = set()
    for cpu in cpus:
        siblings = _read(_SYS / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings or str(cpu))
    return len(cores)


def _cpu_quota() -> float | None:
    """CPUs' worth of time that control groups allow, or None without a limit."""
    root = _SYS / "fs/cgroup"
    quotas = []
    for line in (_read(_PROC / "self/cgroup") or "").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            base, files = root, ["cpu.max"]
        elif "cpu" in controllers.split(","):
            base, files = root / "cpu", ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        folder = base / name.lstrip("/")
        # A limit of any parent holds too; inside a container the own group is often the root.
        for group in (folder, *folder.parents):
            fields = " ".join(_read(group / file) or "" for file in files).split()
            if len(fields) == 2 and fields[0].isdigit() and int(fields[1]) > 0:
                quotas.append(int(fields[0]) / int(fields[1]))
            if group == base:
                break
    return min(quotas) if quotas else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
