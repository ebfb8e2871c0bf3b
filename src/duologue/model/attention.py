"""Masks, rotary positions, self- and cross-attention. Masks are boolean, True means "attend"."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.config import ModelConfig


def encoder_mask(
    query_segment: Tensor,
    query_document: Tensor,
    key_segment: Tensor,
    key_document: Tensor,
    full: bool = False,
) -> Tensor:
    """Who sees whom in the encoder.

    *_segment   [B, Q] and [B, S] integer segment index, -1 on padding
    *_document  [B, Q] and [B, S] boolean
    full        ignore the segments: every position sees every other
    returns     [B, Q, S] boolean; a row of padding sees padding, so that no row is empty

    Block-causal: a position sees its own segment in both directions and every earlier dialogue
    segment; a document segment sees itself alone.
    """
    query, key = query_segment[:, :, None], key_segment[:, None, :]
    if full:
        return (key >= 0) == (query >= 0)
    dialogue = ~query_document[:, :, None] & ~key_document[:, None, :]
    return (key == query) | (dialogue & (key >= 0) & (key < query))


def cross_mask(limit: Tensor, key_segment: Tensor) -> Tensor:
    """[B, T, S] boolean: a target position sees the segments below its limit.

    limit        [B, T] number of segments that this target may see
    key_segment  [B, S] segment index, -1 on padding
    """
    return (key_segment[:, None, :] >= 0) & (key_segment[:, None, :] < limit[:, :, None])


def decoder_mask(block: Tensor) -> Tensor:
    """[B, T, T] boolean: causal, and only inside the same target of a packed row.

    block  [B, T] index of the target, -1 on padding
    """
    same = block[:, :, None] == block[:, None, :]
    return same & torch.ones_like(same[0]).tril()


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A boolean mask [B, Q, S] as what is added to attention scores: [B, 1, Q, S], 0 or -1e9.

    Large and finite: a row with nothing to see gives an even average instead of NaN.
    """
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, -1e9)[:, None]


def rotary_angles(position: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine for each position: two tensors [B, 1, S, K/2] float32.

    Su et al. 2021 (arXiv:2104.09864, section 3.4.2), with the two halves of a head as the pairs.
    """
    half = torch.arange(head_dim // 2, device=position.device, dtype=torch.float32)
    frequency = theta ** (-2.0 * half / head_dim)
    angle = position[:, None, :, None].float() * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Turn heads x [B, H, S, K] by their positions' angles."""
    cos, sin = angles
    first, second = x.chunk(2, dim=-1)
    rotated = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return rotated.to(x.dtype)


def _split_heads(x: Tensor, num_heads: int) -> Tensor:
    """[B, S, D] -> [B, H, S, K]."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Scaled dot-product attention over heads [B, H, *, K]; returns [B, Q, D].

    On a CPU in bfloat16 three plain products take a quarter of the time of PyTorch's fused kernel.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        mixed = _attend_plain(q, k, v, mask)
    else:
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return mixed.transpose(1, 2).flatten(2)


def _attend_plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """The formula of Vaswani et al. 2017 (arXiv:1706.03762, eq. 1), written out: [B, H, Q, K]."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + mask
    return scores.softmax(dim=-1).to(v.dtype) @ v


class SelfAttention(nn.Module):
    """Multi-head self-attention with rotary positions; Vaswani et al. 2017 (arXiv:1706.03762)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor,
        past: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Mix positions.

        x        [B, Q, D] normed input
        angles   rotary angles of the Q positions
        mask     additive [B, 1, Q, P + Q]
        past     keys and values [B, H, P, K] of earlier positions, or None (P = 0)
        returns  [B, Q, D], and keys and values [B, H, P + Q, K] for the next call
        """
        q, k, v = (_split_heads(part, self.num_heads) for part in self.qkv(x).chunk(3, dim=-1))
        q, k = rotate(q, angles), rotate(k, angles)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        return self.out(_attend(q, k, v, mask)), (k, v)


class CrossAttention(nn.Module):
    """Multi-head attention from target positions to encoder states; no positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.q = nn.Linear(config.d_model, config.d_model, bias=False)
        self.kv = nn.Linear(config.d_model, 2 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def project(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, S, K] of encoder states [B, S, D]; done once per memory."""
        k, v = self.kv(states).chunk(2, dim=-1)
        return _split_heads(k, self.num_heads), _split_heads(v, self.num_heads)

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """x [B, T, D] normed; memory from project(); mask additive [B, 1, T, S]; -> [B, T, D]."""
        q = _split_heads(self.q(x), self.num_heads)
        return self.out(_attend(q, *memory, mask))
