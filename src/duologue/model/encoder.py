"""The Transformer encoder: new segments attend to the keys and values of earlier ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from duologue.config import ModelConfig
from duologue.model.attention import SelfAttention, additive, encoder_mask, rotary_angles
from duologue.model.layers import Dropout, FeedForward, RMSNorm, init_weights
from duologue.model.values import Memory, Source


class EncoderLayer(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.attn_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attn = SelfAttention(config)
        self.ff_norm = RMSNorm(config.d_model, config.norm_eps)
        self.ff = FeedForward(config.d_model, config.d_ff)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor,
        past: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x [B, Q, D] -> the same shape, and the layer's keys and values (see SelfAttention)."""
        mixed, kept = self.attn(self.attn_norm(x), angles, mask, past)
        x = x + self.dropout(mixed)
        return x + self.dropout(self.ff(self.ff_norm(x))), kept


class TransformerEncoder(nn.Module):
    """Embedded source tokens to memory, all at once or turn by turn with the same code."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(
            EncoderLayer(config, dropout) for _ in range(config.num_encoder_layers)
        )
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        init_weights(self, 2 * config.num_encoder_layers)

    def forward(self, source: Source, embedded: Tensor, memory: Memory | None) -> Memory:
        """The memory with `source` appended.

        embedded  [B, S, D] embeddings of source.ids
        memory    what was encoded before, or None; never changed
        """
        key_segment, key_document = source.segment, source.document
        if memory is not None:
            key_segment = torch.cat([memory.segment, key_segment], dim=1)
            key_document = torch.cat([memory.document, key_document], dim=1)
        mask = encoder_mask(
            source.segment,
            source.document,
            key_segment,
            key_document,
            full=self.config.encoder_mask == "full",
        )
        scores = additive(mask, embedded.dtype)
        angles = rotary_angles(source.position, self.config.head_dim, self.config.rope_theta)
        x, carried = embedded, []
        for index, layer in enumerate(self.layers):
            past = memory.carried[index] if memory is not None else None
            x, kept = layer(x, angles, scores, past)
            carried.append(kept)
        states = self.norm(x)
        if memory is None:
            return Memory(states, source.segment, source.document, carried)
        return memory.extended(source, states, carried)
