"""What comes before the encoder and after the decoder: embeddings, frames of sound, logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.config import ModelConfig
from duologue.model.values import OutputLayer


class Embedding(nn.Module):
    """A vector for each id; also the output's matrix if tied (Press & Wolf 2017, arXiv:1608.05859).

    The default scale, sqrt(D), gives entries a variance of about 1.
    """

    def __init__(self, vocab_size: int, config: ModelConfig) -> None:
        super().__init__()
        d_model = config.d_model
        self.scale = d_model**0.5 if config.embed_scale is None else config.embed_scale
        self.weight = nn.Parameter(torch.randn(vocab_size, d_model) * d_model**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """ids [...] -> [..., D], scaled."""
        embedded = functional.embedding(ids, self.weight)
        return embedded if self.scale == 1.0 else embedded * self.scale


class Convolution(nn.Module):
    """A convolution of width 3 over time, one zero at each end, then gelu.

    weight  [out, 3 * in], column = tap * in + channel
    """

    def __init__(self, num_inputs: int, num_outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(num_outputs, 3 * num_inputs))
        self.bias = nn.Parameter(torch.empty(num_outputs))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, S, in] -> [B, ceil(S / stride), out]."""
        length = x.shape[1]
        padded = functional.pad(x, (0, 0, 1, 1))
        taps = [padded[:, tap : tap + length : self.stride] for tap in range(3)]
        joined = torch.cat(taps, dim=-1)
        return functional.gelu(functional.linear(joined, self.weight, self.bias))


class Output(nn.Module):
    """The weights of the output that are its own: a matrix unless it is tied, a bias if any."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        std = config.d_model**-0.5
        weight = None if config.tied_output else torch.randn(config.vocab_size, config.d_model)
        bias = torch.zeros(config.vocab_size) if config.output_bias else None
        self.weight = None if weight is None else nn.Parameter(weight * std)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.soft_cap = config.logit_soft_cap

    def layer(self, embedding: Tensor) -> OutputLayer:
        """The whole layer; embedding [V, D] is used if the output is tied to it."""
        weight = embedding if self.weight is None else self.weight
        return OutputLayer(weight, self.bias, self.soft_cap)
