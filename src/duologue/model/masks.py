"""Who sees whom: masks are boolean, True means "attend"."""

from __future__ import annotations

import torch
from torch import Tensor


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


def window_mask(distance: Tensor, before: int, after: int) -> Tensor:
    """[B, Q, S] boolean: a position sees `before` neighbours on its left, `after` on its right.

    distance  [B, Q, S] position of the key minus that of the query
    """
    return (distance >= -before) & (distance <= after)


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A boolean mask [B, Q, S] as what is added to attention scores: [B, 1, Q, S], 0 or -1e9.

    Large and finite: a row with nothing to see gives an even average instead of NaN.
    """
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, -1e9)[:, None]
