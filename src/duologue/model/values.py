"""What goes into and comes out of a model: Source, Target, Memory, DecoderState, OutputLayer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Source:
    """Segments to encode, one row per example; every field but the last is [B, S].

    ids       int64 token ids; not looked at by a model that hears
    segment   int64 index of the segment, -1 on padding
    position  int64 position of each token; a document starts again at 0
    document  bool, True inside document segments
    features  [B, 2 * S or one less, mel_bins] float32 log-mel frames, for a model that hears
    """

    ids: Tensor
    segment: Tensor
    position: Tensor
    document: Tensor
    features: Tensor | None = None


@dataclass(frozen=True)
class Target:
    """Decoder input; a row may pack several targets of the same source. Every field is [B, T].

    ids       int64 prefix and text ids
    block     int64 index of the target in its row, -1 on padding
    position  int64, starts at 0 for each target
    limit     int64 number of source segments this target may see
    """

    ids: Tensor
    block: Tensor
    position: Tensor
    limit: Tensor


@dataclass(frozen=True)
class Memory:
    """Encoded segments. Appending makes a new Memory; nothing in an old one changes.

    states    [B, S, D] encoder output, what the decoder reads
    segment   [B, S] int64 segment index, -1 on padding
    document  [B, S] bool
    carried   what the encoder needs to append: keys and values of each layer, or GRU states
    """

    states: Tensor
    segment: Tensor
    document: Tensor
    carried: Any

    def extended(self, source: Source, states: Tensor, carried: Any) -> Memory:
        """This memory with the new states of `source` behind its own."""
        return Memory(
            states=torch.cat([self.states, states], dim=1),
            segment=torch.cat([self.segment, source.segment], dim=1),
            document=torch.cat([self.document, source.document], dim=1),
            carried=carried,
        )


@dataclass(frozen=True)
class DecoderState:
    """What a batch of decoders carries from one step to the next; rows have equal lengths.

    memory   what the decoder reads
    cross    the decoder's own view of the memory (projected keys and values), made once
    carried  self-attention keys and values of each layer, or GRU states; None before the first step
    length   tokens fed so far
    """

    memory: Memory
    cross: Any
    carried: Any
    length: int


@dataclass(frozen=True)
class OutputLayer:
    """From decoder states to logits.

    weight    [V, D]
    bias      [V], or None
    soft_cap  c in c * tanh(logit / c); 0 is off
    """

    weight: Tensor
    bias: Tensor | None = None
    soft_cap: float = 0.0

    def logits(self, states: Tensor) -> Tensor:
        """[..., D] -> [..., V] float32."""
        logits = functional.linear(states, self.weight, self.bias).float()
        return self.soft_cap * torch.tanh(logits / self.soft_cap) if self.soft_cap else logits
