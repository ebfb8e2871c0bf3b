"""What turns gradients into better weights: AdamW, the learning rate, clipping, averaged weights.

trained           the weights that a run changes, by name
build_optimizer   AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101)
learning_rate     warm-up, then cosine or inverse square root
scale_gradients   sums to means per target token, clipped; tells whether they are finite
AveragedWeights   exponential moving average of the weights
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from duologue.config import TrainConfig
from duologue.model.layers import TABLES


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name -> weight, for those that training changes: neither fixed tables nor frozen ones."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; vectors (norms, biases) and tables (embeddings, positions) do not decay."""
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in trained(model).items():
        is_matrix = parameter.dim() >= 2 and not name.endswith(TABLES)
        (decayed if is_matrix else kept).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def learning_rate(config: TrainConfig, step: int, elapsed_share: float | None = None) -> float:
    """The learning rate of update `step` (0-based): linear warm-up, then decay.

    elapsed_share  share of max_minutes that has passed, in [0, 1]; the cosine then follows it.
                   Without it the cosine runs from the end of the warm-up to max_steps.

    cosine: Loshchilov & Hutter 2017 (arXiv:1608.03983, eq. 5, without restarts), down to
    min_lr_ratio of the peak. inverse_sqrt: Vaswani et al. 2017 (arXiv:1706.03762, section 5.3),
    scaled to reach the peak; it always follows the updates.
    """
    warmup = config.warmup_steps
    ramp = min(1.0, (step + 1) / warmup)
    if config.schedule == "inverse_sqrt":
        return config.learning_rate * min(ramp, math.sqrt(warmup / (step + 1)))
    if elapsed_share is None:
        elapsed_share = (step + 1 - warmup) / (config.max_steps - warmup)
    share = min(1.0, max(0.0, elapsed_share))
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    return config.learning_rate * ramp * (config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` for the next update of every weight."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def scale_gradients(gradients: list[Tensor], num_tokens: float, clip_norm: float) -> float:
    """Turn summed gradients into the clipped mean per target token, in place.

    num_tokens  target tokens that the sums cover, over all accumulated batches and ranks
    clip_norm   largest allowed L2 norm of the mean over all weights together
    returns     the norm before clipping; when it is not finite, the gradients are left as they are
    """
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))).item() / num_tokens
    if math.isfinite(norm):
        factor = min(1.0, clip_norm / max(norm, 1e-12))
        torch._foreach_mul_(gradients, factor / num_tokens)
    return norm


class AveragedWeights:
    """An exponential moving average of a model's weights; Polyak & Juditsky 1992.

    values  one tensor per weight, in the order of trained(model)

    The decay starts low, min(decay, (1 + step) / (10 + step)), so that the random first weights
    are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._parameters = [parameter.data for parameter in trained(model).values()]
        self._decay = decay
        self.values = [parameter.clone() for parameter in self._parameters]

    def update(self, step: int) -> None:
        """Move towards the weights after update number `step` (0-based)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, self._parameters, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the model holds the averages; after it, its own weights again."""
        own = [parameter.clone() for parameter in self._parameters]
        torch._foreach_copy_(self._parameters, self.values)
        try:
            yield
        finally:
            torch._foreach_copy_(self._parameters, own)
