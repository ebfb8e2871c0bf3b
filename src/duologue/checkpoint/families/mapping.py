"""How weights of ours are made of tensors of a published checkpoint, and the way back.

A NameMap says for each of our weights which tensors hold its rows, and what was done to them; it is
all that is known of a family's tensors. Reading and writing follow it in opposite directions.

Block             some rows of one of our weights: one tensor, or what stands for one that is absent
NameMap           our weight -> its blocks, from the first row to the last
plain, fused      maps of the two usual kinds
Tables            where a checkpoint may keep its embeddings
rows_of           the rows of one of our weights, in pieces
tensors_from      our weights as the tensors of the published checkpoint

Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from duologue.checkpoint.weights import Float32, Weight, dequantize

Layout = Literal["same", "row", "conv"]
Fill = Literal["zeros", "sinusoids", "spaced_sinusoids"]

CONV_WIDTH = 3
_NUMBERS_AT_ONCE = 2**20


@dataclass(frozen=True)
class Block:
    """Some rows of one of our weights: ours = theirs * factor + add.

    names   spellings of the tensor. The first is written, the first that is there is read; none if
            the original has no such tensor
    rows    how many rows of ours these are; None is all that are left
    skip    how many rows of theirs come before: rows that no token ever uses
    layout  same  as ours
            row   theirs is [1, size], ours [size]
            conv  theirs is [out, in, width], ours [out, width * in] with the in side by side
    fill    what an absent tensor is: zeros; sinusoids, the sines in the first half of the columns
            and the cosines in the second, with wavelengths from 2 pi to 10000 * 2 pi, the longest
            left out (Vaswani et al. 2017, arXiv:1706.03762, section 3.5) or, spaced, reached in
            the last column of each half. None: it must be there
    """

    names: tuple[str, ...]
    rows: int | None = None
    skip: int = 0
    layout: Layout = "same"
    factor: float = 1.0
    add: float = 0.0
    fill: Fill | None = None


NameMap = dict[str, tuple[Block, ...]]


def plain(*names: str, **how: Any) -> tuple[Block, ...]:
    """A weight that is one tensor; `how` are further fields of Block."""
    return (Block(names, **how),)


def fused(starts: tuple[str, ...], *parts: tuple[str, int]) -> tuple[Block, ...]:
    """A weight whose rows are those of several tensors.

    starts  what every name begins with, in each spelling
    parts   (rest of the name, number of rows)
    """
    return tuple(Block(tuple(start + name for start in starts), rows) for name, rows in parts)


@dataclass(frozen=True)
class Tables:
    """Where the embeddings of a checkpoint may lie: for each use the names that are tried in turn.

    encoder is empty if the encoder has no embedding. What two uses find under one name, or with
    the same numbers, is one table.

    shared  names under which a table that both sides have in common is written
    """

    encoder: tuple[str, ...]
    decoder: tuple[str, ...]
    output: tuple[str, ...]
    shared: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """Every name."""
        return frozenset((*self.encoder, *self.decoder, *self.output))


class Stored(Protocol):
    """A tensor as it lies in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored."""

    def read(self, rows: slice) -> Float32:
        """Some of its rows."""


# --- reading -----------------------------------------------------------------------------------


def stored_shape(block: Block, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that the tensor of `block` must have, in a weight of ours of `shape`."""
    rows = shape[0] if block.rows is None else block.rows
    if block.layout == "row":
        return (1, rows)
    if block.layout == "conv":
        return (rows, shape[1] // CONV_WIDTH, CONV_WIDTH)
    return (rows + block.skip, *shape[1:])


def find(block: Block, names: Mapping[str, Any]) -> str | None:
    """The name under which the tensor of `block` is there, if it is."""
    return next((name for name in block.names if name in names), None)


def rows_of(
    blocks: tuple[Block, ...], tensors: Mapping[str, Stored], shape: tuple[int, ...]
) -> Iterator[Float32]:
    """The rows of a weight of ours of `shape`, float32, in pieces of bounded size.

    Every tensor must be there that has no `fill`, in its stored_shape.
    """
    at_once = max(1, _NUMBERS_AT_ONCE // int(np.prod(shape[1:], dtype=np.int64)))
    for block in blocks:
        name = find(block, tensors)
        num_rows = shape[0] if block.rows is None else block.rows
        for begin in range(0, num_rows, at_once):
            rows = slice(begin, min(begin + at_once, num_rows))
            if name is None:
                yield _filled(block, rows, shape)
            else:
                yield _ours(tensors[name], block, rows)


def _ours(tensor: Stored, block: Block, rows: slice) -> Float32:
    if block.layout == "row":
        theirs = tensor.read(slice(0, 1))[0, rows]
    else:
        theirs = tensor.read(slice(rows.start + block.skip, rows.stop + block.skip))
    if block.layout == "conv":
        theirs = theirs.transpose(0, 2, 1).reshape(len(theirs), -1)
    if block.factor != 1:
        theirs = theirs * np.float32(block.factor)
    return theirs + np.float32(block.add) if block.add else theirs


def _filled(block: Block, rows: slice, shape: tuple[int, ...]) -> Float32:
    if block.fill == "zeros":
        return np.zeros((rows.stop - rows.start, *shape[1:]), np.float32)
    positions = np.arange(rows.start + block.skip, rows.stop + block.skip)
    return sinusoids(positions, shape[1], is_spaced=block.fill == "spaced_sinusoids")


def sinusoids(positions: npt.NDArray[np.int64], width: int, is_spaced: bool) -> Float32:
    """Rows of a position table, [len(positions), width] float32; see Block.fill."""
    half = width // 2
    if is_spaced:  # in float32, as it was when the models were trained
        step = np.float32(-np.log(10000.0) / max(half - 1, 1))
        frequencies = np.exp(np.arange(half, dtype=np.float32) * step)
        angles = positions[:, None].astype(np.float32) * frequencies
    else:
        angles = positions[:, None] / np.power(10000.0, np.arange(half) / half)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


# --- writing -----------------------------------------------------------------------------------


def tensors_from(names: NameMap, weights: Mapping[str, Weight]) -> dict[str, Float32]:
    """The tensors that rows_of would make `weights` of, under their first names.

    Rows of theirs that no token uses are zero. What the original does not have is left out: the
    biases of keys, which change no softmax, and tables that are computed.
    """
    tensors: dict[str, Float32] = {}
    for name, blocks in names.items():
        ours = dequantize(weights[name])
        begin = 0
        for block in blocks:
            rows = len(ours) if block.rows is None else block.rows
            if block.names:
                tensors[block.names[0]] = _theirs(ours[begin : begin + rows], block)
            begin += rows
    return tensors


def _theirs(ours: Float32, block: Block) -> Float32:
    theirs = (ours - np.float32(block.add)) / np.float32(block.factor)
    if block.layout == "row":
        return theirs[None]
    if block.layout == "conv":
        theirs = theirs.reshape(len(theirs), CONV_WIDTH, -1).transpose(0, 2, 1)
    padding = ((block.skip, 0), *((0, 0) for _ in theirs.shape[1:]))
    return np.ascontiguousarray(np.pad(theirs, padding))
