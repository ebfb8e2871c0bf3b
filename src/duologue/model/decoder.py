"""The Transformer decoder: packed targets for training, one step at a time for use."""

from __future__ import annotations

import torch
from torch import Tensor

from duologue.config import ModelConfig
from duologue.model.attention import CrossAttention, Crossing, SelfAttention, View
from duologue.model.layers import Branches, FeedForward
from duologue.model.masks import additive, cross_mask, decoder_mask
from duologue.model.stack import Side, Stack
from duologue.model.values import DecoderState, Memory, Target


class DecoderLayer(Branches):
    """Residual self-attention, cross-attention and feed-forward; or the first two merged."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        attentions = ("self",) if config.merged_attention else ("self", "cross")
        super().__init__(config, dropout, (*attentions, "ff"))
        self.is_merged = config.merged_attention
        self.self_attn = SelfAttention(config, config.merged_attention)
        if not config.merged_attention:
            self.cross_attn = CrossAttention(config)
        self.ff = FeedForward(config)

    def project(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, G, S, K] of encoder states [B, S, D]; done once per memory."""
        reader = self.self_attn if self.is_merged else self.cross_attn
        return reader.project(states)

    def forward(
        self, x: Tensor, view: View, crossing: Crossing, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x [B, T, D] -> the same shape, and the layer's keys and values (see SelfAttention)."""
        merged = crossing if self.is_merged else None
        mixed, kept = self.self_attn(self.enter("self", x), view, past, merged)
        x = self.leave("self", x, mixed)
        if not self.is_merged:
            x = self.leave("cross", x, self.cross_attn(self.enter("cross", x), crossing))
        return self.leave("ff", x, self.ff(self.enter("ff", x))), kept


class TransformerDecoder(Stack):
    """Embedded target tokens and a memory to decoder states, ready for the output layer."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        window = config.decoder_window
        side = Side(
            num_layers=config.num_decoder_layers,
            num_residuals=3 * config.num_decoder_layers,
            num_positions=config.target_positions,
            window=None if window is None else (window, 0),
            window_layers=config.decoder_window_layers,
            is_causal=True,
        )
        super().__init__(config, side, DecoderLayer, dropout)

    def forward(self, target: Target, embedded: Tensor, memory: Memory) -> Tensor:
        """Decoder states [B, T, D] of whole targets at once (teacher forcing).

        embedded  [B, T, D] embeddings of target.ids
        """
        mask, seen = decoder_mask(target.block), cross_mask(target.limit, memory.segment)
        views = self.views(mask, target.position, target.position, embedded.dtype)
        scores = additive(seen, embedded.dtype)
        x = self.enter(embedded, target.position)
        for layer, view in zip(self.layers, views, strict=True):
            k, v = layer.project(memory.states)
            x, _ = layer(x, view, Crossing(k, v, scores), None)
        return self.norm(x)

    def start(self, memory: Memory) -> DecoderState:
        """An empty state that reads `memory`."""
        cross = [layer.project(memory.states) for layer in self.layers]
        return DecoderState(memory, cross, [None] * len(self.layers), 0)

    def step(self, state: DecoderState, embedded: Tensor) -> tuple[Tensor, DecoderState]:
        """One token further: embedded [B, 1, D] -> states [B, 1, D] and the next state."""
        batch = embedded.shape[0]
        keys = torch.arange(state.length + 1, device=embedded.device).expand(batch, -1)
        query = keys[:, -1:]
        seen = torch.ones_like(keys, dtype=torch.bool)[:, None]
        views = self.views(seen, query, keys, embedded.dtype)
        scores = additive((state.memory.segment >= 0)[:, None], embedded.dtype)
        x, carried = self.enter(embedded, query), []
        for index, layer in enumerate(self.layers):
            k, v = state.cross[index]
            x, kept = layer(x, views[index], Crossing(k, v, scores), state.carried[index])
            carried.append(kept)
        return self.norm(x), DecoderState(state.memory, state.cross, carried, state.length + 1)
