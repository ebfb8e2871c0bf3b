"""The native engine against the torch model that defines it, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from model_shapes import SHAPES, random_weights

from duologue.checkpoint.weights import Weights, dequantize, to_precision
from duologue.config import ModelConfig
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory
from duologue.model.seq2seq import Seq2Seq
from duologue.model.values import Source, Target

MakeConfig = Callable[..., ModelConfig]
MakeWeights = Callable[[ModelConfig], Weights]
every_cell = pytest.mark.parametrize("cell", ["transformer", "gru"])

# (ids, is_document)
SEGMENTS = [([4, 8, 15, 16], False), ([23, 42] * 9, True), ([3, 1], False), ([9] * 12, False)]
IDS = [1, 7, 30, 2, 2, 9, 11, 40, 5, 6, 3, 8, 13, 21, 34, 5, 12, 1]


def torch_model(config: ModelConfig, weights: Weights) -> Seq2Seq:
    model = Seq2Seq(config).eval()
    tensors = {name: dequantize(weight) for name, weight in weights.items()}
    model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    return model


def frames(config: ModelConfig) -> np.ndarray:
    """Frames for as many tokens as SEGMENTS have; the last token has but one."""
    count = 2 * sum(len(ids) for ids, _ in SEGMENTS) - 1
    return np.random.default_rng(5).standard_normal((count, config.mel_bins), dtype=np.float32)


def torch_source(config: ModelConfig) -> Source:
    mask = config.encoder_mask
    ids, segments, positions, documents = [], [], [], []
    start = 0
    for index, (part, is_document) in enumerate(SEGMENTS):
        first = 0 if is_document and mask == "block_causal" else start
        ids += part
        segments += [index] * len(part)
        positions += range(first, first + len(part))
        documents += [is_document] * len(part)
        start += 0 if is_document and mask == "block_causal" else len(part)
    features = torch.tensor(frames(config)[None]) if config.front_end == "mel" else None
    return Source(*(torch.tensor([row]) for row in (ids, segments, positions, documents)), features)


def torch_logits(config: ModelConfig, weights: Weights) -> np.ndarray:
    """Logits [T, V] of the packed forward pass that training uses."""
    model = torch_model(config, weights)
    length = len(IDS)
    target = Target(
        ids=torch.tensor([IDS]),
        block=torch.zeros(1, length, dtype=torch.int64),
        position=torch.arange(length)[None],
        limit=torch.full((1, length), len(SEGMENTS)),
    )
    with torch.no_grad():
        return model.logits(model(torch_source(config), target))[0].numpy()


def native_logits(config: ModelConfig, weights: Weights, threads: int = 1) -> np.ndarray:
    forward = Forward(config, weights, threads)
    memory = Memory.empty()
    if config.front_end == "mel":
        memory = forward.encode_frames(frames(config))
    for ids, is_document in SEGMENTS if config.front_end == "tokens" else ():
        memory = forward.encode(ids, memory, is_document)
    state = forward.start(memory)
    return np.concatenate([forward.decode_step([state], [idx]) for idx in IDS])


def relative_error(result: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(result - expected).max() / np.abs(expected).max())


@every_cell
@pytest.mark.parametrize("d_model", [16, 48])
def test_f32_equals_the_torch_model(
    cell: str, d_model: int, tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = replace(tiny_config(cell), d_model=d_model)
    weights = tiny_weights(config)
    assert relative_error(native_logits(config, weights), torch_logits(config, weights)) < 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_every_option_of_a_model_equals_the_torch_model(shape: str) -> None:
    config = SHAPES[shape]
    weights = random_weights(config)
    expected = torch_logits(config, weights)
    assert relative_error(native_logits(config, weights), expected) < 1e-5
    rounded = to_precision(weights, "int8")
    error = native_logits(config, rounded, threads=2) - torch_logits(config, rounded)
    assert np.abs(error).mean() < 0.1 * np.abs(expected).mean()


def test_a_full_mask_equals_the_torch_model(
    tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = replace(tiny_config(), encoder_mask="full")
    weights = tiny_weights(config)
    assert relative_error(native_logits(config, weights), torch_logits(config, weights)) < 1e-5


@every_cell
def test_int8_is_close_to_the_torch_model_with_the_same_weights(
    cell: str, tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = replace(tiny_config(cell), d_model=48)
    weights = to_precision(tiny_weights(config), "int8")
    assert relative_error(native_logits(config, weights, 2), torch_logits(config, weights)) < 0.05


@every_cell
def test_weights_initialised_for_training_load_and_agree(
    cell: str, tiny_config: MakeConfig
) -> None:
    config = tiny_config(cell)
    torch.manual_seed(3)
    state = Seq2Seq(config).state_dict()
    weights: Weights = {name: tensor.numpy() for name, tensor in state.items()}
    assert relative_error(native_logits(config, weights), torch_logits(config, weights)) < 1e-5
