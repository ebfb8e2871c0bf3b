"""The Transformer decoder: packed targets for training, one step at a time for use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from duologue.config import ModelConfig
from duologue.model.attention import (
    CrossAttention,
    SelfAttention,
    additive,
    cross_mask,
    decoder_mask,
    rotary_angles,
)
from duologue.model.layers import Dropout, FeedForward, RMSNorm, init_weights
from duologue.model.values import DecoderState, Memory, Target


class DecoderLayer(nn.Module):
    """Residual self-attention, cross-attention and feed-forward, each on a normed input."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.self_norm = RMSNorm(config.d_model, config.norm_eps)
        self.self_attn = SelfAttention(config)
        self.cross_norm = RMSNorm(config.d_model, config.norm_eps)
        self.cross_attn = CrossAttention(config)
        self.ff_norm = RMSNorm(config.d_model, config.norm_eps)
        self.ff = FeedForward(config.d_model, config.d_ff)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        masks: tuple[Tensor, Tensor],
        cross: tuple[Tensor, Tensor],
        past: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x [B, T, D]; masks are the additive self and cross masks; cross from project()."""
        mixed, kept = self.self_attn(self.self_norm(x), angles, masks[0], past)
        x = x + self.dropout(mixed)
        x = x + self.dropout(self.cross_attn(self.cross_norm(x), cross, masks[1]))
        return x + self.dropout(self.ff(self.ff_norm(x))), kept


class TransformerDecoder(nn.Module):
    """Embedded target tokens and a memory to decoder states, ready for the output product."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(
            DecoderLayer(config, dropout) for _ in range(config.num_decoder_layers)
        )
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        init_weights(self, 3 * config.num_decoder_layers)

    def forward(self, target: Target, embedded: Tensor, memory: Memory) -> Tensor:
        """Decoder states [B, T, D] of whole targets at once (teacher forcing).

        embedded  [B, T, D] embeddings of target.ids
        """
        masks = (
            additive(decoder_mask(target.block), embedded.dtype),
            additive(cross_mask(target.limit, memory.segment), embedded.dtype),
        )
        angles = rotary_angles(target.position, self.config.head_dim, self.config.rope_theta)
        x = embedded
        for layer in self.layers:
            cross = layer.cross_attn.project(memory.states)
            x, _ = layer(x, angles, masks, cross, None)
        return self.norm(x)

    def start(self, memory: Memory) -> DecoderState:
        """An empty state that reads `memory`."""
        cross = [layer.cross_attn.project(memory.states) for layer in self.layers]
        return DecoderState(memory, cross, [None] * len(self.layers), 0)

    def step(self, state: DecoderState, embedded: Tensor) -> tuple[Tensor, DecoderState]:
        """One token further: embedded [B, 1, D] -> states [B, 1, D] and the next state."""
        batch = embedded.shape[0]
        position = torch.full((batch, 1), state.length, device=embedded.device)
        seen = torch.ones(batch, 1, state.length + 1, dtype=torch.bool, device=embedded.device)
        masks = (
            additive(seen, embedded.dtype),
            additive((state.memory.segment >= 0)[:, None], embedded.dtype),
        )
        angles = rotary_angles(position, self.config.head_dim, self.config.rope_theta)
        x, carried = embedded, []
        for layer, cross, past in zip(self.layers, state.cross, state.carried, strict=True):
            x, kept = layer(x, angles, masks, cross, past)
            carried.append(kept)
        return self.norm(x), DecoderState(state.memory, state.cross, carried, state.length + 1)
