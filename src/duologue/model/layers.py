"""The small parts that every cell is built from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.config import ModelConfig

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "relu": functional.relu,
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
}
TABLES = ("embed.weight", "positions.weight", "relative.weight")  # looked up, never multiplied


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis; Zhang & Sennrich 2019 (arXiv:1910.07467, eq. 4)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., D]; returns the same shape and dtype, computed in that of the weight."""
        wide = x.to(self.weight.dtype)  # under autocast products are bfloat16
        return functional.rms_norm(wide, (x.shape[-1],), self.weight, self.eps).to(x.dtype)


def make_norm(config: ModelConfig) -> nn.Module:
    """The norm of a model's states [..., D], of the kind that the config names."""
    kind = RMSNorm if config.norm == "rms" else nn.LayerNorm
    return kind(config.d_model, config.norm_eps)


class Branches(nn.Module):
    """Base of a layer: residual branches, each with its norms where norm_place says.

    A branch `name` is the step x = leave("name", x, f(enter("name", x))).
    """

    def __init__(self, config: ModelConfig, dropout: float, names: tuple[str, ...]) -> None:
        super().__init__()
        self.norm_place = config.norm_place
        self.dropout = Dropout(dropout)
        for name in names:
            self.add_module(f"{name}_norm", make_norm(config))
            if config.norm_place == "both":
                self.add_module(f"{name}_post_norm", make_norm(config))

    def enter(self, name: str, x: Tensor) -> Tensor:
        """What the branch works on."""
        return x if self.norm_place == "post" else getattr(self, f"{name}_norm")(x)

    def leave(self, name: str, x: Tensor, change: Tensor) -> Tensor:
        """x after the branch, which made `change` of it."""
        if self.norm_place == "both":
            change = getattr(self, f"{name}_post_norm")(change)
        x = x + self.dropout(change)
        return getattr(self, f"{name}_norm")(x) if self.norm_place == "post" else x


class FeedForward(nn.Module):
    """down(act(up(x))), or down(act(gate(x)) * up(x)) with gate and up in one product.

    The second is that of Shazeer 2020 (arXiv:2002.05202).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, hidden, bias = config.d_model, config.d_ff, config.bias
        self.is_gated = config.gated
        self.activation = ACTIVATIONS[config.activation]
        if config.gated:
            self.gate_up = nn.Linear(width, 2 * hidden, bias=bias)
        else:
            self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., D]; returns [..., D]."""
        if not self.is_gated:
            return self.down(self.activation(self.up(x)))
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(self.activation(gate) * up)


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

    Biases of linear layers become 0; tables keep what they were made with.
    """
    for name, parameter in module.named_parameters():
        if name.endswith(TABLES):
            continue
        if parameter.dim() < 2:
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            continue
        std = parameter.shape[-1] ** -0.5
        if name.endswith(("out.weight", "down.weight")):
            std *= num_residuals**-0.5
        nn.init.normal_(parameter, std=std)
