"""Types of the native module: csrc/bindings.cc and csrc/bindings_kernels.cc.

Array arguments must be C-contiguous and of the type given here: nothing is converted, another type
is a TypeError. What a value cannot be is a ValueError. The GIL is released during computation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from duologue.config import ModelConfig

_F32 = npt.NDArray[np.float32]
_S8 = npt.NDArray[np.int8]

def isa_names() -> list[str]:
    """Instruction sets that this build and this processor support, slowest first."""

def default_isa() -> str:
    """The one in use: DUOLOGUE_ISA or the fastest. ValueError for an unknown name."""

def log_softmax(x: _F32, isa: str = "") -> _F32:
    """Natural log of the softmax of each row: [B, V] -> [B, V]."""

class CacheFullError(MemoryError):
    """The cache is full; the message has the sizes. Nothing was changed."""

class PagePool:
    """Pages of one size for keys and values, never more than a limit."""

    def check(self) -> None:
        """RuntimeError if a page is lost, free twice, or foreign; for tests."""
    @property
    def page_bytes(self) -> int:
        """Bytes of one page: 16 tokens of one layer."""
    @property
    def limit_bytes(self) -> int:
        """Most bytes that pages can take."""
    @property
    def used_bytes(self) -> int:
        """Bytes of the pages in use."""

class Encoding:
    """One turn on its way into a memory."""

    def advance(self) -> bool:
        """Compute the next piece, of at most 64 tokens through half a layer; True once done."""
    def segment(self) -> Segment:
        """What was encoded; ValueError before it is done."""
    def states(self) -> _F32:
        """[n, D]: what the encoder made of its tokens, final norm included; ValueError likewise."""

class Segment:
    """The encoded values of one turn or document; never changes. Its pages go back with it."""

    def arrays(self) -> tuple[npt.NDArray[np.uint8], _F32]:
        """Copies of pages [P, blocks, page bytes] and carried [C, D], for Model.restore.

        Planes P: encoder layers (dialogue only), then decoder layers; 1 for a gru. A page is laid
        out as csrc/core.h says. C: encoder layers for a gru's dialogue segment, else 0.
        """
    @property
    def length(self) -> int:
        """Tokens."""
    @property
    def start(self) -> int:
        """Position of the first token."""
    @property
    def is_document(self) -> bool:
        """Encoded by itself, from position 0."""
    @property
    def num_bytes(self) -> int:
        """Memory that the values take."""

class DecoderState:
    """What one decoding row carries from one step to the next.

    Model.start makes it, Model.decode_step alone changes it. It shares the memory it reads.
    """

    def fork(self) -> DecoderState:
        """A copy that goes its own way; copies at most one block of 16 tokens for each layer."""
    def attention(self) -> _F32:
        """[length, S]: how much each token fed looked at each token of the memory.

        Cross-attention weights, mean over heads and layers; rows sum to 1 (S = 0: no memory).
        ValueError unless the state was started with record_attention and no recorded heads.
        """
    def head_attention(self) -> _F32:
        """[length, heads, S]: the same for each of the recorded heads, in the order asked for.

        ValueError unless the state was started with recorded heads.
        """
    @property
    def length(self) -> int:
        """Tokens fed so far."""
    @property
    def record_attention(self) -> bool:
        """Whether attention() is available."""

class Model:
    """Packed weights, threads and scratch memory. Passes of one model run one after another.

    weights      a mapping that is asked for one name after another; name -> one of
                   float32 array
                   uint16 array, the upper halves of float32 (bf16)
                   int8 [out, in], float32 scale [out]
                   uint8 [out, ceil(in/2)], float32 scale [out, ceil(in/32)], in: 4 bits, the first
                   of two inputs in the lower half, 8 added
    store        f32 or bf16, for keys and values; auto: f32 if all matrices are
    cache_bytes  most bytes of keys and values
    is_two_stage  look coarsely at all ids first; see csrc/output.cc
    ValueError lists every weight that is missing, surplus, misshapen or of the wrong type.
    """

    def __new__(
        cls,
        config: ModelConfig,
        weights: Mapping[str, Any],
        threads: int,
        isa: str = "",
        store: str = "auto",
        cache_bytes: int = ...,
        is_two_stage: bool = False,
    ) -> Model: ...
    def begin_encode(
        self, memory: Sequence[Segment], ids: Sequence[int], is_document: bool
    ) -> Encoding:
        """One turn after those of `memory`; only the new tokens will be computed."""
    def begin_encode_frames(self, frames: _F32) -> Encoding:
        """Log-mel frames [n, mel_bins] of speech, two for each token."""
    def restore(
        self,
        pages: npt.NDArray[np.uint8],
        carried: _F32,
        length: int,
        start: int,
        is_document: bool,
    ) -> Segment:
        """The inverse of Segment.arrays; ValueError for what does not fit or is no number."""
    def score(self, logits: _F32, suppressed: Sequence[int]) -> tuple[npt.NDArray[np.int64], _F32]:
        """(best [B], log_norm [B]) of logits [B, V], in which suppressed ids become -inf.

        best is the first of the largest; logits - log_norm are natural log-probabilities.
        """
    @property
    def pool(self) -> PagePool:
        """Where keys and values live."""
    @property
    def weight_bytes(self) -> int:
        """What the packed matrices take, sketch included; vectors are not counted."""
    def start(
        self,
        memory: Sequence[Segment],
        record_attention: bool,
        recorded_heads: Sequence[tuple[int, int]] = (),
    ) -> DecoderState:
        """A decoder that was fed nothing yet; ValueError for a head that there is not."""
    def decode_step(self, states: Sequence[DecoderState], ids: Sequence[int]) -> _F32:
        """Logits [B, V] after one token for each of B different states."""
    @property
    def isa(self) -> str:
        """Instruction set of the kernels."""
    @property
    def threads(self) -> int:
        """Threads of one pass, the caller's included."""

class kernels:  # noqa: N801 (a submodule)
    """Each kernel of each instruction set by itself, for tests; formulas in csrc/core.h."""

    @staticmethod
    def softmax(x: _F32, isa: str) -> _F32: ...
    @staticmethod
    def rms_norm(x: _F32, weight: _F32, eps: float, isa: str) -> _F32: ...
    @staticmethod
    def layer_norm(x: _F32, weight: _F32, bias: _F32, eps: float, isa: str) -> _F32: ...
    @staticmethod
    def activate(x: _F32, activation: str, gated: bool, isa: str) -> _F32: ...
    @staticmethod
    def soft_cap(x: _F32, cap: float, isa: str) -> _F32: ...
    @staticmethod
    def quantize(x: _F32, isa: str) -> tuple[_S8, _F32]: ...
    @staticmethod
    def linear_f32(x: _F32, w: _F32, threads: int, isa: str) -> _F32: ...
    @staticmethod
    def linear_s8(x: _F32, w: _S8, scale: _F32, threads: int, isa: str) -> _F32: ...
    @staticmethod
    def linear_bf16(x: _F32, w: npt.NDArray[np.uint16], threads: int, isa: str) -> _F32: ...
    @staticmethod
    def linear_s4(
        x: _F32, w: npt.NDArray[np.uint8], scale: _F32, threads: int, isa: str
    ) -> _F32: ...
    @staticmethod
    def rotate(x: _F32, cosine: _F32, sine: _F32, heads: int, isa: str) -> _F32: ...
    @staticmethod
    def attend(
        q: _F32,
        keys: _F32,
        values: _F32,
        lengths: Sequence[int],
        heads: int,
        isa: str,
        store: str = "f32",
        scale: float = 0.0,
        soft_cap: float = 0.0,
        bias: _F32 | None = None,
    ) -> _F32: ...
    @staticmethod
    def attend_additive(
        q: _F32,
        keys: _F32,
        values: _F32,
        lengths: Sequence[int],
        score: _F32,
        isa: str,
        store: str = "f32",
    ) -> _F32: ...
    @staticmethod
    def gru_cell(gates: _F32, biases: _F32, h: _F32, isa: str) -> _F32: ...
