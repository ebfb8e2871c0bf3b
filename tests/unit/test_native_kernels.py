"""Each native kernel, on every instruction set of this processor, against its NumPy formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import formulas

from duologue import _native
from duologue._native import kernels

ISAS = _native.isa_names()
every_isa = pytest.mark.parametrize("isa", ISAS)
# Widths below, at and above a vector and a panel, and some that leave a rest.
WIDTHS = [1, 2, 7, 16, 33, 64, 130, 256]


def normal(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.standard_normal(shape, dtype=np.float32) * np.float32(scale)


def bytes_with_largest_127(seed: int, rows: int, width: int) -> np.ndarray:
    """Whole numbers that quantisation leaves as they are: the scale of each row is 1."""
    values = np.random.default_rng(seed).integers(-127, 128, (rows, width)).astype(np.float32)
    values[:, 0] = 127
    return values


def test_isa_names_start_with_portable() -> None:
    assert ISAS[0] == "portable"
    assert _native.default_isa() in ISAS


@every_isa
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 300, 64), (3, 65, 7), (13, 64, 130), (50, 33, 70)]
)
def test_linear_f32_is_the_product_with_the_transpose(
    isa: str, shape: tuple[int, int, int]
) -> None:
    rows, width, outputs = shape
    x, w = normal(1, rows, width), normal(2, outputs, width)
    expected = formulas.exact(x) @ formulas.exact(w).T
    np.testing.assert_allclose(kernels.linear_f32(x, w, 1, isa), expected, rtol=1e-5, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    isa=st.sampled_from(ISAS),
    rows=st.integers(1, 30),
    width=st.integers(1, 140),
    outputs=st.integers(1, 140),
    seed=st.integers(0, 2**16),
)
def test_linear_s8_sums_are_exact(isa: str, rows: int, width: int, outputs: int, seed: int) -> None:
    x = bytes_with_largest_127(seed, rows, width)
    w = np.random.default_rng(seed + 1).integers(-127, 128, (outputs, width)).astype(np.int8)
    result = kernels.linear_s8(x, w, np.ones(outputs, np.float32), 1, isa)
    assert np.array_equal(result, x.astype(np.int64) @ w.astype(np.int64).T)


@every_isa
def test_linear_s8_takes_the_most_negative_byte_and_a_long_row(isa: str) -> None:
    x = np.full((2, 1100), -127, dtype=np.float32)
    w = np.full((3, 1100), -128, dtype=np.int8)
    result = kernels.linear_s8(x, w, np.ones(3, np.float32), 1, isa)
    assert np.array_equal(result, np.full((2, 3), 127 * 128 * 1100))


@every_isa
def test_linear_s8_applies_the_scales_of_rows_and_outputs(isa: str) -> None:
    x, w = normal(3, 5, 40, scale=3.0), normal(4, 9, 40)
    bytes_w, scale = formulas.quantize(w)
    bytes_x, scale_x = formulas.quantize(x)
    expected = (bytes_x.astype(int) @ bytes_w.astype(int).T) * np.outer(scale_x, scale)
    result = kernels.linear_s8(x, bytes_w, scale, 1, isa)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@every_isa
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 64), (3, 65, 7), (13, 64, 130)])
def test_linear_bf16_is_the_product_with_rounded_weights(
    isa: str, shape: tuple[int, int, int]
) -> None:
    rows, width, outputs = shape
    x, w = formulas.round_to_bf16(normal(1, rows, width)), normal(2, outputs, width)
    halves = (formulas.round_to_bf16(w).view(np.uint32) >> 16).astype(np.uint16)
    expected = formulas.exact(x) @ formulas.exact(formulas.round_to_bf16(w)).T
    result = kernels.linear_bf16(x, halves, 1, isa)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    isa=st.sampled_from(ISAS),
    rows=st.integers(1, 9),
    width=st.integers(1, 140),
    outputs=st.integers(1, 140),
    seed=st.integers(0, 2**16),
)
def test_linear_s4_is_the_product_of_bytes_and_nibbles_by_groups(
    isa: str, rows: int, width: int, outputs: int, seed: int
) -> None:
    x = bytes_with_largest_127(seed, rows, width)
    generator = np.random.default_rng(seed + 1)
    w = generator.integers(-8, 8, (outputs, width))
    nibbles = np.pad(w + 8, ((0, 0), (0, width % 2))).astype(np.uint8)
    packed = nibbles[:, ::2] | nibbles[:, 1::2] << 4
    num_groups = -(-width // 32)
    scale = generator.uniform(0.5, 2.0, (outputs, num_groups)).astype(np.float32)
    expected = x.astype(np.float64) @ (w * np.repeat(scale, 32, axis=1)[:, :width]).T
    result = kernels.linear_s4(x, packed, scale, 1, isa)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-2)


def test_linear_s8_gives_the_same_bits_on_every_isa() -> None:
    x, w = normal(5, 11, 96), normal(6, 75, 96)
    values, scale = formulas.quantize(w)
    results = [kernels.linear_s8(x, values, scale, 1, isa) for isa in ISAS]
    assert all(np.array_equal(results[0], result) for result in results)


@every_isa
@pytest.mark.parametrize("threads", [2, 3])
def test_linear_does_not_depend_on_the_number_of_threads(isa: str, threads: int) -> None:
    x, w = normal(7, 60, 128), normal(8, 700, 128)
    values, scale = formulas.quantize(w)
    alone = kernels.linear_f32(x, w, 1, isa), kernels.linear_s8(x, values, scale, 1, isa)
    assert np.array_equal(kernels.linear_f32(x, w, threads, isa), alone[0])
    assert np.array_equal(kernels.linear_s8(x, values, scale, threads, isa), alone[1])


@every_isa
@pytest.mark.parametrize("width", WIDTHS)
def test_quantize_rounds_to_the_nearest_and_halves_to_even(isa: str, width: int) -> None:
    x = normal(9, 4, width, scale=10.0)
    x[1] = 0.0
    x[2] = np.arange(width) + 0.5
    x[2, 0] = 127.0 if width <= 127 else 254.0
    values, scale = kernels.quantize(x, isa)
    expected, expected_scale = formulas.quantize(x)
    assert np.array_equal(values, expected)
    assert np.array_equal(scale, expected_scale)


@every_isa
@pytest.mark.parametrize("width", WIDTHS)
def test_rms_norm_is_its_formula(isa: str, width: int) -> None:
    x, weight = normal(10, 3, width, scale=5.0), normal(11, width)
    expected = formulas.rms_norm(x, weight, 1e-6)
    result = kernels.rms_norm(x, weight, 1e-6, isa)
    np.testing.assert_allclose(result, expected, rtol=2e-6, atol=1e-7)


@every_isa
def test_rms_norm_of_zeros_is_zero(isa: str) -> None:
    zeros = np.zeros((1, 20), np.float32)
    assert np.array_equal(kernels.rms_norm(zeros, np.ones(20, np.float32), 1e-6, isa), zeros)


@every_isa
@pytest.mark.parametrize("width", WIDTHS)
def test_softmax_and_log_softmax_are_their_formulas(isa: str, width: int) -> None:
    x = normal(12, 3, width, scale=6.0)
    expected = formulas.softmax(x)
    np.testing.assert_allclose(kernels.softmax(x, isa), expected, rtol=3e-6, atol=1e-30)
    result = _native.log_softmax(x, isa)
    np.testing.assert_allclose(result, np.log(expected), rtol=1e-6, atol=2e-6)


@every_isa
def test_softmax_survives_scores_far_apart(isa: str) -> None:
    x = np.array([[1e4, -1e4, 0.0], [-3e38, -3e38, -3e38]], dtype=np.float32)
    result = kernels.softmax(x, isa)
    np.testing.assert_allclose(result, [[1, 0, 0], [1 / 3] * 3], atol=1e-6)


@every_isa
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("activation", ["silu", "relu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("gated", [True, False])
def test_activate_is_its_formula(isa: str, width: int, activation: str, gated: bool) -> None:
    x = normal(13, 3, 2 * width, scale=8.0)
    expected = formulas.activate(x, activation, gated)
    # The normal distribution function of gelu is known to 2e-7, and x is up to 30.
    tolerance = 1e-12 if activation in ("silu", "relu") else 2e-5
    result = kernels.activate(x, activation, gated, isa)
    np.testing.assert_allclose(result, expected, rtol=3e-6, atol=tolerance)


@every_isa
@pytest.mark.parametrize("width", WIDTHS)
def test_soft_cap_is_its_formula(isa: str, width: int) -> None:
    x = normal(14, 3, width, scale=60.0)
    expected = 50 * np.tanh(formulas.exact(x) / 50)
    np.testing.assert_allclose(kernels.soft_cap(x, 50.0, isa), expected, rtol=3e-6, atol=1e-5)


@every_isa
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_layer_norm_is_its_formula(isa: str, width: int, shift: float) -> None:
    x, weight, bias = normal(15, 3, width) + np.float32(shift), normal(16, width), normal(17, width)
    expected = formulas.layer_norm(x, weight, bias, 1e-5)
    result = kernels.layer_norm(x, weight, bias, 1e-5, isa)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


@every_isa
def test_rotate_turns_the_halves_of_each_head(isa: str) -> None:
    x = normal(14, 5, 3 * 10)
    cosine, sine = formulas.angles(np.array([7]), 10, 10000.0)
    expected = formulas.rotate(x.reshape(5, 3, 10), cosine, sine).reshape(5, 30)
    result = kernels.rotate(x, cosine[0].astype("f4"), sine[0].astype("f4"), 3, isa)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@every_isa
@pytest.mark.parametrize("head_dim", [2, 6, 16, 30, 64, 70])
@pytest.mark.parametrize("lengths", [[1], [16], [5, 16, 17, 1], [40]])
def test_attend_over_spans_equals_attention_over_one_array(
    isa: str, head_dim: int, lengths: list[int]
) -> None:
    heads = 3
    q = normal(15, 6, heads * head_dim)
    keys, values = normal(16, sum(lengths), q.shape[1]), normal(17, sum(lengths), q.shape[1])
    split = [array.reshape(len(array), heads, head_dim) for array in (q, keys, values)]
    expected, _ = formulas.attend(*split, np.ones((len(q), len(keys)), dtype=bool))
    result = kernels.attend(q, keys, values, lengths, heads, isa)
    np.testing.assert_allclose(result, expected.reshape(q.shape), rtol=1e-5, atol=2e-6)


@every_isa
@pytest.mark.parametrize("head_dim", [2, 6, 16, 30, 64, 70])
@pytest.mark.parametrize("lengths", [[1], [16], [5, 16, 17, 1], [80]])
def test_attend_to_bf16_equals_attention_to_rounded_keys_and_values(
    isa: str, head_dim: int, lengths: list[int]
) -> None:
    heads = 3
    q = formulas.round_to_bf16(normal(15, 6, heads * head_dim))
    keys, values = normal(16, sum(lengths), q.shape[1]), normal(17, sum(lengths), q.shape[1])
    rounded = (q, formulas.round_to_bf16(keys), formulas.round_to_bf16(values))
    split = [array.reshape(len(array), heads, head_dim) for array in rounded]
    expected, _ = formulas.attend(*split, np.ones((len(q), len(keys)), dtype=bool))
    result = kernels.attend(q, keys, values, lengths, heads, isa, "bf16")
    # Where the processor multiplies pairs, the weights are rounded as well: 8 bits.
    tolerance = 2**-8 if isa.endswith("bf16") else 2e-6
    np.testing.assert_allclose(result, expected.reshape(q.shape), rtol=1e-5, atol=tolerance)


@every_isa
@pytest.mark.parametrize("store", ["f32", "bf16"])
@pytest.mark.parametrize("num_tokens", [1, 16, 37])
@pytest.mark.parametrize("group", [1, 3])
def test_attend_with_all_that_families_add(
    isa: str, store: str, num_tokens: int, group: int
) -> None:
    heads, head_dim, rows = 2 * group, 10, 6
    q = formulas.round_to_bf16(normal(18, rows, heads * head_dim))
    keys, values = (normal(seed, num_tokens, 2 * head_dim) for seed in (19, 20))
    by_distance = normal(21, heads, num_tokens + rows - 1)
    if num_tokens > rows:
        by_distance[:, :2] = -np.inf  # outside of a window
    distances = np.arange(num_tokens)[None] - np.arange(rows)[:, None] + rows - 1
    stored = (keys, values)
    if store == "bf16":
        stored = tuple(formulas.round_to_bf16(part) for part in stored)
    split = [part.reshape(len(part), -1, head_dim) for part in (q, *stored)]
    expected, _ = formulas.attend(
        *split,
        np.ones((rows, num_tokens), dtype=bool),
        scale=0.7,
        soft_cap=3.0,
        bias=by_distance[:, distances],
    )
    result = kernels.attend(q, keys, values, [num_tokens], heads, isa, store, 0.7, 3.0, by_distance)
    tolerance = 2**-7 if isa.endswith("bf16") and store == "bf16" else 4e-6
    np.testing.assert_allclose(result, expected.reshape(q.shape), rtol=1e-5, atol=tolerance)


@every_isa
def test_attend_to_nothing_is_zero(isa: str) -> None:
    q, nothing = normal(18, 5, 8), np.zeros((0, 8), np.float32)
    assert not kernels.attend(q, nothing, nothing, [], 2, isa).any()
    assert not kernels.attend_additive(q, nothing, nothing, [], q[0], isa).any()
    assert not kernels.attend(q, nothing, nothing, [], 2, isa, "bf16").any()


@every_isa
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("lengths", [[1], [16, 3], [20, 30]])
def test_attend_additive_is_its_formula(isa: str, width: int, lengths: list[int]) -> None:
    q, score = normal(19, 2, width), normal(20, width, scale=width**-0.5)
    keys, values = normal(21, sum(lengths), width), normal(22, sum(lengths), width)
    result = kernels.attend_additive(q, keys, values, lengths, score, isa)
    expected = [formulas.attend_additive(row, keys, values, score)[0] for row in q]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=2e-6)

    result = kernels.attend_additive(q, keys, values, lengths, score, isa, "bf16")
    keys, values = formulas.round_to_bf16(keys), formulas.round_to_bf16(values)
    expected = [formulas.attend_additive(row, keys, values, score)[0] for row in q]
    tolerance = 2**-8 if isa.endswith("bf16") else 2e-6
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=tolerance)


@every_isa
@pytest.mark.parametrize("width", WIDTHS)
def test_gru_cell_is_its_formula(isa: str, width: int) -> None:
    gates, biases, h = (
        normal(23, 2, 3 * width, scale=4.0),
        normal(24, 2, 3 * width),
        normal(25, 1, width),
    )
    result = kernels.gru_cell(gates, biases, h, isa)
    np.testing.assert_allclose(result[0], formulas.gru_cell(gates, biases, h[0]), atol=2e-6)


@every_isa
def test_extreme_gates_saturate_without_nan(isa: str) -> None:
    x = np.array([[1e30, -1e30, 100.0, -100.0, 1.0, 1.0, 1.0, 1.0]], dtype=np.float32)
    for activation in ("silu", "relu", "gelu", "gelu_tanh"):
        result = kernels.activate(x, activation, True, isa)[0]
        np.testing.assert_allclose(result, [1e30, 0, 100, 0], rtol=1e-6, atol=1e-4)
    np.testing.assert_array_equal(kernels.soft_cap(x[:, :4], 2.0, isa)[0], [2, -2, 2, -2])


X = np.ones((2, 4), np.float32)
ISA = ISAS[-1]
WRONG_TYPES = {
    "float64": lambda: _native.log_softmax(X.astype(np.float64)),
    "a transposed array": lambda: _native.log_softmax(X.T),
    "one axis": lambda: _native.log_softmax(X[0]),
    "a list": lambda: _native.log_softmax(X.tolist()),
    "float64 weights": lambda: kernels.linear_f32(X, X.astype(np.float64), 1, ISA),
    "unsigned bytes": lambda: kernels.linear_s8(X, X.astype(np.uint8), X[0], 1, ISA),
    "float16 scales": lambda: kernels.rms_norm(X, X[0].astype(np.float16), 1e-6, ISA),
    "every other column": lambda: kernels.softmax(X[:, ::2], ISA),
}
WRONG_SHAPES = {
    "linear_f32": lambda: kernels.linear_f32(X, np.ones((3, 5), np.float32), 1, ISA),
    "linear_bf16": lambda: kernels.linear_bf16(X, np.ones((3, 5), np.uint16), 1, ISA),
    "linear_s4": lambda: kernels.linear_s4(X, np.ones((3, 4), np.uint8), X[:, :1].copy(), 1, ISA),
    "linear_s8 scale": lambda: kernels.linear_s8(X, X.astype(np.int8), X[0], 1, ISA),
    "rms_norm": lambda: kernels.rms_norm(X, np.ones(5, np.float32), 1e-6, ISA),
    "layer_norm": lambda: kernels.layer_norm(X, X[0], np.ones(5, np.float32), 1e-6, ISA),
    "activate": lambda: kernels.activate(np.ones((1, 3), np.float32), "silu", True, ISA),
    "another activation": lambda: kernels.activate(X, "elu", True, ISA),
    "attend with too much bias": lambda: kernels.attend(
        X, X, X, [2], 2, ISA, bias=np.ones((2, 18), np.float32)
    ),
    "rotate": lambda: kernels.rotate(X, X[0], X[0], 1, ISA),
    "attend": lambda: kernels.attend(X, X, X, [3], 2, ISA),
    "attend with another store": lambda: kernels.attend(X, X, X, [2], 2, ISA, "f16"),
    "gru_cell": lambda: kernels.gru_cell(X, X, X, ISA),
    "log_softmax of nothing": lambda: _native.log_softmax(np.ones((2, 0), np.float32)),
    "an unknown instruction set": lambda: kernels.softmax(X, "mmx"),
}


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_an_array_of_another_type_is_refused_not_converted(name: str) -> None:
    with pytest.raises(TypeError, match="incompatible function arguments"):
        WRONG_TYPES[name]()


@pytest.mark.parametrize("name", WRONG_SHAPES)
def test_a_wrong_shape_or_name_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        WRONG_SHAPES[name]()
