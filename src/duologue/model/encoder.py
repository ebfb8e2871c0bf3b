"""The Transformer encoder: new segments attend to the keys and values of earlier ones."""

from __future__ import annotations

import torch
from torch import Tensor

from duologue.config import ModelConfig
from duologue.model.attention import SelfAttention, View
from duologue.model.front_end import Convolution, Embedding
from duologue.model.layers import Branches, FeedForward
from duologue.model.masks import encoder_mask
from duologue.model.stack import Side, Stack
from duologue.model.values import Memory, Source


class EncoderLayer(Branches):
    """Two residual branches: self-attention, then the feed-forward."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__(config, dropout, ("attn", "ff"))
        self.attn = SelfAttention(config)
        self.ff = FeedForward(config)

    def forward(
        self, x: Tensor, view: View, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x [B, Q, D] -> the same shape, and the layer's keys and values (see SelfAttention)."""
        mixed, kept = self.attn(self.enter("attn", x), view, past)
        x = self.leave("attn", x, mixed)
        return self.leave("ff", x, self.ff(self.enter("ff", x))), kept


class TransformerEncoder(Stack):
    """Embedded source tokens to memory, all at once or turn by turn with the same code."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        side = Side(
            num_layers=config.num_encoder_layers,
            num_residuals=2 * config.num_encoder_layers,
            num_positions=config.max_positions,
            window=config.encoder_window,
            window_layers=config.encoder_window_layers,
            is_causal=False,
        )
        super().__init__(config, side, EncoderLayer, dropout)
        if config.front_end == "mel":
            self.conv1 = Convolution(config.mel_bins, config.d_model, stride=1)
            self.conv2 = Convolution(config.d_model, config.d_model, stride=2)
        elif not config.shared_embedding:
            self.embed = Embedding(config.source_vocab_size or config.vocab_size, config)

    def embedded(self, source: Source, shared: Embedding) -> Tensor:
        """What the layers work on before positions are added: [B, S, D].

        shared  the decoder's embedding, for a source that is embedded alike
        """
        if self.config.front_end == "mel":
            if source.features is None:
                raise ValueError("a model that hears needs the features of a source")
            return self.conv2(self.conv1(source.features))
        return (shared if self.config.shared_embedding else self.embed)(source.ids)

    def forward(self, source: Source, embedded: Tensor, memory: Memory | None) -> Memory:
        """The memory with `source` appended.

        embedded  [B, S, D] what embedded() makes of the source
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
        views = self.views(mask, source.position, source.position, embedded.dtype)
        x, carried = self.enter(embedded, source.position), []
        for index, layer in enumerate(self.layers):
            past = memory.carried[index] if memory is not None else None
            x, kept = layer(x, views[index], past)
            carried.append(kept)
        states = self.norm(x)
        if memory is None:
            return Memory(states, source.segment, source.document, carried)
        return memory.extended(source, states, carried)
