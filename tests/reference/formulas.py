"""The formulas of csrc/core.h, written as one would on paper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def exact(array: Array) -> Array:
    return np.asarray(array, dtype=np.float64)


def round_to_bf16(array: Array) -> Array:
    """The nearest float32 whose lower 16 bits are zero, ties to even."""
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-exact(x)))


def softmax(x: Array) -> Array:
    e = np.exp(exact(x) - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    x = exact(x)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * weight


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    x = exact(x) - exact(x).mean(axis=-1, keepdims=True)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * weight + bias


def activate(x: Array, activation: str, gated: bool) -> Array:
    gate, up = np.split(exact(x), 2, axis=-1) if gated else (exact(x), np.ones(1))
    inside = np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)
    factor = {
        "silu": sigmoid(gate),
        "relu": gate > 0,
        "gelu": 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(gate / np.sqrt(2))),
        "gelu_tanh": 0.5 * (1 + np.tanh(inside)),
    }
    return gate * factor[activation] * up


def quantize(x: Array) -> tuple[Array, Array]:
    """Bytes and scale of each row, in the float32 steps that decide how halves are rounded."""
    largest = np.abs(x).max(axis=-1)
    with np.errstate(divide="ignore"):
        inverse = np.where(largest > 0, np.float32(127) / largest, np.float32(0))
    return np.rint(x * inverse[:, None]).astype(np.int8), largest / np.float32(127)


def angles(positions: Array, head_dim: int, theta: float) -> tuple[Array, Array]:
    """Cosines and sines [S, K/2]."""
    frequency = theta ** (-2 * np.arange(head_dim // 2) / head_dim)
    angle = exact(positions)[:, None] * frequency
    return np.cos(angle), np.sin(angle)


def rotate(heads: Array, cosine: Array, sine: Array) -> Array:
    """heads [S, H, K] turned by the angles [S, K/2] of their positions."""
    first, second = np.split(exact(heads), 2, axis=-1)
    cosine, sine = cosine[:, None], sine[:, None]
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return np.concatenate(turned, axis=-1)


def attend(
    q: Array,
    k: Array,
    v: Array,
    mask: Array,
    *,
    scale: float | None = None,
    soft_cap: float = 0.0,
    bias: Array | float = 0.0,
) -> tuple[Array, Array]:
    """q [Q, H, K], k and v [S, G, K], mask [Q, S] -> mixed [Q, H, K] and weights [H, Q, S].

    H / G neighbouring heads share a head of k and v; bias [H, Q, S]. Where a query sees nothing,
    both are zero.
    """
    if k.shape[0] == 0:
        return np.zeros(q.shape), np.zeros((q.shape[1], q.shape[0], 0))
    k, v = (np.repeat(part, q.shape[1] // k.shape[1], axis=1) for part in (k, v))
    scores = np.einsum("qhk,shk->hqs", exact(q), exact(k)) * (scale or q.shape[-1] ** -0.5)
    if soft_cap:
        scores = soft_cap * np.tanh(scores / soft_cap)
    weights = softmax(np.where(mask, scores + bias, -np.inf))
    return np.einsum("hqs,shk->qhk", weights, exact(v)), weights


def attend_additive(q: Array, keys: Array, values: Array, score: Array) -> tuple[Array, Array]:
    """q [D], keys and values [S, D], score [D] -> context [D] and weights [S]."""
    if len(keys) == 0:
        return np.zeros(q.shape), np.zeros(0)
    weights = softmax(np.tanh(exact(q) + exact(keys)) @ exact(score))
    return weights @ exact(values), weights


def gru_cell(gates: Array, biases: Array, h: Array) -> Array:
    """gates and biases [2, 3D]: of the input, of the state; h [D] -> the next state."""
    (reset_x, update_x, new_x), (reset_h, update_h, new_h) = (
        np.split(exact(row), 3) for row in exact(gates) + biases
    )
    reset, update = sigmoid(reset_x + reset_h), sigmoid(update_x + update_h)
    return (1 - update) * np.tanh(new_x + reset * new_h) + update * h
