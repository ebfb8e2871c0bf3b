"""Where a token stands: rotary angles, a bias for each distance, tables that are added.

Self-attention alone has positions; what the decoder reads of the encoder has none of its own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def rotary_angles(
    position: Tensor, head_dim: int, theta: float, factor: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Cosine and sine for each position: two tensors [B, 1, S, K/2] float32.

    factor  positions are divided by it: Chen et al. 2023 (arXiv:2306.15595, section 2.3)

    Su et al. 2021 (arXiv:2104.09864, section 3.4.2), with the two halves of a head as the pairs.
    """
    half = torch.arange(head_dim // 2, device=position.device, dtype=torch.float32)
    frequency = theta ** (-2.0 * half / head_dim)
    angle = position[:, None, :, None].float() * (frequency / factor)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Turn heads x [B, H, S, K] by their positions' angles."""
    cos, sin = angles
    first, second = x.chunk(2, dim=-1)
    rotated = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return rotated.to(x.dtype)


def distances(query: Tensor, key: Tensor) -> Tensor:
    """[B, Q, S] how far each key stands to the right of each query.

    query, key  [B, Q] and [B, S] integer positions
    """
    return key[:, None, :] - query[:, :, None]


def relative_buckets(
    distance: Tensor, num_buckets: int, max_distance: int, is_causal: bool
) -> Tensor:
    """The bucket of each distance, in [0, num_buckets), int64 and of the same shape.

    distance   position of the key minus that of the query
    is_causal  what stands to the right is never seen, and shares the bucket of distance 0;
               otherwise the second half of the buckets is for it

    Raffel et al. 2020 (arXiv:1910.10683, section 2.1): half of the buckets of a side for one
    distance each, the rest for ranges that widen with the logarithm, up to max_distance.
    """
    first = torch.zeros_like(distance)
    if is_causal:
        distance = (-distance).clamp(min=0)
    else:
        num_buckets //= 2
        first = (distance > 0).long() * num_buckets
        distance = distance.abs()
    num_exact = num_buckets // 2
    growth = torch.log(distance.clamp(min=1).float() / num_exact)
    growth = growth / math.log(max_distance / num_exact) * (num_buckets - num_exact)
    wide = (num_exact + growth.long()).clamp(max=num_buckets - 1)
    return first + torch.where(distance < num_exact, distance, wide)


class RelativeBias(nn.Module):
    """A learned number for each bucket and head, which is added to the attention scores."""

    def __init__(self, num_buckets: int, num_heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_buckets, num_heads) * num_heads**-0.5)

    def forward(self, buckets: Tensor) -> Tensor:
        """buckets [B, Q, S] -> [B, H, Q, S]."""
        return functional.embedding(buckets, self.weight).permute(0, 3, 1, 2)


class PositionTable(nn.Module):
    """A vector for each position, which is added to the embedding there.

    is_fixed  the vectors are sinusoids(), or what an imported model has in their place, and do
              not train
    """

    def __init__(self, num_positions: int, d_model: int, is_fixed: bool) -> None:
        super().__init__()
        if is_fixed:
            table = sinusoids(num_positions, d_model)
        else:
            table = torch.randn(num_positions, d_model) * d_model**-0.5
        self.weight = nn.Parameter(table, requires_grad=not is_fixed)

    def forward(self, position: Tensor) -> Tensor:
        """position [B, S] -> [B, S, D]."""
        return functional.embedding(position, self.weight)


def sinusoids(num_positions: int, d_model: int) -> Tensor:
    """Fixed vectors [P, D]: the sines of all frequencies, then the cosines.

    Vaswani et al. 2017 (arXiv:1706.03762, section 3.5), who interleave the two.
    """
    num_sines = (d_model + 1) // 2
    frequency = 10000.0 ** (-2.0 * torch.arange(num_sines) / d_model)
    angle = torch.arange(num_positions)[:, None] * frequency
    return torch.cat([angle.sin(), angle[:, : d_model // 2].cos()], dim=1)
