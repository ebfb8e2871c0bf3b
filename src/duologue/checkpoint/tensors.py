"""The arrays that a weight file holds: what they must be, and the weights that they make.

    precision   arrays of matrix `X` [out, in]
    f32         X        float32 [out, in]
    bf16        X.bf16   uint16  [out, in]               upper halves of float32
    int8        X        int8    [out, in]               X.scale  float32 [out]
    int4        X        uint8   [out, ceil(in / 2)]     X.scale  float32 [out, ceil(in / GROUP)]

A vector `X` is float32 [size].

tensors_of, weights_of   weights to arrays and back
check_tensors            raises one error that lists all that does not fit; check_weights likewise
fingerprint              names the function that a model computes; saved memories carry it

Knows nothing of files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from duologue.checkpoint.spec import weight_spec
from duologue.checkpoint.weights import (
    GROUP,
    Bf16Weight,
    Int4Weight,
    Int8Weight,
    Weight,
    Weights,
)
from duologue.config import LEARNT, ModelConfig, to_dict
from duologue.errors import CheckpointError

Tensors = dict[str, npt.NDArray[Any]]

BF16 = ".bf16"
SCALE = ".scale"
_MAX_LISTED = 8
_NO_FUNCTION = (*LEARNT, "license", "generation")


def tensors_of(weights: Mapping[str, Weight]) -> Tensors:
    """The arrays of a weight file."""
    tensors: Tensors = {}
    for name, weight in weights.items():
        if isinstance(weight, Bf16Weight):
            tensors[name + BF16] = weight.bits
        elif isinstance(weight, Int8Weight):
            tensors |= {name: weight.values, name + SCALE: weight.scale}
        elif isinstance(weight, Int4Weight):
            tensors |= {name: weight.nibbles, name + SCALE: weight.scale}
        else:
            tensors[name] = weight
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def weights_of(tensors: Tensors, config: ModelConfig) -> Weights:
    """The inverse of tensors_of, for what check_tensors let pass; nothing is copied."""
    weights: Weights = {}
    for name, shape in weight_spec(config).items():
        if name not in tensors:
            weights[name] = Bf16Weight(tensors[name + BF16])
        elif tensors[name].dtype == np.int8:
            weights[name] = Int8Weight(tensors[name], tensors[name + SCALE])
        elif tensors[name].dtype == np.uint8:
            weights[name] = Int4Weight(tensors[name], tensors[name + SCALE], shape[1])
        else:
            weights[name] = tensors[name]
    return weights


def fingerprint(config: ModelConfig, weights: Mapping[str, Weight]) -> str:
    """SHA-256 (hex) of what decides the values of an encoded memory: sizes, masks, weights.

    What a model was trained for and how it is decoded may change without making saved memories
    useless. The same model has another fingerprint in another precision, because its values differ.
    Weights are asked for one at a time.
    """
    values = to_dict(config)
    for name in _NO_FUNCTION:
        del values[name]
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for weight in sorted(weights):
        for name, array in sorted(tensors_of({weight: weights[weight]}).items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array.data)
    return digest.hexdigest()


# --- checks ------------------------------------------------------------------------------------


def check_weights(weights: Mapping[str, Weight], config: ModelConfig, where: str) -> None:
    """Raise what check_tensors raises for the arrays of `weights`, in any precision."""
    check_tensors(tensors_of(weights), config, where)
    spec = weight_spec(config)
    misshapen = [  # int4 of one input more or less has the same arrays
        _instead(name, weight.shape, spec[name])
        for name, weight in sorted(weights.items())
        if isinstance(weight, Int4Weight) and weight.shape != spec[name]
    ]
    raise_faults({"misshapen": misshapen}, where)


def check_tensors(
    tensors: Tensors, config: ModelConfig, where: str, looked_at: Callable[[], None] = lambda: None
) -> None:
    """Raise one CheckpointError that lists every missing, surplus, misshapen or bad array.

    looked_at  is called after the numbers of one array were
    """
    if config.num_encoder_layers + config.num_decoder_layers > len(tensors):
        raise CheckpointError(f"{where}: config.json has more layers than there are weights")
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}
    spec = weight_spec(config)
    for name, shape in spec.items():
        expected |= _expected(name, shape, tensors)
    present = {name: tensors[name] for name in sorted(expected.keys() & tensors.keys())}
    faults = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "surplus": sorted(tensors.keys() - expected.keys()),
        "misshapen": [
            _instead(name, tensor.shape, expected[name][1])
            for name, tensor in present.items()
            if tensor.shape != expected[name][1]
        ],
        "wrong type": [
            f"{name} {tensor.dtype} instead of {expected[name][0]}"
            for name, tensor in present.items()
            if tensor.dtype != expected[name][0]
        ],
        "not finite": _not_finite(present, looked_at),
        "negative": [name for name, tensor in present.items() if _is_negative(name, tensor)],
        "one input too many": [
            name for name, shape in spec.items() if _has_rest(tensors.get(name), shape)
        ],
    }
    raise_faults(faults, where)


def _expected(
    name: str, shape: tuple[int, ...], tensors: Tensors
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Array -> type and shape, for a weight in the precision that it seems to be stored in."""
    if len(shape) == 2:
        if name not in tensors and name + BF16 in tensors:
            return {name + BF16: ("uint16", shape)}
        dtype = tensors[name].dtype if name in tensors else None
        if dtype == np.int8:
            return {name: ("int8", shape), name + SCALE: ("float32", shape[:1])}
        if dtype == np.uint8:
            halves, groups = -(-shape[1] // 2), -(-shape[1] // GROUP)
            return {
                name: ("uint8", (shape[0], halves)),
                name + SCALE: ("float32", (shape[0], groups)),
            }
    return {name: ("float32", shape)}


def _instead(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    return f"{name} {list(shape)} instead of {list(expected)}"


def _not_finite(tensors: Tensors, looked_at: Callable[[], None]) -> list[str]:
    found = []
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            found.append(name)
        looked_at()
    return found


def _is_finite(tensor: npt.NDArray[Any]) -> bool:
    if tensor.dtype == np.uint16:  # bf16: infinities and what is no number have all of these bits
        exponent = np.uint16(0x7F80)
        return not bool(((tensor & exponent) == exponent).any())
    if tensor.dtype.kind != "f":
        return True
    with np.errstate(invalid="ignore", over="ignore"):  # the sum needs no copy, isfinite would
        return bool(np.isfinite(tensor.sum(dtype=np.float64)))


def _is_negative(name: str, tensor: npt.NDArray[Any]) -> bool:
    return name.endswith(SCALE) and bool((tensor < 0).any())


def _has_rest(tensor: npt.NDArray[Any] | None, shape: tuple[int, ...]) -> bool:
    """Whether an int4 matrix holds numbers for one input more than it has."""
    if tensor is None or tensor.dtype != np.uint8 or len(shape) != 2 or shape[1] % 2 == 0:
        return False
    is_fitting = tensor.shape == (shape[0], -(-shape[1] // 2))
    return is_fitting and bool((tensor[:, -1] >> np.uint8(4) != 8).any())


def raise_faults(faults: dict[str, list[str]], where: str) -> None:
    """Raise one CheckpointError that lists all faults, if there are any: kind -> what has it."""
    text = faults_text(faults, where)
    if text:
        raise CheckpointError(text)


def faults_text(faults: dict[str, list[str]], where: str) -> str:
    """What raise_faults says; empty if nothing is wrong."""
    problems = [f"{kind}: {listed(names)}" for kind, names in faults.items() if names]
    if not problems:
        return ""
    return f"{where}: the weights do not fit config.json: {'; '.join(problems)}"


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are: a message stays one line."""
    more = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
