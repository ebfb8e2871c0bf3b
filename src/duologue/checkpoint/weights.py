"""The weights of a model: their names and shapes, their precision, their fingerprint.

weight_spec        name -> shape of every weight a configuration has
QuantizedWeight    an int8 weight; quantize_weights and dequantize_weights convert whole models
check_weights      raises one error that lists all that does not fit
fingerprint        names the function that a model computes; saved memories carry it

Knows nothing of files.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from duologue.config import ModelConfig, to_dict
from duologue.errors import CheckpointError

Precision = Literal["f32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("f32", "int8")

SCALE = ".scale"  # the f32 scales of int8 weight `X` are named `X.scale`
_MAX_LISTED = 8


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """A linear weight or embedding in int8: W[o, i] is about values[o, i] * scale[o].

    values  [out, in] int8, -127..127
    scale   [out] float32, the largest magnitude of the row / 127
    """

    values: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]


Weight = npt.NDArray[np.float32] | QuantizedWeight
Weights = dict[str, Weight]


def weight_spec(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight; linear weights are [out, in] and have no bias."""
    width = config.d_model
    layers = transformer_spec(config) if config.cell == "transformer" else gru_spec(config)
    return {
        "embed.weight": (config.vocab_size, width),
        **layers,
        "encoder.norm.weight": (width,),
        "decoder.norm.weight": (width,),
    }


def transformer_spec(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The layers of cell `transformer`: fused q, k, v rows; fused gate and up rows."""
    width, hidden = config.d_model, config.d_ff
    feed_forward = {
        "ff_norm.weight": (width,),
        "ff.gate_up.weight": (2 * hidden, width),
        "ff.down.weight": (width, hidden),
    }
    encoder = {
        "attn_norm.weight": (width,),
        "attn.qkv.weight": (3 * width, width),
        "attn.out.weight": (width, width),
        **feed_forward,
    }
    decoder = {
        "self_norm.weight": (width,),
        "self_attn.qkv.weight": (3 * width, width),
        "self_attn.out.weight": (width, width),
        "cross_norm.weight": (width,),
        "cross_attn.q.weight": (width, width),
        "cross_attn.kv.weight": (2 * width, width),
        "cross_attn.out.weight": (width, width),
        **feed_forward,
    }
    spec: dict[str, tuple[int, ...]] = {}
    for index in range(config.num_encoder_layers):
        spec |= {f"encoder.layers.{index}.{name}": shape for name, shape in encoder.items()}
    for index in range(config.num_decoder_layers):
        spec |= {f"decoder.layers.{index}.{name}": shape for name, shape in decoder.items()}
    return spec


def gru_spec(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The layers of cell `gru`; the first decoder layer also reads the attention's context."""
    width = config.d_model
    spec: dict[str, tuple[int, ...]] = {}
    sides = (("encoder", config.num_encoder_layers), ("decoder", config.num_decoder_layers))
    for side, num_layers in sides:
        for index in range(num_layers):
            inputs = 2 * width if side == "decoder" and index == 0 else width
            spec |= {
                f"{side}.layers.{index}.gru.weight_ih": (3 * width, inputs),
                f"{side}.layers.{index}.gru.weight_hh": (3 * width, width),
                f"{side}.layers.{index}.gru.bias_ih": (3 * width,),
                f"{side}.layers.{index}.gru.bias_hh": (3 * width,),
            }
    return spec | {
        "decoder.attn.query.weight": (width, width),
        "decoder.attn.key.weight": (width, width),
        "decoder.attn.score.weight": (width,),
    }


# --- precision ---------------------------------------------------------------------------------


def quantize(weight: npt.NDArray[np.float32]) -> QuantizedWeight:
    """The int8 weight closest to `weight` [out, in], symmetric, one scale per output row."""
    scale = np.abs(weight).max(axis=1) / np.float32(127)
    divisor = np.where(scale > 0, scale, np.float32(1))[:, None]
    values = np.clip(np.rint(weight / divisor), -127, 127).astype(np.int8)
    return QuantizedWeight(values, scale)


def dequantize(weight: Weight) -> npt.NDArray[np.float32]:
    """The weight as float32; a float32 weight comes back as it is."""
    if isinstance(weight, QuantizedWeight):
        return weight.values * weight.scale[:, None]
    return weight


def quantize_weights(weights: Weights) -> Weights:
    """Matrices in int8; norms, biases and the attention score vector stay float32."""
    return {
        name: quantize(weight) if isinstance(weight, np.ndarray) and weight.ndim == 2 else weight
        for name, weight in weights.items()
    }


def dequantize_weights(weights: Weights) -> Weights:
    """Every weight in float32."""
    return {name: dequantize(weight) for name, weight in weights.items()}


def to_precision(weights: Weights, precision: Precision) -> Weights:
    """The weights as they are stored or computed with in `precision`."""
    return quantize_weights(weights) if precision == "int8" else dequantize_weights(weights)


def fingerprint(config: ModelConfig, weights: Weights) -> str:
    """SHA-256 (hex) of what decides the values of an encoded memory: sizes, masks, weights.

    Languages, tasks, label sets and licence may change without making saved memories useless.
    The same model has another fingerprint in another precision, because its values differ.
    """
    values = to_dict(config)
    for name in ("languages", "reply_languages", "tasks", "label_sets", "license"):
        del values[name]
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, array in sorted(tensors_of(weights).items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def tensors_of(weights: Weights) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a safetensors file: `X`, and `X.scale` where X is int8."""
    tensors: dict[str, npt.NDArray[Any]] = {}
    for name, weight in weights.items():
        if isinstance(weight, QuantizedWeight):
            tensors[name] = np.ascontiguousarray(weight.values)
            tensors[name + SCALE] = np.ascontiguousarray(weight.scale)
        else:
            tensors[name] = np.ascontiguousarray(weight)
    return tensors


def check_weights(weights: Weights, config: ModelConfig, where: str) -> None:
    """Raise one CheckpointError that lists every missing, surplus, misshapen or bad weight."""
    if config.num_encoder_layers + config.num_decoder_layers > len(weights):
        raise CheckpointError(f"{where}: config.json has more layers than there are weights")
    spec = weight_spec(config)
    present = spec.keys() & weights.keys()
    shapes = {name: _shape(weights[name]) for name in present}
    misshapen = [
        f"{name} {list(shapes[name])} instead of {list(spec[name])}"
        for name in sorted(present)
        if shapes[name] != spec[name]
    ]
    faults = {
        "missing": sorted(spec.keys() - weights.keys()),
        "surplus": sorted(weights.keys() - spec.keys()),
        "misshapen": misshapen,
        "not float32": [name for name in sorted(present) if not _is_typed(weights[name])],
        "not finite": [name for name in sorted(present) if not _is_finite(weights[name])],
    }
    problems = [f"{kind}: {listed(names)}" for kind, names in faults.items() if names]
    if problems:
        raise CheckpointError(f"{where}: the weights do not fit config.json: {'; '.join(problems)}")


def _shape(weight: Weight) -> tuple[int, ...]:
    return weight.values.shape if isinstance(weight, QuantizedWeight) else weight.shape


def _is_typed(weight: Weight) -> bool:
    if isinstance(weight, QuantizedWeight):
        return weight.values.ndim == 2
    return weight.dtype == np.float32


def _is_finite(weight: Weight) -> bool:
    array = weight.scale if isinstance(weight, QuantizedWeight) else weight
    with np.errstate(invalid="ignore", over="ignore"):  # the sum needs no copy, isfinite would
        return bool(np.isfinite(array.sum(dtype=np.float64)))


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are: a message stays one line."""
    more = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
