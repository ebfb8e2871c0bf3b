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

from duologue.model.values import OutputLayer

CHUNK_BYTES = {"cpu": 8 * 2**20, "cuda": 256 * 2**20}


def target_loss(
    states: Tensor, tgt_out: Tensor, output: OutputLayer, smoothing: float
) -> tuple[Tensor, int]:
    """Summed loss in nats and the number of target tokens it covers.

    states     [B, T, D] decoder states
    tgt_out    [B, T] integer ids to be predicted, -1 where there is no loss
    output     what turns states into logits
    smoothing  share of the target probability that is spread evenly over all entries

    Divide the loss by the count to get nats per target token.
    """
    row, column = (tgt_out >= 0).nonzero(as_tuple=True)
    loss = smoothed_loss(states[row, column], tgt_out[row, column], output, smoothing)
    return loss, row.shape[0]


def smoothed_loss(states: Tensor, labels: Tensor, output: OutputLayer, smoothing: float) -> Tensor:
    """Sum over positions of the label-smoothed cross-entropy, in nats, as a float32 scalar.

    states [N, D], labels [N] in [0, V).
    Label smoothing of Szegedy et al. 2016 (arXiv:1512.00567, section 7). Under autocast the
    products run in its dtype; softmax and sums are float32 always.
    """
    trained = [
        torch.is_grad_enabled() and part is not None and part.requires_grad
        for part in (states, output.weight, output.bias)
    ]
    settings = (smoothing, output.soft_cap, *trained)
    return _SmoothedLoss.apply(states, output.weight, output.bias, labels, settings)


def smoothed_loss_plain(
    states: Tensor, labels: Tensor, output: OutputLayer, smoothing: float
) -> Tensor:
    """The same sum from all [N, V] logits at once; kept as the reference of smoothed_loss."""
    logits = output.logits(states)
    return functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)


class _SmoothedLoss(torch.autograd.Function):
    """Loss and gradient in one sweep over chunks of positions.

    The gradient by the logits, softmax - smoothed target, is at hand right after the softmax, so
    forward multiplies it on at once and keeps only [N, D], [V, D] and [V]; backward is a scaling.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        settings: tuple[float, float, bool, bool, bool],
    ) -> Tensor:
        smoothing, soft_cap, *trained = settings
        dtype = _product_dtype(states)
        matrix = weight.to(dtype)
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        grad_states = torch.empty_like(states) if trained[0] else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if trained[1] else None
        grad_bias = None
        if bias is not None and trained[2]:
            grad_bias = torch.zeros_like(bias, dtype=torch.float32)
        rows = max(1, CHUNK_BYTES[states.device.type] // (4 * weight.shape[0]))
        with torch.autocast(states.device.type, enabled=False):
            for start in range(0, states.shape[0], rows):
                part = slice(start, start + rows)
                hidden = states[part].to(dtype)
                logits = (hidden @ matrix.T).float()
                if bias is not None:
                    logits += bias
                total += _loss_and_gradient(logits, labels[part], smoothing, soft_cap)
                if grad_bias is not None:
                    grad_bias += logits.sum(dim=0)
                slope = logits.to(dtype)
                if grad_states is not None:
                    grad_states[part] = slope @ matrix
                if grad_weight is not None:
                    _add_product(grad_weight, slope, hidden)
        ctx.gradients = (grad_states, grad_weight, grad_bias)
        return total

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if grad is None else grad * grad_output for grad in ctx.gradients)
        return *scaled, None, None


def _product_dtype(states: Tensor) -> torch.dtype:
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype


def _loss_and_gradient(logits: Tensor, labels: Tensor, smoothing: float, soft_cap: float) -> Tensor:
    """The chunk's summed loss; `logits` [n, V] float32 becomes its gradient, in place.

    With log Z = logsumexp(z) the loss of one position is
    log Z - (1 - smoothing) * z[label] - smoothing * mean(z). A soft cap bends z first.
    """
    bend = None
    if soft_cap:
        tanh = logits.div_(soft_cap).tanh_()
        bend = 1 - tanh.square()
        logits.mul_(soft_cap)
    picked = logits.gather(1, labels[:, None]).sum()
    mean = logits.mean(dim=1).sum() if smoothing else 0.0
    log_z = logits.logsumexp(dim=1)
    loss = log_z.sum() - (1 - smoothing) * picked - smoothing * mean
    logits.sub_(log_z[:, None]).exp_()
    if smoothing:
        logits.sub_(smoothing / logits.shape[1])
    logits[torch.arange(len(labels), device=labels.device), labels] -= 1 - smoothing
    if bend is not None:
        logits.mul_(bend)
    return loss


def _add_product(total: Tensor, slope: Tensor, hidden: Tensor) -> None:
    """total [V, D] += slope.T [V, n] @ hidden [n, D]; in place, without a temporary in float32."""
    if slope.dtype == total.dtype:
        total.addmm_(slope.T, hidden)
    else:
        total += slope.T @ hidden
