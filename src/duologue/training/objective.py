"""The training loss: label-smoothed cross-entropy, computed without ever holding all logits.

target_loss          what the trainer calls: decoder states to a summed loss
smoothed_loss        the fast path: chunks of positions, gradient made along with the loss
smoothed_loss_plain  the slow twin in five lines: what smoothed_loss must equal

The output product and its softmax dominate small models. A batch of 4,096 positions and 16,000
entries would need 262 MB for its logits alone, and as much again for their gradient; here at most
CHUNK_BYTES of logits exist at any time. Small chunks stay in a processor's cache: on two CPU cores
1,500 positions x 10,000 entries x 256 take 125 ms, forward and backward; all at once, 175 ms.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CHUNK_BYTES = {"cpu": 8 * 2**20, "cuda": 256 * 2**20}


def target_loss(
    states: Tensor, tgt_out: Tensor, embedding: Tensor, smoothing: float
) -> tuple[Tensor, int]:
    """Summed loss in nats and the number of target tokens it covers.

    states     [B, T, D] decoder states
    tgt_out    [B, T] integer ids to be predicted, -1 where there is no loss
    embedding  [V, D] output matrix; logits = states @ embedding.T
    smoothing  share of the target probability that is spread evenly over all entries

    Divide the loss by the count to get nats per target token.
    """
    row, column = (tgt_out >= 0).nonzero(as_tuple=True)
    loss = smoothed_loss(states[row, column], tgt_out[row, column], embedding, smoothing)
    return loss, row.shape[0]


def smoothed_loss(states: Tensor, labels: Tensor, embedding: Tensor, smoothing: float) -> Tensor:
    """Sum over positions of the label-smoothed cross-entropy, in nats, as a float32 scalar.

    states [N, D], labels [N] in [0, V), embedding [V, D].
    Label smoothing of Szegedy et al. 2016 (arXiv:1512.00567, section 7). Under autocast the
    products run in its dtype; softmax and sums are float32 always.
    """
    needs_grad = torch.is_grad_enabled() and (states.requires_grad or embedding.requires_grad)
    return _SmoothedLoss.apply(states, labels, embedding, smoothing, needs_grad)


def smoothed_loss_plain(
    states: Tensor, labels: Tensor, embedding: Tensor, smoothing: float
) -> Tensor:
    """The same sum from all [N, V] logits at once; kept as the reference of smoothed_loss."""
    logits = functional.linear(states, embedding).float()
    return functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)


class _SmoothedLoss(torch.autograd.Function):
    """Loss and gradient in one sweep over chunks of positions.

    The gradient by the logits, softmax - smoothed target, is at hand right after the softmax, so
    forward multiplies it on at once and keeps only [N, D] and [V, D]; backward is a scaling.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        labels: Tensor,
        embedding: Tensor,
        smoothing: float,
        needs_grad: bool,
    ) -> Tensor:
        dtype = _product_dtype(states)
        weight = embedding.to(dtype)
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        grad_states = torch.empty_like(states) if needs_grad else None
        grad_weight = torch.zeros_like(embedding, dtype=torch.float32) if needs_grad else None
        rows = max(1, CHUNK_BYTES[states.device.type] // (4 * embedding.shape[0]))
        with torch.autocast(states.device.type, enabled=False):
            for start in range(0, states.shape[0], rows):
                part = slice(start, start + rows)
                hidden = states[part].to(dtype)
                logits = (hidden @ weight.T).float()
                total += _loss_and_gradient(logits, labels[part], smoothing)
                if grad_states is not None and grad_weight is not None:
                    slope = logits.to(dtype)
                    grad_states[part] = slope @ weight
                    _add_product(grad_weight, slope, hidden)
        ctx.save_for_backward(grad_states, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        grad_states, grad_weight = ctx.saved_tensors
        if grad_states is None:
            return None, None, None, None, None
        return grad_states * grad_output, None, grad_weight * grad_output, None, None


def _product_dtype(states: Tensor) -> torch.dtype:
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype


def _loss_and_gradient(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """The chunk's summed loss; `logits` [n, V] float32 becomes its gradient, in place.

    With log Z = logsumexp(z) the loss of one position is
    log Z - (1 - smoothing) * z[label] - smoothing * mean(z).
    """
    picked = logits.gather(1, labels[:, None]).sum()
    mean = logits.mean(dim=1).sum() if smoothing else 0.0
    log_z = logits.logsumexp(dim=1)
    loss = log_z.sum() - (1 - smoothing) * picked - smoothing * mean
    logits.sub_(log_z[:, None]).exp_()
    if smoothing:
        logits.sub_(smoothing / logits.shape[1])
    logits[torch.arange(len(labels), device=labels.device), labels] -= 1 - smoothing
    return loss


def _add_product(total: Tensor, slope: Tensor, hidden: Tensor) -> None:
    """total [V, D] += slope.T [V, n] @ hidden [n, D]; in place, without a temporary in float32."""
    if slope.dtype == total.dtype:
        total.addmm_(slope.T, hidden)
    else:
        total += slope.T @ hidden
