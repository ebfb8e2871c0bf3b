"""Weight files of each precision: what is read back from them, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from duologue.checkpoint import store
from duologue.checkpoint.store import Int4Weight, Weights
from duologue.checkpoint.tensors import tensors_of
from duologue.checkpoint.weights import (
    dequantize,
    quantize_int4,
    stored_precision,
    to_precision,
)
from duologue.config import ModelConfig, replace
from duologue.errors import CheckpointError
from duologue.text.tokenizer import Tokenizer
from duologue.types import PRECISIONS, Precision

Configs = Callable[..., ModelConfig]
MakeWeights = Callable[[ModelConfig], Weights]
Folders = Callable[..., Path]
Arrays = dict[str, np.ndarray]
every_cell = pytest.mark.parametrize("cell", ["transformer", "gru"])
every_pair = pytest.mark.parametrize(
    ("stored", "wanted"), list(itertools.product(PRECISIONS, PRECISIONS))
)


def same_arrays(one: Weights, other: Weights) -> bool:
    first, second = tensors_of(one), tensors_of(other)
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and np.array_equal(first[name], second[name])
        for name in first
    )


def normal(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@every_cell
@every_pair
def test_every_stored_precision_loads_as_every_other(
    stored: Precision, wanted: Precision, cell: str, tiny_model_folder: Folders
) -> None:
    exact = store.load_model(tiny_model_folder(cell, stored), stored).weights
    loaded = store.load_model(tiny_model_folder(cell, stored), wanted).weights
    assert stored_precision(loaded) == wanted
    assert same_arrays(loaded, to_precision(exact, wanted))
    if wanted == "f32":
        assert all(np.array_equal(loaded[name], dequantize(exact[name])) for name in exact)
    if stored == "f32":
        other = store.load_model(tiny_model_folder(cell, wanted), wanted)
        assert same_arrays(loaded, other.weights)


@every_pair
def test_every_precision_is_saved_as_every_other(
    stored: Precision,
    wanted: Precision,
    tiny_config: Configs,
    tiny_weights: MakeWeights,
    tiny_tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:
    weights = to_precision(tiny_weights(tiny_config()), stored)
    store.save_model(tmp_path / "model", tiny_config(), weights, tiny_tokenizer, "", wanted)
    loaded = store.load_model(tmp_path / "model", wanted).weights
    assert same_arrays(loaded, to_precision(weights, wanted))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_in_the_stored_precision_are_views_of_the_file(
    precision: Precision, tiny_model_folder: Folders
) -> None:
    weights = store.load_model(tiny_model_folder(precision=precision), precision).weights
    for tensor in tensors_of(weights).values():
        assert not tensor.flags.owndata
        assert not tensor.flags.writeable


def test_odd_widths_survive_a_file(
    tiny_config: Configs, tiny_weights: MakeWeights, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    config = replace(tiny_config(), d_ff=33)
    weights = to_precision(tiny_weights(config), "int4")
    store.save_model(tmp_path / "model", config, weights, tiny_tokenizer, "", "int4")
    down = store.load_model(tmp_path / "model", "int4").weights["decoder.layers.0.ff.down.weight"]
    assert isinstance(down, Int4Weight)
    assert (down.shape, down.nibbles.shape, down.scale.shape) == ((16, 33), (16, 17), (16, 2))


def spoil(tensors: Arrays, name: str, change: Callable[[np.ndarray], object]) -> None:
    tensors[name] = tensors[name].copy()
    change(tensors[name])


# What is done to the arrays of a file, and what the error says of it. d_ff is 33.
DOWN = "decoder.layers.0.ff.down.weight"
DAMAGES: dict[str, tuple[Precision, Callable[[Arrays], object], list[str]]] = {
    "no scale": ("int4", lambda t: t.pop(f"{DOWN}.scale"), [f"missing: {DOWN}.scale"]),
    "no scale of int8": ("int8", lambda t: t.pop(f"{DOWN}.scale"), [f"missing: {DOWN}.scale"]),
    "a scale too many": (
        "f32",
        lambda t: t.update({f"{DOWN}.scale": np.ones(16, np.float32)}),
        [f"surplus: {DOWN}.scale"],
    ),
    "scales of rows": (
        "int4",
        lambda t: t.update({f"{DOWN}.scale": np.ones(16, np.float32)}),
        [f"{DOWN}.scale [16] instead of [16, 2]"],
    ),
    "scales in int8": (
        "int4",
        lambda t: t.update({f"{DOWN}.scale": t[f"{DOWN}.scale"].astype(np.int8)}),
        [f"{DOWN}.scale int8 instead of float32"],
    ),
    "scale that is no number": (
        "int4",
        lambda t: spoil(t, f"{DOWN}.scale", lambda a: np.put(a, 3, np.nan)),
        [f"not finite: {DOWN}.scale"],
    ),
    "infinite scale of int8": (
        "int8",
        lambda t: spoil(t, f"{DOWN}.scale", lambda a: np.put(a, 3, np.inf)),
        [f"not finite: {DOWN}.scale"],
    ),
    "negative scales": (
        "int4",
        lambda t: (
            spoil(t, f"{DOWN}.scale", lambda a: np.put(a, 3, -1)),
            spoil(t, "encoder.layers.0.attn.out.weight.scale", lambda a: np.put(a, 3, -1)),
        ),
        [f"negative: {DOWN}.scale, encoder.layers.0.attn.out.weight.scale"],
    ),
    "one input less": (
        "int4",
        lambda t: t.update({DOWN: t[DOWN][:, :-1].copy()}),
        [f"{DOWN} [16, 16] instead of [16, 17]"],
    ),
    "one input more": (
        "int4",
        lambda t: spoil(t, DOWN, lambda a: np.put(a, 16, 0x18)),
        [f"one input too many: {DOWN}"],
    ),
    "flat": ("int4", lambda t: t.update({DOWN: t[DOWN].ravel()}), [f"{DOWN} [272] instead of"]),
    "empty": ("int4", lambda t: t.update({DOWN: t[DOWN][:0]}), [f"{DOWN} [0, 17] instead of"]),
    "int4 norm": (
        "int4",
        lambda t: t.update({"encoder.norm.weight": np.ones(16, np.uint8)}),
        ["encoder.norm.weight uint8 instead of float32"],
    ),
    "bf16 norm": (
        "bf16",
        lambda t: t.update({"encoder.norm.weight.bf16": t.pop("encoder.norm.weight").view("<u2")}),
        ["missing: encoder.norm.weight", "surplus: encoder.norm.weight.bf16"],
    ),
    "bf16 and f32": (
        "bf16",
        lambda t: t.update({DOWN: np.ones((16, 33), np.float32)}),
        [f"surplus: {DOWN}.bf16"],
    ),
    "bf16 under the name of f32": (
        "bf16",
        lambda t: t.update({DOWN: t.pop(f"{DOWN}.bf16")}),
        [f"{DOWN} uint16 instead of float32"],
    ),
    "bf16 that is no number": (
        "bf16",
        lambda t: spoil(t, f"{DOWN}.bf16", lambda a: np.put(a, 3, 0x7FC0)),
        [f"not finite: {DOWN}.bf16"],
    ),
    "infinite bf16": (
        "bf16",
        lambda t: spoil(t, f"{DOWN}.bf16", lambda a: np.put(a, 3, 0xFF80)),
        [f"not finite: {DOWN}.bf16"],
    ),
    "several at once": (
        "int4",
        lambda t: (
            t.pop("embed.weight"),
            t.update({DOWN: t[DOWN][:5].copy()}),
            spoil(t, "decoder.norm.weight", lambda a: np.put(a, 0, np.inf)),
        ),
        [
            "missing: embed.weight",
            "surplus: embed.weight.scale",
            f"{DOWN} [5, 17] instead of [16, 17]",
            "not finite: decoder.norm.weight",
        ],
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_load_says_all_that_is_wrong_with_a_file(
    damage: str,
    tiny_config: Configs,
    tiny_weights: MakeWeights,
    tiny_tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:
    precision, change, words = DAMAGES[damage]
    config = replace(tiny_config(), d_ff=33)
    folder = tmp_path / "model"
    store.save_model(folder, config, tiny_weights(config), tiny_tokenizer, "", precision)
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    for read in (store.load_model, store.model_info):
        with pytest.raises(CheckpointError) as caught:
            read(folder)
        for word in words:
            assert word in str(caught.value)


@pytest.mark.parametrize("keep", [0, 9, 500, -1])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_load_refuses_a_file_of_any_precision_that_was_cut(
    precision: Precision, keep: int, tiny_model_folder: Folders, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in tiny_model_folder(precision=precision).iterdir():
        data = path.read_bytes()
        (folder / path.name).write_bytes(data[:keep] if path.suffix == ".safetensors" else data)
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        store.load_model(folder)


def test_save_refuses_int4_with_one_input_more_than_the_model_has(
    tiny_config: Configs, tiny_weights: MakeWeights, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    config = replace(tiny_config(), d_ff=33)
    weights = to_precision(tiny_weights(config), "int4")
    weights[DOWN] = quantize_int4(np.pad(normal((16, 33)), ((0, 0), (0, 1))))
    with pytest.raises(CheckpointError, match=r"\[16, 34\] instead of \[16, 33\]"):
        store.save_model(tmp_path / "model", config, weights, tiny_tokenizer, "", "int4")
