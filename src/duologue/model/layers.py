"""The small parts that every cell is built from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis; Zhang & Sennrich 2019 (arXiv:1910.07467, eq. 4)."""

    def __init__(self, d_model: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., D]; returns the same shape and dtype."""
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class FeedForward(nn.Module):
    """down(silu(gate(x)) * up(x)), gate and up in one product; Shazeer 2020 (arXiv:2002.05202)."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(d_model, 2 * d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., D]; returns [..., D]."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(functional.silu(gate) * up)


class Dropout(nn.Module):
    """Dropout whose mask is the same at every position of a row, as in T5X.

    Gal & Ghahramani 2016 (arXiv:1512.05287, section 4). It draws 1 / S of the random numbers, which
    on a CPU is a tenth of a training step.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, S, D], or [B, D] for one position; the same shape."""
        if not self.training or self.rate == 0:
            return x
        shape = (x.shape[0], 1, x.shape[-1]) if x.dim() == 3 else x.shape
        keep = 1 - self.rate
        return x * (torch.rand(shape, device=x.device, dtype=x.dtype) < keep).to(x.dtype).div_(keep)


def init_weights(module: nn.Module, num_residuals: int) -> None:
    """Draw every matrix from N(0, 1 / fan_in); what ends a residual branch is smaller.

    num_residuals  residual branches that are added up on one side of the model; the last product
                   of each is divided by its square root, so that the sum starts with variance ~1
                   (Radford et al. 2019, GPT-2, section 2.3).
    """
    for name, parameter in module.named_parameters():
        if parameter.dim() < 2:
            continue
        std = parameter.shape[-1] ** -0.5
        if name.endswith(("out.weight", "down.weight")):
            std *= num_residuals**-0.5
        nn.init.normal_(parameter, std=std)
