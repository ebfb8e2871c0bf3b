"""What the Transformer encoder and decoder have in common: positions, views, norms at both ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from duologue.config import ModelConfig
from duologue.model.attention import View
from duologue.model.layers import Branches, Dropout, init_weights, make_norm
from duologue.model.masks import additive, window_mask
from duologue.model.positions import (
    PositionTable,
    RelativeBias,
    distances,
    relative_buckets,
    rotary_angles,
)


@dataclass(frozen=True)
class Side:
    """What differs between the two stacks of a model.

    num_layers     of the stack
    num_residuals  residual branches of all layers
    num_positions  rows of a table of positions
    window         (before, after): how many neighbours the layers of window_layers see, or None
    is_causal      nothing sees what is to its right
    """

    num_layers: int
    num_residuals: int
    num_positions: int
    window: tuple[int, int] | None
    window_layers: tuple[int, ...]
    is_causal: bool


class Stack(nn.Module):
    """Layers on top of each other, and what belongs to a side of the model as a whole."""

    def __init__(
        self,
        config: ModelConfig,
        side: Side,
        make_layer: Callable[[ModelConfig, float], Branches],
        dropout: float,
    ) -> None:
        super().__init__()
        self.config = config
        self.side = side
        if config.positions in ("learned", "sinusoidal"):
            is_fixed = config.positions == "sinusoidal"
            self.positions = PositionTable(side.num_positions, config.d_model, is_fixed)
        if config.positions == "relative" and not config.relative_per_layer:
            self.relative = RelativeBias(config.relative_buckets, config.num_heads)
        self.embed_norm = make_norm(config) if config.embed_norm else nn.Identity()
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(make_layer(config, dropout) for _ in range(side.num_layers))
        self.norm = make_norm(config) if config.final_norm else nn.Identity()
        init_weights(self, side.num_residuals)

    def enter(self, embedded: Tensor, position: Tensor) -> Tensor:
        """Input of the first layer: embeddings [B, S, D] at `position` [B, S]."""
        if self.config.positions in ("learned", "sinusoidal"):
            embedded = embedded + self.positions(position)
        return self.dropout(self.embed_norm(embedded))

    def views(self, mask: Tensor, query: Tensor, key: Tensor, dtype: torch.dtype) -> list[View]:
        """What each layer's self-attention sees.

        mask        [B, Q, S] boolean
        query, key  [B, Q] and [B, S] positions; key is looked at if these are relative or there
                    is a window
        dtype       of the scores
        """
        config, side = self.config, self.side
        scores, buckets = additive(mask, dtype), None
        if config.positions == "relative":
            sizes = (config.relative_buckets, config.relative_distance)
            buckets = relative_buckets(distances(query, key), *sizes, side.is_causal)
            if not config.relative_per_layer:
                scores, buckets = scores + self.relative(buckets), None
        view = View(scores, self._angles(query, config.rope_theta, config.rope_factor), buckets)
        if side.window is None:
            return [view] * side.num_layers
        near = mask & window_mask(distances(query, key), *side.window)
        theta = config.window_rope_theta or config.rope_theta
        narrow = View(additive(near, dtype), self._angles(query, theta, 1.0), None)
        return [narrow if i in side.window_layers else view for i in range(side.num_layers)]

    def _angles(
        self, position: Tensor, theta: float, factor: float
    ) -> tuple[Tensor, Tensor] | None:
        if self.config.positions != "rotary":
            return None
        return rotary_angles(position, self.config.head_dim, theta, factor)
