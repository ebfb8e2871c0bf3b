"""Self- and cross-attention, with the heads, scales, caps and norms that a config asks for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.config import ModelConfig
from duologue.model.layers import RMSNorm
from duologue.model.positions import RelativeBias, rotate


@dataclass(frozen=True)
class View:
    """What the self-attention of a layer sees.

    scores   [B, 1 or H, Q, S] is added to the scores: the mask, and a bias that layers share
    angles   rotary angles of the Q positions, or None
    buckets  [B, Q, S] int64 for a bias of the layer's own, or None
    """

    scores: Tensor
    angles: tuple[Tensor, Tensor] | None
    buckets: Tensor | None


@dataclass(frozen=True)
class Crossing:
    """The encoder states as one decoder layer reads them.

    k, v    [B, G, S, K] keys and values
    scores  [B, 1, T, S] additive mask
    """

    k: Tensor
    v: Tensor
    scores: Tensor


class Attention(nn.Module):
    """Multi-head attention, Vaswani et al. 2017 (arXiv:1706.03762): what its kinds share.

    H heads of width K for queries, G of them for keys and values.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.num_shared = config.num_heads // config.kv_heads
        self.scale = config.head_dim**-0.5 if config.attn_scale is None else config.attn_scale
        self.soft_cap = config.attn_soft_cap
        self.num_query_rows = config.num_heads * config.head_dim
        self.num_key_rows = config.kv_heads * config.head_dim

    def split(self, x: Tensor) -> Tensor:
        """[B, S, heads * K] -> [B, heads, S, K]."""
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, scores: Tensor) -> Tensor:
        """Heads q [B, H, Q, K], k and v [B, G, S, K], what is added to scores -> [B, Q, H * K]."""
        if self.num_shared > 1:
            k, v = (part.repeat_interleave(self.num_shared, dim=1) for part in (k, v))
        is_slow = q.device.type == "cpu" and q.dtype == torch.bfloat16
        if self.soft_cap or is_slow:
            mixed = attend_plain(q, k, v, scores, self.scale, self.soft_cap)
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, scores, scale=self.scale)
        return mixed.transpose(1, 2).flatten(2)


def attend_plain(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float, soft_cap: float = 0.0
) -> Tensor:
    """The formula of Vaswani et al. 2017 (arXiv:1706.03762, eq. 1), written out: [B, H, Q, K].

    On a CPU in bfloat16 these products take a quarter of the time of PyTorch's fused kernel, which
    knows no soft_cap either (see ModelConfig.attn_soft_cap).
    """
    scores = (q * scale) @ k.transpose(-1, -2)
    if soft_cap:
        scores = soft_cap * torch.tanh(scores / soft_cap)
    return (scores + mask).softmax(dim=-1).to(v.dtype) @ v


class SelfAttention(Attention):
    """Attention among the positions of a side; is_merged: and to the encoder's states at once.

    Merged, keys and values of the encoder's states come from the same product as the side's own,
    and one softmax weighs both.
    """

    def __init__(self, config: ModelConfig, is_merged: bool = False) -> None:
        super().__init__(config)
        width, queries, keys = config.d_model, self.num_query_rows, self.num_key_rows
        self.is_merged = is_merged
        if is_merged:
            self.q = nn.Linear(width, queries, bias=config.bias)
            self.kv = nn.Linear(width, 2 * keys, bias=config.bias)
        else:
            self.qkv = nn.Linear(width, queries + 2 * keys, bias=config.bias)
        self.out = nn.Linear(queries, width, bias=config.bias)
        norms = (
            RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else nn.Identity()
            for _ in range(2)
        )
        self.q_norm, self.k_norm = norms
        if config.positions == "relative" and config.relative_per_layer:
            self.relative = RelativeBias(config.relative_buckets, config.num_heads)

    def project(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Merged: keys and values [B, G, S, K] of encoder states [B, S, D], without positions."""
        k, v = map(self.split, self.kv(states).chunk(2, dim=-1))
        return self.k_norm(k), v

    def forward(
        self,
        x: Tensor,
        view: View,
        past: tuple[Tensor, Tensor] | None = None,
        crossing: Crossing | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Mix positions.

        x         [B, Q, D]
        view      of the Q positions on P + Q
        past      keys and values [B, G, P, K] of earlier positions, or None (P = 0)
        crossing  merged: the encoder's states
        returns   [B, Q, D], and keys and values [B, G, P + Q, K] for the next call
        """
        q, k, v = self._heads(x)
        if view.angles is not None:
            q, k = rotate(q, view.angles), rotate(k, view.angles)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        kept, scores = (k, v), view.scores
        if view.buckets is not None:
            scores = scores + self.relative(view.buckets)
        if crossing is not None:
            k, v = torch.cat([k, crossing.k], dim=2), torch.cat([v, crossing.v], dim=2)
            crossed = crossing.scores.expand(-1, scores.shape[1], -1, -1)
            scores = torch.cat([scores, crossed], dim=-1)
        return self.out(self.mix(q, k, v, scores)), kept

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, H, Q, K], keys and values [B, G, Q, K], normed but not yet turned."""
        if self.is_merged:
            return self.q_norm(self.split(self.q(x))), *self.project(x)
        rows = (self.num_query_rows, self.num_key_rows, self.num_key_rows)
        q, k, v = map(self.split, self.qkv(x).split(rows, dim=-1))
        return self.q_norm(q), self.k_norm(k), v


class CrossAttention(Attention):
    """Attention from target positions to encoder states; no positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.q = nn.Linear(config.d_model, self.num_query_rows, bias=config.bias)
        self.kv = nn.Linear(config.d_model, 2 * self.num_key_rows, bias=config.bias)
        self.out = nn.Linear(self.num_query_rows, config.d_model, bias=config.bias)

    def project(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, G, S, K] of encoder states [B, S, D]; done once per memory."""
        k, v = self.kv(states).chunk(2, dim=-1)
        return self.split(k), self.split(v)

    def forward(self, x: Tensor, crossing: Crossing) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        q = self.split(self.q(x))
        return self.out(self.mix(q, crossing.k, crossing.v, crossing.scores))
