"""Weights in fewer bits: how far they may be from the original, and what becomes of a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from reference import formulas

from duologue.checkpoint.store import Bf16Weight, Int4Weight, Int8Weight, Weights
from duologue.checkpoint.tensors import tensors_of, weights_of
from duologue.checkpoint.weights import (
    GROUP,
    dequantize,
    quantize_int4,
    quantize_int8,
    round_bf16,
    stored_precision,
    to_precision,
)
from duologue.config import ModelConfig, replace
from duologue.types import PRECISIONS, Precision

Configs = Callable[..., ModelConfig]
MakeWeights = Callable[[ModelConfig], Weights]
Folders = Callable[..., Path]
every_cell = pytest.mark.parametrize("cell", ["transformer", "gru"])


def matrices(most_inputs: int) -> st.SearchStrategy[np.ndarray]:
    return arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, most_inputs)),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    )


def normal(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def groups_of(weight: np.ndarray) -> np.ndarray:
    """[out, groups, GROUP] float64, filled up with zeros."""
    rest = -weight.shape[1] % GROUP
    padded = np.pad(weight.astype(np.float64), ((0, 0), (0, rest)))
    return padded.reshape(len(weight), -1, GROUP)


def same_arrays(one: Weights, other: Weights) -> bool:
    first, second = tensors_of(one), tensors_of(other)
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and np.array_equal(first[name], second[name])
        for name in first
    )


# --- rounding one matrix -----------------------------------------------------------------------


@given(matrices(6))
def test_int8_weight_is_within_half_a_step_of_each_number(weight: np.ndarray) -> None:
    quantized = quantize_int8(weight)
    assert quantized.values.dtype == np.int8
    assert np.abs(quantized.values.astype(int)).max() <= 127
    error = np.abs(dequantize(quantized).astype(np.float64) - weight)
    assert (error <= quantized.scale[:, None].astype(np.float64) * 0.5001 + 1e-37).all()


def test_int8_rows_equal_a_plain_loop() -> None:
    weight = normal((48, 16))
    quantized = quantize_int8(weight)
    for row, values, scale in zip(weight, quantized.values, quantized.scale, strict=True):
        largest = max(abs(float(number)) for number in row)
        assert scale == pytest.approx(largest / 127, rel=1e-6)
        assert [round(float(number) / float(scale)) for number in row] == values.tolist()


@given(
    arrays.arrays(
        np.uint32,
        st.integers(1, 20),
        elements=st.integers(0, 2**32 - 1).filter(lambda bits: bits & 0x7FFFFFFF < 0x7F7F8000),
    )
)
def test_bf16_is_the_nearest_number_and_halves_go_to_even(bits: np.ndarray) -> None:
    weight = bits.view(np.float32)[None]
    rounded = round_bf16(weight)
    assert rounded.bits.dtype == np.uint16
    assert np.array_equal(dequantize(rounded), formulas.round_to_bf16(weight))
    tie = np.array([[0x3F808000, 0x3F818000, 0xBF808001]], np.uint32).view(np.float32)
    assert round_bf16(tie).bits.tolist() == [[0x3F80, 0x3F82, 0xBF81]]


def test_bf16_of_the_largest_numbers_stays_finite() -> None:
    largest = np.finfo(np.float32).max
    weight = np.array([[largest, -largest]], np.float32)
    assert round_bf16(weight).bits.tolist() == [[0x7F7F, 0xFF7F]]


@given(matrices(70))
def test_int4_is_never_worse_than_plain_rounding(weight: np.ndarray) -> None:
    quantized = quantize_int4(weight)
    assert quantized.shape == weight.shape
    assert quantized.nibbles.dtype == np.uint8
    assert (quantized.scale >= 0).all()
    groups = groups_of(weight)
    step = np.abs(groups).max(axis=2, keepdims=True) / 7
    plain = np.rint(np.divide(groups, step, out=np.zeros_like(groups), where=step > 0)) * step
    error = ((groups_of(dequantize(quantized)) - groups) ** 2).sum(axis=2)
    slack = (step[..., 0] * 1e-5) ** 2 + 1e-70
    assert (error <= ((plain - groups) ** 2).sum(axis=2) * 1.001 + slack).all()


def test_int4_of_normal_numbers_is_clearly_better_than_plain_rounding() -> None:
    weight = normal((64, 256))
    step = np.abs(groups_of(weight)).max(axis=2, keepdims=True) / 7
    plain = np.rint(groups_of(weight) / step) * step - groups_of(weight)
    error = dequantize(quantize_int4(weight)) - weight
    assert (error**2).mean() < 0.85 * (plain**2).mean()


@pytest.mark.parametrize("num_inputs", [1, 2, 31, 32, 33, 64, 95])
def test_int4_layout_read_by_a_plain_loop_is_what_dequantize_gives(num_inputs: int) -> None:
    quantized = quantize_int4(normal((3, num_inputs), num_inputs))
    assert quantized.nibbles.shape == (3, -(-num_inputs // 2))
    assert quantized.scale.shape == (3, -(-num_inputs // GROUP))
    expected = np.empty((3, num_inputs), np.float32)
    for o, i in np.ndindex(3, num_inputs):
        nibble = int(quantized.nibbles[o, i // 2]) >> 4 * (i % 2) & 15
        expected[o, i] = (nibble - 8) * quantized.scale[o, i // GROUP]
    np.testing.assert_array_equal(dequantize(quantized), expected)
    if num_inputs % 2:
        assert (quantized.nibbles[:, -1] >> 4 == 8).all()


@given(st.integers(1, 3), st.integers(1, 70), st.integers(0, 2**16))
def test_int4_of_what_came_from_int4_loses_nothing(outputs: int, inputs: int, seed: int) -> None:
    once = dequantize(quantize_int4(normal((outputs, inputs), seed)))
    np.testing.assert_allclose(dequantize(quantize_int4(once)), once, rtol=1e-6)


def test_groups_of_zeros_stay_zero_in_int4() -> None:
    weight = normal((2, 96))
    weight[:, 32:64] = 0
    quantized = quantize_int4(weight)
    assert (quantized.scale[:, 1] == 0).all()
    assert (dequantize(quantized)[:, 32:64] == 0).all()


# --- whole models ------------------------------------------------------------------------------

DECODED = {
    "transformer": "decoder.layers.1.cross_attn.kv.weight",
    "gru": "decoder.attn.query.weight",
}
ENCODED = {
    "transformer": "encoder.layers.0.attn.qkv.weight",
    "gru": "encoder.layers.0.gru.weight_hh",
}


@every_cell
@pytest.mark.parametrize(
    ("precision", "decoded", "encoded"),
    [
        ("f32", np.ndarray, np.ndarray),
        ("bf16", Bf16Weight, Bf16Weight),
        ("int8", Int8Weight, Int8Weight),
        ("int4", Int4Weight, Int8Weight),
    ],
)
def test_each_precision_rounds_its_matrices_and_no_vectors(
    precision: Precision,
    decoded: type,
    encoded: type,
    cell: str,
    tiny_config: Configs,
    tiny_weights: MakeWeights,
) -> None:
    original = tiny_weights(tiny_config(cell))
    weights = to_precision(original, precision)
    assert type(weights["embed.weight"]) is type(weights[DECODED[cell]]) is decoded
    assert type(weights[ENCODED[cell]]) is encoded
    for name, weight in original.items():
        assert weights[name].shape == weight.shape
        if len(weight.shape) == 1:
            assert weights[name] is weight
    assert stored_precision(weights) == precision
    assert same_arrays(to_precision(weights, precision), weights)


@pytest.mark.parametrize(("precision", "most"), [("bf16", 0.003), ("int8", 0.01), ("int4", 0.11)])
def test_the_error_of_each_precision_is_bounded(
    precision: Precision, most: float, tiny_config: Configs, tiny_weights: MakeWeights
) -> None:
    original = tiny_weights(replace(tiny_config(), d_model=64, d_ff=51))
    for name, weight in to_precision(original, precision).items():
        exact = dequantize(original[name])
        error = np.linalg.norm(dequantize(weight) - exact) / np.linalg.norm(exact)
        assert error <= most


@every_cell
@pytest.mark.parametrize("precision", PRECISIONS)
def test_arrays_of_a_file_become_the_same_weights(
    precision: Precision, cell: str, tiny_config: Configs, tiny_weights: MakeWeights
) -> None:
    config = tiny_config(cell)
    weights = to_precision(tiny_weights(config), precision)
    again = weights_of(tensors_of(weights), config)
    assert again.keys() == weights.keys()
    assert all(type(again[name]) is type(weights[name]) for name in weights)
    assert same_arrays(again, weights)
