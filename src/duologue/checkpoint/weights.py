"""The weights of a model in four precisions, and the ways between them.

Weight                             a float32 array, or one of:
Bf16Weight, Int8Weight, Int4Weight   matrices that are kept in fewer bits
to_precision                       converts a whole model; dequantize gives one weight in float32
from_rows, rows_of_weight          make one weight of rows that come in pieces; take some
precision_of                       which precision each matrix has in a model of some precision

    f32    everything in float32
    bf16   matrices in bf16
    int8   matrices in int8, a scale for each output
    int4   matrices of the decoder and the output in int4, a scale for each group of GROUP inputs of
           an output; matrices of the encoder in int8

Vectors (norms, biases, the attention's score) and tables that are added (positions, relative
biases) are float32 always. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from duologue.types import PRECISIONS, Precision

Float32 = npt.NDArray[np.float32]

GROUP = 32  # inputs that share a scale in int4, as csrc/core.h says

# A group's largest magnitude is tried at these values of int4; beyond 7 or 8 it is clipped, and the
# smaller numbers come out finer.
_LARGEST_INT4 = (7.0, 7.5, 8.0, 8.5, 9.0)
_NUMBERS_AT_ONCE = 2**20  # so that little is held in float32
_GROUPS_AT_ONCE = 4096  # so that the trials stay in the cache
_LARGEST_BF16 = np.array([0x7F7F0000], np.uint32).view(np.float32)[0]


@dataclass(frozen=True, eq=False)
class Bf16Weight:
    """A matrix in bf16.

    bits  [out, in] uint16, the upper halves of float32 numbers
    """

    precision: ClassVar[Precision] = "bf16"
    bits: npt.NDArray[np.uint16]

    @property
    def shape(self) -> tuple[int, ...]:
        """[out, in]."""
        return self.bits.shape


@dataclass(frozen=True, eq=False)
class Int8Weight:
    """A matrix in int8: W[o, i] is about values[o, i] * scale[o].

    values  [out, in] int8, -127..127
    scale   [out] float32, the largest magnitude of the row / 127
    """

    precision: ClassVar[Precision] = "int8"
    values: npt.NDArray[np.int8]
    scale: Float32

    @property
    def shape(self) -> tuple[int, ...]:
        """[out, in]."""
        return self.values.shape


@dataclass(frozen=True, eq=False)
class Int4Weight:
    """A matrix in int4: W[o, i] is about (value of i) * scale[o, i // GROUP].

    nibbles     [out, ceil(in / 2)] uint8: the values -8..7 plus 8, the first of two inputs in the
                lower half; a half without an input holds 8
    scale       [out, ceil(in / GROUP)] float32
    num_inputs  in
    """

    precision: ClassVar[Precision] = "int4"
    nibbles: npt.NDArray[np.uint8]
    scale: Float32
    num_inputs: int

    @property
    def shape(self) -> tuple[int, ...]:
        """[out, in]."""
        return (len(self.nibbles), self.num_inputs)


Weight = Float32 | Bf16Weight | Int8Weight | Int4Weight
Weights = dict[str, Weight]


# --- whole models ------------------------------------------------------------------------------


def precision_of(name: str, precision: Precision) -> Precision:
    """How the matrix `name` is kept in a model of `precision`."""
    if name.endswith(("positions.weight", "relative.weight")):
        return "f32"
    is_decoded = name.startswith(("embed.", "output.", "decoder."))
    return "int8" if precision == "int4" and not is_decoded else precision


def to_precision(weights: Mapping[str, Weight], precision: Precision) -> Weights:
    """The weights as they are stored or computed with in `precision`, whatever they are now.

    What has its precision already is not copied; the rest goes through float32.
    """
    return {
        name: _convert(weight, precision_of(name, precision)) for name, weight in weights.items()
    }


def stored_precision(weights: Mapping[str, Weight]) -> Precision:
    """The precision of a whole model: the coarsest of its weights."""
    found = {_precision(weight) for weight in weights.values()}
    return max(found, key=PRECISIONS.index, default="f32")


def dequantize(weight: Weight) -> Float32:
    """The weight as float32; a float32 weight comes back as it is."""
    if isinstance(weight, Bf16Weight):
        return (weight.bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if isinstance(weight, Int8Weight):
        return weight.values * weight.scale[:, None]
    if isinstance(weight, Int4Weight):
        scale = np.repeat(weight.scale, GROUP, axis=1)[:, : weight.num_inputs]
        return _unpack(weight.nibbles)[:, : weight.num_inputs] * scale
    return weight


def _precision(weight: Weight) -> Precision:
    return "f32" if isinstance(weight, np.ndarray) else weight.precision


def _convert(weight: Weight, precision: Precision) -> Weight:
    if len(weight.shape) < 2 or _precision(weight) == precision:
        return weight
    at_once = max(1, _NUMBERS_AT_ONCE // weight.shape[1])
    starts = range(0, weight.shape[0], at_once)
    pieces = (rows_of_weight(weight, slice(start, start + at_once)) for start in starts)
    return from_rows(weight.shape, precision, map(dequantize, pieces))


def rows_of_weight(weight: Weight, rows: slice) -> Weight:
    """Some of its rows, in its precision; nothing is copied."""
    return _weight([part[rows] for part in _arrays(weight)], weight.shape, _precision(weight))


def from_rows(shape: tuple[int, ...], precision: Precision, rows: Iterable[Float32]) -> Weight:
    """A weight of `shape` in `precision`, whose rows come in pieces from the first to the last.

    No more than one piece is held in float32, unless that is the precision. Vectors are float32.
    """
    whole: list[npt.NDArray[Any]] = []
    begin = 0
    for piece in rows:
        is_kept = piece.ndim < 2 or precision == "f32"
        parts = _arrays(piece if is_kept else _ROUND[precision](piece))
        if not whole:
            whole = [np.empty((shape[0], *part.shape[1:]), part.dtype) for part in parts]
        for target, part in zip(whole, parts, strict=True):
            target[begin : begin + len(part)] = part
        begin += len(piece)
    return _weight(whole, shape, precision)


def _arrays(weight: Weight) -> tuple[npt.NDArray[Any], ...]:
    """The arrays of a weight, each with a row for each of its rows."""
    if isinstance(weight, Bf16Weight):
        return (weight.bits,)
    if isinstance(weight, Int8Weight):
        return weight.values, weight.scale
    if isinstance(weight, Int4Weight):
        return weight.nibbles, weight.scale
    return (weight,)


def _weight(arrays: list[npt.NDArray[Any]], shape: tuple[int, ...], precision: Precision) -> Weight:
    """The inverse of _arrays."""
    if len(shape) < 2 or precision == "f32":
        return arrays[0]
    if precision == "bf16":
        return Bf16Weight(arrays[0])
    if precision == "int8":
        return Int8Weight(arrays[0], arrays[1])
    return Int4Weight(arrays[0], arrays[1], shape[1])


# --- rounding one matrix -----------------------------------------------------------------------


def round_bf16(weight: Float32) -> Bf16Weight:
    """`weight` [out, in] float32 to the nearest bf16, halves to even; never to infinity."""
    bits = np.clip(weight, -_LARGEST_BF16, _LARGEST_BF16).view(np.uint32)
    is_odd = bits >> np.uint32(16) & np.uint32(1)
    return Bf16Weight(((bits + (np.uint32(0x7FFF) + is_odd)) >> np.uint32(16)).astype(np.uint16))


def quantize_int8(weight: Float32) -> Int8Weight:
    """The int8 weight closest to `weight` [out, in] float32, symmetric, one scale per output."""
    scale = np.abs(weight).max(axis=1) / np.float32(127)
    divisor = np.where(scale > 0, scale, np.float32(1))[:, None]
    values = np.clip(np.rint(weight / divisor), -127, 127).astype(np.int8)
    return Int8Weight(values, scale)


def quantize_int4(weight: Float32) -> Int4Weight:
    """`weight` [out, in] float32 in int4, symmetric, one scale per output and GROUP inputs.

    Each group takes, of a few scales, the one that gives the least squared error.
    """
    num_outputs, num_inputs = weight.shape
    num_groups = -(-num_inputs // GROUP)
    padded = np.zeros((num_outputs, num_groups * GROUP), np.float32)
    padded[:, :num_inputs] = weight
    groups = padded.reshape(-1, GROUP)
    scale = np.empty(len(groups), np.float32)
    for begin in range(0, len(groups), _GROUPS_AT_ONCE):
        part = slice(begin, begin + _GROUPS_AT_ONCE)
        groups[part], scale[part] = _round_groups(groups[part])
    nibbles = _pack(padded[:, : num_inputs + num_inputs % 2])
    return Int4Weight(nibbles, scale.reshape(num_outputs, num_groups), num_inputs)


def _round_groups(groups: Float32) -> tuple[Float32, Float32]:
    """Values -8..7 of each group [n, GROUP], and scales [n]; both float32.

    The best scale for values v of a group w is w·v / v·v; it explains (w·v)² / v·v of its squares.
    """
    largest: Float32 = np.abs(groups).max(axis=1)
    divisor: Float32 = np.where(largest > 0, largest, np.float32(1))[:, None]
    unit: Float32 = groups / divisor  # its squares stay finite
    values, scale, explained = np.zeros_like(unit), np.zeros_like(largest), np.zeros_like(largest)
    for value in _LARGEST_INT4:
        trial = np.clip(np.rint(unit * np.float32(value)), -8, 7)
        product = np.einsum("gi,gi->g", unit, trial)
        ratio = product / np.maximum(np.einsum("gi,gi->g", trial, trial), 1)
        is_better = product * ratio > explained
        np.copyto(values, trial, where=is_better[:, None])
        np.copyto(scale, ratio, where=is_better)
        np.copyto(explained, product * ratio, where=is_better)
    return values, scale * largest


def _pack(values: Float32) -> npt.NDArray[np.uint8]:
    """Values [out, even] -8..7, two in each byte."""
    halves = (values + 8).astype(np.uint8)
    return halves[:, ::2] | halves[:, 1::2] << np.uint8(4)


def _unpack(nibbles: npt.NDArray[np.uint8]) -> Float32:
    """The inverse of _pack."""
    values = np.empty((len(nibbles), 2 * nibbles.shape[1]), np.float32)
    values[:, ::2] = nibbles & np.uint8(15)
    values[:, 1::2] = nibbles >> np.uint8(4)
    return values - 8


_ROUND: dict[Precision, Callable[[Float32], Weight]] = {
    "bf16": round_bf16,
    "int8": quantize_int8,
    "int4": quantize_int4,
}
